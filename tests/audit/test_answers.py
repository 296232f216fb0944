"""Audit over its socket: who may append what, and that an answer means that the entry is on disk."""

import asyncio

import pytest

from appliance.contracts.audit import Append, ReadEntries
from appliance.core.errors import Refused

PATIENT, ACTOR = "a" * 32, "b" * 32


async def test_an_entry_comes_back_with_the_kernels_word_for_the_process(audit):
    async with audit(caller="records") as peer:
        appended = await peer.ask(Append(action="patient_made", actor=ACTOR, patient=PATIENT))
        entries = await peer.ask(ReadEntries(patient=PATIENT))
    assert appended.index == 0
    assert entries.head == appended.head
    (entry,) = entries.entries
    assert (entry.process, entry.action, entry.actor, entry.patient) == ("records", "patient_made", ACTOR, PATIENT)
    assert entry.at == 1_700_000_000


@pytest.mark.parametrize(
    ("process", "action"),
    [
        ("records", "share_opened"),
        ("records", "staff_logged_in"),
        ("vault", "document_read"),
        ("vault", "patient_made"),
    ],
)
async def test_a_process_cannot_write_anothers_history(audit, process, action):
    async with audit(caller=process) as peer:
        with pytest.raises(Refused, match="action"):
            await peer.ask(Append(action=action))


@pytest.mark.parametrize("process", ["gateway", "practice", "tunnel", "root"])
async def test_only_vault_and_records_append(audit, process):
    async with audit(caller=process) as peer:
        with pytest.raises(Refused, match="caller"):
            await peer.ask(Append(action="share_opened"))


@pytest.mark.parametrize("process", ["gateway", "practice", "tunnel", "vault"])
async def test_only_records_and_root_read(audit, process):
    async with audit(caller=process) as peer:
        with pytest.raises(Refused, match="caller"):
            await peer.ask(ReadEntries())


async def test_entries_at_the_same_time_all_get_their_place(audit):
    async with audit(caller="vault") as peer:
        answers = await asyncio.gather(*(peer.ask(Append(action="share_opened")) for _ in range(40)))
    assert sorted(answer.index for answer in answers) == list(range(40))
    async with audit(caller="records") as peer:
        entries = await peer.ask(ReadEntries(count=200))
    assert entries.size == 40
    assert entries.head == max(answers, key=lambda answer: answer.index).head
