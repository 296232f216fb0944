"""What watch tells the practice, beside logs and monitors that are honest, lie, or break."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.core.errors import NotFound
from tests.simulators.certificate_log import (
    CertificateLog,
    Monitor,
    key_digest,
    make_certificate,
    precert_leaf,
    serving,
    x509_leaf,
)
from tests.watch.watching import HOST, Practice, practice


@pytest.fixture
async def log() -> AsyncIterator[CertificateLog]:
    served = CertificateLog()
    served.add(*(leaf_of("other.example") for _ in range(5)))
    async with serving(served):
        yield served


@pytest.fixture
async def monitor() -> AsyncIterator[Monitor]:
    served = Monitor()
    async with serving(served):
        yield served


@pytest.fixture
def box(tmp_path: Path, log: CertificateLog) -> Practice:
    made = practice(tmp_path)
    made.logs = [log]
    return made


def leaf_of(*names: str, key: ec.EllipticCurvePrivateKey | None = None, not_before: int | None = None) -> bytes:
    return x509_leaf(make_certificate(names, key, not_before=not_before).public_bytes(Encoding.DER))


async def test_a_foreign_certificate_for_this_name_raises_an_alarm(box: Practice, log: CertificateLog) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    async with box.watch() as watch:
        log.add(leaf_of(HOST, key=box.key))
        await watch.go_round()
        assert await watch.findings() == []
        log.add(leaf_of("x.example"), leaf_of(HOST, "x.example", key=stranger))
        await watch.go_round()
        (found,) = await watch.findings()
        assert (found.kind, found.key_sha256, found.names) == ("foreign_certificate", key_digest(stranger), [HOST])
        assert (found.source, found.issuer) == ("log 0", "Test Authority")
        assert (await watch.source()).trouble == ""


async def test_the_announcement_of_a_certificate_is_enough_for_an_alarm(box: Practice, log: CertificateLog) -> None:
    certificate = make_certificate([HOST])
    async with box.watch() as watch:
        log.add(precert_leaf(certificate))
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["foreign_certificate"]
        log.add(x509_leaf(certificate.public_bytes(Encoding.DER)))
        await watch.go_round()
        assert len(await watch.findings()) == 1, "one certificate is one alarm"


@pytest.mark.parametrize(
    ("names", "is_for_us"),
    [
        ([HOST.upper()], True),
        (["*.portal.example"], True),
        (["*.PORTAL.example", "b.example"], True),
        (["x" + HOST], False),
        (["a." + HOST], False),
        (["*." + HOST], False),
        (["*.example"], False),
        (["portal.example"], False),
    ],
)
async def test_names_that_a_browser_takes_for_this_host_are_noticed_and_no_others(
    box: Practice, log: CertificateLog, names: list[str], is_for_us: bool
) -> None:
    async with box.watch() as watch:
        log.add(leaf_of(*names))
        await watch.go_round()
        assert bool(await watch.findings()) == is_for_us


@pytest.mark.parametrize("kind", ["certificate", "entry", "type"])
async def test_a_certificate_that_cannot_be_read_is_not_passed_over(
    box: Practice, log: CertificateLog, kind: str
) -> None:
    content = b"\x30\x82" + HOST.upper().encode() * 3
    leaf = {
        "certificate": x509_leaf(content),
        "entry": x509_leaf(content) + b"more",
        "type": struct.pack(">BBQH", 0, 0, 0, 7) + content,
    }[kind]
    async with box.watch() as watch:
        log.add(leaf, leaf_of("z.example"))
        await watch.go_round()
        (found,) = await watch.findings()
        assert (found.kind, found.names, found.key_sha256) == ("unreadable_certificate", [], "")


async def test_a_certificate_for_a_replaced_key_is_an_alarm_and_its_last_one_is_not(
    box: Practice, log: CertificateLog
) -> None:
    now = int(time.time())
    old = box.key
    box.replace_key(now - 2 * 86400)
    async with box.watch() as watch:
        log.add(leaf_of(HOST, key=old, not_before=now - 5 * 86400), leaf_of(HOST, key=box.key))
        await watch.go_round()
        assert await watch.findings() == []
        log.add(leaf_of(HOST, key=old, not_before=now))
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["replaced_key"]


async def test_a_key_made_while_the_log_is_read_is_the_boxs_own(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        box.replace_key(int(time.time()))
        log.add(leaf_of(HOST, key=box.key))
        await watch.go_round()
        assert await watch.findings() == []


# --- a log that misbehaves -----------------------------------------------------------------------------------------


async def test_a_log_that_shows_two_histories_is_told(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        log.leaves[2] = leaf_of("rewritten.example")
        log.add(leaf_of("later.example"))
        await watch.go_round()
        (found,) = await watch.findings()
        assert found.kind == "log_forked"
        assert (await watch.source()).trouble == "broken"
        (state,) = watch.file.now.logs.values()
        assert len({head.root for head in state.evidence}) == 2, "both signed heads are kept"


async def test_a_log_with_another_tree_of_the_same_size_is_told(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        log.leaves[-1] = leaf_of("another.example")
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["log_forked"]


async def test_a_log_that_goes_back_is_told(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        del log.leaves[3:]
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["log_went_back"]


async def test_an_older_head_of_the_same_history_is_no_alarm(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        kept, log.leaves = list(log.leaves), log.leaves[:3]
        log.wrong.head_age_s = 600
        whole = log.leaves
        log.leaves = kept
        head = log.head
        log.head = lambda: _of(log, whole, head)  # type: ignore[method-assign]
        await watch.go_round()
        assert await watch.findings() == []
        assert (await watch.source()).read == 5


def _of(log: CertificateLog, leaves: list[bytes], head: object) -> dict[str, object]:
    kept, log.leaves = log.leaves, leaves
    try:
        return head()  # type: ignore[operator]
    finally:
        log.leaves = kept


@pytest.mark.parametrize("missing", [True, False], ids=["left out", "replaced"])
async def test_a_log_that_hides_an_entry_of_its_tree_is_told(
    box: Practice, log: CertificateLog, missing: bool
) -> None:
    log.add(leaf_of(HOST), leaf_of("last.example"))
    log.wrong.instead = {5: None if missing else leaf_of("harmless.example")}
    async with box.watch() as watch:
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["log_differs"]


async def test_a_broken_log_is_followed_anew_once_staff_have_said_so(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        log.leaves[2] = leaf_of(HOST)
        await watch.go_round()
        (forked,) = await watch.findings()
        asked = len(log.asked)
        await watch.go_round()
        assert len(log.asked) == asked, "nothing of it is believed meanwhile"
        await watch.acknowledge(forked)
        await watch.go_round()
        assert {one.kind for one in await watch.findings()} == {"log_forked", "foreign_certificate"}


async def test_a_head_that_the_log_did_not_sign_is_not_believed(box: Practice, log: CertificateLog) -> None:
    log.wrong.sign_with = ec.generate_private_key(ec.SECP256R1())
    log.add(leaf_of(HOST))
    async with box.watch() as watch:
        await watch.go_round()
        source = await watch.source()
        assert (source.trouble, source.entries, source.heard_at) == ("signature", 0, 0)
        assert await watch.findings() == []


@pytest.mark.parametrize("what", ["get-sth", "get-sth-consistency", "get-entries"])
async def test_a_huge_answer_is_not_taken_in(box: Practice, log: CertificateLog, what: str) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        log.add(leaf_of("next.example"))
        log.wrong.huge = dict.fromkeys([what], 9 * 1024 * 1024)
        await watch.go_round()
        assert (await watch.source()).trouble == "answer"
        assert not log.wrong.huge
        await watch.go_round()
        assert (await watch.source()).trouble == ""


@pytest.mark.parametrize(
    ("status", "trouble"), [(500, "away"), (429, "busy"), (503, "busy"), (302, "away"), (404, "away")]
)
async def test_a_log_that_does_not_answer_is_a_state_of_it(
    box: Practice, log: CertificateLog, status: int, trouble: str
) -> None:
    log.wrong.status = status
    async with box.watch() as watch:
        await watch.go_round()
        assert (await watch.source()).trouble == trouble
        assert log.asked == ["get-sth"], "no redirect is followed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"tree_size":-1}',
        b'{"tree_size":1,"timestamp":1,"sha256_root_hash":"AA==","tree_head_signature":"BAMAAA=="}',
        b"[" * 100_000,
    ],
    ids=["empty", "no text", "list", "negative", "short", "deep"],
)
async def test_nonsense_is_a_state_of_the_log(box: Practice, log: CertificateLog, body: bytes) -> None:
    log.wrong.body = body
    async with box.watch() as watch:
        await watch.go_round()
        assert (await watch.source()).trouble == "answer"


async def test_a_log_that_gives_no_entries_is_not_asked_for_ever(box: Practice, log: CertificateLog) -> None:
    log.wrong.empty = True
    log.leaves = []
    async with box.watch() as watch:
        await watch.go_round()
        log.add(leaf_of("a.example"))
        log._shown = list  # type: ignore[method-assign, assignment]
        await watch.go_round()
        assert (await watch.source()).trouble == "answer"
        assert log.asked.count("get-entries") <= 6


async def test_a_slow_log_does_not_hold_up_the_others(box: Practice, log: CertificateLog) -> None:
    slow = CertificateLog()
    slow.wrong.slow = True
    box.settings = {"answer_timeout_s": 0.5}
    async with serving(slow):
        box.logs = [slow, log]
        log.add(leaf_of(HOST))
        async with box.watch() as watch:
            await watch.go_round()
            assert (await watch.source("log 0")).trouble == "away"
            assert len(await watch.findings()) == 1


async def test_a_log_under_another_authoritys_certificate_is_not_asked(box: Practice, log: CertificateLog) -> None:
    async with serving(CertificateLog()) as _:
        other = CertificateLog(key=log.key)
        async with serving(other):
            log.authority = other.authority
            async with box.watch() as watch:
                await watch.go_round()
                assert (await watch.source()).trouble == "certificate"
                assert log.asked == []


async def test_a_log_that_stands_still_is_told(box: Practice, log: CertificateLog) -> None:
    log.wrong.head_age_s = 2 * 86400
    async with box.watch() as watch:
        await watch.go_round()
        assert (await watch.source()).trouble == "stale"


# --- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["rsa", "ecdsa"])
async def test_a_long_log_is_read_over_rounds_and_restarts(tmp_path: Path, log: CertificateLog, key: str) -> None:
    if key == "rsa":
        log.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    box = practice(tmp_path)
    box.logs, box.settings = [log], {"entries_a_round": 40, "entries_at_once": 16}
    log.at_most = 7
    log.add(*(leaf_of(f"n{number}.example") for number in range(60)), leaf_of(HOST), leaf_of("z.example"))
    reads = []
    for _ in range(3):
        async with box.watch() as watch:
            await watch.go_round()
            reads.append((await watch.source()).read)
            log.add(leaf_of("more.example"))
    assert reads == [40, 68, 69]
    async with box.watch() as watch:
        assert [one.kind for one in await watch.findings()] == ["foreign_certificate"]
        assert (await watch.source()).trouble == ""


async def test_a_log_followed_from_today_on_cannot_begin_with_another_tree(
    box: Practice, log: CertificateLog
) -> None:
    log.wrong.instead = {4: leaf_of("another.example")}
    log.proof_for_any = True
    async with box.watch() as watch:
        watch.rounds._settings = _from_today(watch.rounds._settings)
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["log_differs"]


async def test_a_log_may_be_followed_from_today_on(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        watch.rounds._settings = _from_today(watch.rounds._settings)
        await watch.go_round()
        assert log.asked == ["get-sth", "get-entries", "get-proof-by-hash"]
        log.add(leaf_of(HOST), *(leaf_of("z.example") for _ in range(9)))
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["foreign_certificate"]
        assert (await watch.source()).trouble == ""


def _from_today(settings: object) -> object:
    from msgspec.structs import replace

    return replace(settings, logs=tuple(replace(one, whole=False) for one in settings.logs))  # type: ignore[attr-defined, type-var]


async def test_while_the_box_is_locked_nothing_is_passed_over(box: Practice, log: CertificateLog) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        box.locked = True
        log.add(leaf_of(HOST))
        assert not await watch.go_round()
        assert await watch.findings() == []
        box.locked = False
        await watch.go_round()
        assert len(await watch.findings()) == 1


async def test_a_box_that_is_locked_while_a_log_is_read_passes_nothing_over(
    box: Practice, log: CertificateLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with box.watch() as watch:
        await watch.go_round()
        log.add(leaf_of(HOST))
        shown = log._shown

        def lock() -> list[bytes]:
            box.locked = True
            return shown()

        monkeypatch.setattr(log, "_shown", lock)
        assert not await watch.go_round()
        assert (await watch.source()).trouble == "", "the log is not to blame"
        assert (await watch.source()).read == 5
        monkeypatch.undo()
        box.locked = False
        await watch.go_round()
        assert [one.kind for one in await watch.findings()] == ["foreign_certificate"]


async def test_a_finding_stays_after_it_was_taken_care_of(box: Practice, log: CertificateLog) -> None:
    log.add(leaf_of(HOST))
    async with box.watch() as watch:
        await watch.go_round()
        assert await watch.open() == 1
        await watch.acknowledge((await watch.findings())[0])
    async with box.watch() as watch:
        await watch.go_round()
        assert await watch.open() == 0
        assert len(await watch.findings()) == 1
        assert (await watch.findings())[0].acknowledged_at > 0
        with pytest.raises(NotFound):
            await watch.peer.ask(_acknowledge("0" * 32))


def _acknowledge(finding: str) -> object:
    from appliance.contracts.watch import Acknowledge

    return Acknowledge(finding=finding)


# --- monitors ------------------------------------------------------------------------------------------------------


async def test_a_monitor_tells_of_a_foreign_certificate_in_any_public_log(tmp_path: Path, monitor: Monitor) -> None:
    box = practice(tmp_path)
    box.monitors = [monitor]
    stranger = ec.generate_private_key(ec.SECP256R1())
    monitor.certificates = [make_certificate([HOST], box.key) for _ in range(3)]
    async with box.watch() as watch:
        await watch.go_round()
        assert await watch.findings() == []
        monitor.certificates += [make_certificate(["*.portal.example"], stranger), make_certificate(["a.example"])]
        asked = len(monitor.asked)
        await watch.go_round()
        (found,) = await watch.findings()
        assert (found.kind, found.key_sha256, found.source) == (
            "foreign_certificate",
            key_digest(stranger),
            "monitor 0",
        )
        assert "after=1002" in monitor.asked[asked], "it goes on where it was"
        assert "match_wildcards=true" in monitor.asked[asked]


async def test_a_monitor_that_does_not_show_the_boxs_own_certificate_is_called_blind(
    tmp_path: Path, monitor: Monitor
) -> None:
    now = int(time.time())
    box = practice(tmp_path)
    box.monitors, box.issued_at = [monitor], now - 2 * 86400
    monitor.certificates = [
        make_certificate([HOST], box.key, not_before=now - 9 * 86400),
        make_certificate([HOST], box.key, not_before=box.issued_at),
    ]
    monitor.hides = {key_digest(box.key)}
    async with box.watch() as watch:
        await watch.go_round()
        assert (await watch.source("monitor 0")).trouble == "blind"
        monitor.hides = set()
        await watch.go_round()
        assert (await watch.source("monitor 0")).trouble == ""
        box.issued_at = now - 86400 - 60
        await watch.go_round()
        assert (await watch.source("monitor 0")).trouble == "blind", "the renewed one is missing"


@pytest.mark.parametrize("body", [b"{}", b'[{"id":"1"}]', b"[" * 5000], ids=["object", "fields", "deep"])
async def test_a_monitor_that_answers_nonsense_is_a_state_of_it(
    tmp_path: Path, monitor: Monitor, body: bytes
) -> None:
    box = practice(tmp_path)
    box.monitors = [monitor]
    monitor.body = body
    async with box.watch() as watch:
        await watch.go_round()
        assert (await watch.source("monitor 0")).trouble == "answer"


async def test_the_same_certificate_from_a_log_and_a_monitor_is_one_alarm(
    box: Practice, log: CertificateLog, monitor: Monitor
) -> None:
    certificate = make_certificate([HOST])
    box.monitors = [monitor]
    log.add(x509_leaf(certificate.public_bytes(Encoding.DER)))
    monitor.certificates = [certificate]
    async with box.watch() as watch:
        await watch.go_round()
        assert len(await watch.findings()) == 1
