"""The ledger itself: what it calls a fault, and that a seed always gives the same rounds."""

from itertools import islice

import pytest

from appliance.formats.audit_log import LogEntry
from tests.kills.ledger import KEPT, ONCE, WHOLE, Link, PatientFile, wrong_entries
from tests.kills.plan import PROCESSES, STEPS, rounds


def link(**counts: int) -> Link:
    return Link("a" * 32, "https://praxis/#", "123456", frozenset(), **counts)


def entries(*actions: str) -> list[LogEntry]:
    return [
        LogEntry(index=number, at=0, process="vault", action=action, share="a" * 32, previous="")
        for number, action in enumerate(actions)
    ]


def patient(listed: list[str], **offered: bool) -> PatientFile:
    file = PatientFile("/patients/1", "Abbruch")
    for digest, acknowledged in offered.items():
        file.offer(digest, keyed=digest.startswith("k")).acknowledged = acknowledged
    file.listed = {str(number): digest for number, digest in enumerate(listed)}
    return file


@pytest.mark.parametrize(
    ("file", "claims"),
    [
        (patient(["one"], one=True, two=False), []),
        (patient(["one", "two"], one=True, two=False), []),  # whole, though nobody was told
        (patient([], one=True), [KEPT]),
        (patient(["other"], one=False), [WHOLE]),
        (patient(["one", "one"], one=True), [WHOLE]),
        (patient(["key", "key"], key=True), [ONCE]),
    ],
)
def test_a_document_is_there_once_and_whole_or_not_at_all(file, claims):
    assert [claim for claim, _ in file.wrong_documents()] == claims


@pytest.mark.parametrize(
    ("counts", "logged_wrong", "right"),
    [
        ({}, 0, {5}),
        ({"wrong_asked": 1, "wrong_answered": 1}, 1, {4}),
        ({"wrong_asked": 2, "wrong_answered": 1}, 1, {4, 3}),  # one got no answer: it may count
        ({"wrong_asked": 2, "wrong_answered": 1}, 2, {3}),  # and does if it is in the log
        ({"right_asked": 1}, 0, {5, 4}),
        ({"right_asked": 1, "right_answered": 1}, 0, {5}),
        ({"wrong_asked": 1, "left_seen": 4}, 0, {4}),  # what was gone does not come back
    ],
)
def test_a_try_does_not_come_back_and_is_not_lost_for_nothing(counts, logged_wrong, right):
    assert {left for left in range(6) if not link(**counts).wrong_tries(left, logged_wrong)} == right


def test_what_was_answered_stands_in_the_log_and_what_nobody_asked_does_not():
    told = link(right_asked=2, right_answered=1, wrong_asked=1)
    assert wrong_entries(told, entries("share_pin_wrong"))
    assert not wrong_entries(told, entries("share_opened"))
    assert not wrong_entries(told, entries("share_opened", "share_pin_wrong", "share_opened"))
    assert wrong_entries(told, entries("share_opened", "share_opened", "share_opened"))
    assert wrong_entries(told, entries("share_opened", "share_pin_wrong", "share_pin_wrong"))


def test_a_seed_gives_the_same_rounds_and_kills_every_process_in_every_step():
    count = 30 * len(PROCESSES)  # no deck has more cards than 30
    first, again, other = (list(islice(rounds(seed), count)) for seed in (7, 7, 8))
    assert first == again != other
    assert [round_.number for round_ in first] == list(range(1, count + 1))
    for block in range(0, count, len(PROCESSES)):
        assert {round_.process for round_ in first[block : block + len(PROCESSES)]} == set(PROCESSES)
    assert len({(round_.process, round_.step) for round_ in first}) == len(PROCESSES) * len(STEPS)
    assert all(0 <= round_.delay_s <= STEPS[round_.step].within_s for round_ in first)
