"""The erasure key turns: what stays is read as before, what was erased opens nowhere, and nobody waits for it."""

import asyncio
import contextlib
import shutil

import pytest

from appliance.contracts.records import CreateShare, DeletePatient, EraseDocument
from appliance.contracts.vault import TurnDocumentKeys, UnwrapDocumentKey
from appliance.core.errors import NotFound, Tampered, Unavailable
from appliance.core.metrics import render
from appliance.records import documents, erasure, turning
from appliance.records.opening import open_sealed
from tests.records.bench import PDF, records_process


async def key_of(bench, document):
    return await bench.archive.database.run(lambda rows: erasure.find_key(rows, document))


async def sealed_of(bench, document):
    return await bench.archive.database.run(lambda rows: documents.find(rows, document))


async def three(bench):
    """Three documents of a patient."""
    patient = await bench.add_patient()
    return patient, [(await bench.add(PDF + bytes([number]) * 1000, patient=patient)).document for number in range(3)]


async def test_after_an_erasure_what_stays_is_read_and_what_was_erased_opens_nowhere(bench, vault):
    _, (first, second, third) = await three(bench)
    older = await key_of(bench, first)
    opened = await bench.archive.vault.ask(UnwrapDocumentKey(document=first, wrapped=older.wrapped, generation=1))
    assert len(opened.key) == 32  # until the key turns, a copy of the row opens
    await bench.ask(EraseDocument, document=first, reason="no_record")
    assert await turning.turn(bench.archive)
    assert list(vault.erasure_keys) == [2]
    with pytest.raises(Unavailable, match="key_turned"):
        await bench.archive.vault.ask(UnwrapDocumentKey(document=first, wrapped=older.wrapped, generation=1))
    with pytest.raises(Tampered, match="document_key"):
        await bench.archive.vault.ask(UnwrapDocumentKey(document=first, wrapped=older.wrapped, generation=2))
    for number, document in ((1, second), (2, third)):
        assert await bench.read(document) == PDF + bytes([number]) * 1000
        assert (await key_of(bench, document)).generation == 2
    assert not await turning.turn(bench.archive)


async def test_several_erasures_are_one_turn(bench, vault, monkeypatch):
    patient, (first, second, _) = await three(bench)
    other = await bench.add_patient(family="Andere")
    await bench.add(patient=other)
    await bench.ask(EraseDocument, document=first, reason="no_record")
    await bench.ask(EraseDocument, document=second, reason="no_record")
    await bench.ask(DeletePatient, patient=other, reason="no_record")
    monkeypatch.setattr(turning, "QUIET_S", 0.0)
    work = asyncio.ensure_future(turning.turn_for_ever(bench.archive))
    try:
        while await bench.archive.database.run(erasure.due) is not None:
            await asyncio.sleep(0)
        await bench.ask(
            DeletePatient, patient=patient, reason="no_record"
        )  # too soon after: it waits, and is not forgotten
        assert await bench.archive.database.run(erasure.due) == 3
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    assert vault.asked.count("BeginTurn") == 1


@pytest.mark.parametrize("broken_at", ["BeginTurn", "TurnDocumentKeys", "FinishTurn"])
async def test_a_turn_that_was_broken_off_goes_on_at_the_next_start(tmp_path, vault, broken_at):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        _, (first, second, _) = await three(bench)
        await bench.ask(EraseDocument, document=first, reason="no_record")
        ask = bench.archive.vault.ask

        async def break_off(call):
            answer = await ask(call)
            if type(call).__name__ == broken_at:
                raise Unavailable("peer_lost")
            return answer

        object.__setattr__(bench.archive, "vault", type("Breaking", (), {"ask": staticmethod(break_off)})())
        with pytest.raises(Unavailable, match="peer_lost"):
            await turning.turn(bench.archive)
    async with records_process(tmp_path, vault.peer, session) as bench:
        assert await bench.archive.database.run(erasure.due) == 2
        assert await turning.turn(bench.archive)
        assert list(vault.erasure_keys) == [2]
        assert await bench.archive.database.run(erasure.due) is None
        assert await bench.read(second) == PDF + b"\1" * 1000


async def test_reading_adding_and_sharing_go_on_while_the_key_turns(bench, monkeypatch):
    """Also what was begun with the key of before: a read that has its row already, an intake under way."""
    patient, (first, second, third) = await three(bench)
    read_before = await sealed_of(bench, second)
    await bench.ask(EraseDocument, document=first, reason="no_record")
    monkeypatch.setattr(turning, "KEYS_AT_ONCE", 1)
    turned, done = turning._turned, []

    async def meanwhile(archive, keys):
        answer = await turned(archive, keys)
        done.append((await bench.add(PDF + b"new", patient=patient)).document)
        assert await bench.read(third) == PDF + b"\2" * 1000
        await bench.ask(CreateShare, patient=patient, documents=[second, third])
        return answer

    monkeypatch.setattr(turning, "_turned", meanwhile)
    assert await turning.turn(bench.archive)
    assert len(done) == 2
    for document in done:
        assert await bench.read(document) == PDF + b"new"
    async with contextlib.aclosing(open_sealed(bench.archive, read_before)) as pieces:
        assert b"".join([piece async for piece in pieces]) == PDF + b"\1" * 1000


async def test_an_intake_that_began_before_the_turn_is_kept_under_the_new_key(bench, vault):
    patient, (first, _, _) = await three(bench)
    await bench.ask(EraseDocument, document=first, reason="no_record")
    wrap = vault.answer_wrap
    turned = []

    async def slow(call, caller):
        answer = await wrap(call, caller)
        if not turned:
            turned.append(await turning.turn(bench.archive))
        return answer

    original = bench.archive.vault.ask

    async def ask(call, **named):
        if type(call).__name__ == "WrapDocumentKey":
            return await slow(call, None)
        return await original(call, **named)

    object.__setattr__(bench.archive, "vault", type("Slow", (), {"ask": staticmethod(ask)})())
    document = (await bench.add(PDF + b"late", patient=patient)).document
    assert turned == [True]
    assert (await key_of(bench, document)).generation == 2
    assert await bench.read(document) == PDF + b"late"


async def test_a_database_of_before_the_turn_is_refused(tmp_path, vault):
    """It would show names and titles of what was erased."""
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        _, (first, *_) = await three(bench)
    older = shutil.copytree(tmp_path / "records", tmp_path / "older")
    async with records_process(tmp_path, vault.peer, session) as bench:
        await bench.ask(EraseDocument, document=first, reason="no_record")
        await turning.turn(bench.archive)
    for name in ("records.db", "records.db-wal"):
        (tmp_path / "records" / name).unlink(missing_ok=True)
        if (older / name).exists():
            shutil.copy(older / name, tmp_path / "records" / name)
    with pytest.raises(Tampered, match="database_rolled_back"):
        async with records_process(tmp_path, vault.peer, session):
            pass


async def test_a_key_that_does_not_open_is_told_and_stops_no_turn(bench, vault):
    _, (first, second, third) = await three(bench)
    await bench.archive.database.run(
        lambda rows: rows.change("UPDATE documents SET wrapped_key = ? WHERE document = ?", bytes(60), second)
    )
    await bench.ask(EraseDocument, document=first, reason="no_record")
    assert await turning.turn(bench.archive)
    assert "praxis_document_keys_lost 1.0" in render()
    assert await bench.read(third) == PDF + b"\2" * 1000
    with pytest.raises(Tampered, match="document_key"):
        await bench.read(second)


async def test_an_erasure_that_was_refused_turns_nothing(bench, vault):
    await three(bench)
    with pytest.raises(NotFound, match="document"):
        await bench.ask(EraseDocument, document="f" * 32, reason="no_record")
    assert not await turning.turn(bench.archive)
    assert "BeginTurn" not in vault.asked


async def test_records_sees_no_document_key_while_keys_turn(bench, vault, monkeypatch):
    """What goes to vault and comes back is wrapped: no byte string of it is a key's."""
    _, (first, second, third) = await three(bench)
    keys = []
    for document in (second, third):
        wrapped = await key_of(bench, document)
        keys.append(vault.unwrap(1, document, wrapped.wrapped))
    await bench.ask(EraseDocument, document=first, reason="no_record")
    seen, ask = [], bench.archive.vault.ask

    async def listening(call, **named):
        answer = await ask(call, **named)
        seen.extend([repr(call), repr(answer)])
        return answer

    object.__setattr__(bench.archive, "vault", type("Listening", (), {"ask": staticmethod(listening)})())
    await turning.turn(bench.archive)
    assert any(TurnDocumentKeys.__name__ in one for one in seen)
    assert not any(repr(key)[2:-1] in one for key in keys for one in seen)
