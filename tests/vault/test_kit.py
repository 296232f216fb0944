"""The recovery kit in a running vault: shown once, accepted by its words, checked, sealed to, opened on another box."""

import hashlib
import hmac
import itertools
import secrets

import pytest

from appliance.contracts.vault import (
    AcceptKitSheet,
    BeginRestore,
    BeginTurn,
    CheckErasedList,
    CheckKitSheet,
    CreateDeviceToken,
    DescribeKit,
    EndRestore,
    FinishTurn,
    KeepGenerations,
    MakeKit,
    OldDocumentKey,
    OpenDatabase,
    OpenGeneration,
    OpenOldDatabase,
    ProveErasedList,
    ReadKeysMark,
    ReadRepositoryPassword,
    RewrapOldDocumentKeys,
    SealGeneration,
    UnwrapDocumentKey,
    WrapDocumentKey,
)
from appliance.core.errors import Invalid, NotFound, Refused, Tampered, Unavailable
from appliance.formats.kit_key import of_seed
from appliance.formats.kit_public import KitPublic, decode_kit_public
from appliance.formats.kit_sheets import combine_sheets
from appliance.vault import kit as kits
from appliance.vault import kit_publication
from appliance.vault.rollback import must_be_counted
from tests.simulators.audit_log import audit_simulator
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import PASSWORD, Bench

DOCUMENT = "d" * 32
QUARTER_S = 92 * 86400


def words_of(kit, sheet, places):
    listed = kit.sheets[sheet - 1].split()
    return [listed[place - 1] for place in places]


async def accept(vault, session, kit, sheets=(1, 2, 3)):
    for sheet in sheets:
        words = words_of(kit, sheet, kit.asked)
        left = await vault.ask(AcceptKitSheet(session=session, kit=kit.kit, sheet=sheet, words=words))
    return left.sheets_left


async def made_kit(vault, session):
    kit = await vault.ask(MakeKit(session=session, password=PASSWORD))
    assert await accept(vault, session, kit) == []
    return kit


async def unwrapped(vault, document, wrapped, generation):
    asked = UnwrapDocumentKey(document=document, wrapped=wrapped, generation=generation)
    return (await vault.ask(asked)).key


def actions(bench):
    return [entry.action for _, entry in bench.audit.appended]


async def test_a_kit_needs_the_password_again(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        with pytest.raises(Refused, match="login"):
            await vault.ask(MakeKit(session=session, password="some other password"))
        device = await vault.ask(CreateDeviceToken(session=session, label="Software"))
        with pytest.raises(Refused):
            await vault.ask(MakeKit(session=device.token, password=PASSWORD))


async def test_a_kit_counts_once_words_of_all_three_sheets_were_said(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await vault.ask(MakeKit(session=session, password=PASSWORD))
        assert await accept(vault, session, kit, (1, 3)) == [2]
        assert (await vault.ask(DescribeKit(session=session))).name == ""
        with pytest.raises(Refused, match="no_kit"):
            await vault.ask(SealGeneration(generation=1))
        with pytest.raises(Refused, match="kit_words"):
            wrong = words_of(kit, 1, kit.asked)
            await vault.ask(AcceptKitSheet(session=session, kit=kit.kit, sheet=2, words=wrong))
        assert "kit_made" not in actions(bench)
        assert await accept(vault, session, kit, (2,)) == []
        assert (await vault.ask(DescribeKit(session=session))).name == kit.name
        assert actions(bench)[-1] == "kit_made"


async def test_a_kit_that_was_not_accepted_ends_after_an_hour_and_with_vault(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await vault.ask(MakeKit(session=session, password=PASSWORD))
        vault.bench.clock.at += 800
        await accept(vault, session, kit, (1, 2))
        vault.bench.clock.at += 2800
        vault.vault.sessions.begin(session, next(iter(vault.vault.state.accounts.members)), "c", vault.vault.now())
        with pytest.raises(NotFound, match="kit"):
            await accept(vault, session, kit, (3,))


async def test_neither_seed_nor_words_are_kept(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await made_kit(vault, session)
        _, plaintext = vault.state_on_disk()
        for sheet in kit.sheets:
            words = sheet.split()
            for one, next_one in itertools.pairwise(words[1:]):
                assert f"{one} {next_one}".encode() not in plaintext
        seed, _ = combine_sheets(*kit.sheets[:2])
        for secret in (seed, hashlib.shake_256(seed).digest(96)[:32], hashlib.shake_256(seed).digest(96)[64:]):
            assert secret not in plaintext
        assert kit.sheets[0] not in repr(vars(vault.vault))


async def test_a_check_takes_the_same_three_words_and_is_in_the_log(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await made_kit(vault, session)
        bench.clock.at += 500
        await vault.ask(CheckKitSheet(session=session, sheet=2, words=words_of(kit, 2, kit.checked)))
        assert actions(bench)[-1] == "kit_sheet_checked"
        state = await vault.ask(DescribeKit(session=session))
        assert state.checked_at[1] == state.made_at + 500
        assert state.checked == kit.checked
        with pytest.raises(Refused) as refused:
            await vault.ask(CheckKitSheet(session=session, sheet=1, words=words_of(kit, 2, kit.checked)))
        assert (refused.value.code, refused.value.details["number"]) == ("kit_other_sheet", 2)
        assert actions(bench)[-1] == "kit_check_failed"
        with pytest.raises(Invalid) as invalid:
            await vault.ask(CheckKitSheet(session=session, sheet=1, words=["acid", "xylophone", "acid"]))
        assert (invalid.value.code, invalid.value.details["word"]) == ("kit_word_misspelt", kit.checked[1])


async def test_guessing_words_is_slowed_down(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        await made_kit(vault, session)
        for _ in range(5):
            with pytest.raises(Refused, match="kit_words"):
                await vault.ask(CheckKitSheet(session=session, sheet=1, words=["acid"] * 3))
        with pytest.raises(Unavailable, match="slow_down"):
            await vault.ask(CheckKitSheet(session=session, sheet=1, words=["acid"] * 3))


async def test_a_check_is_due_each_quarter_until_each_sheet_was_seen(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await made_kit(vault, session)
        principal = next(iter(vault.vault.state.accounts.members))
        assert not (await vault.ask(DescribeKit(session=session))).due
        bench.clock.at += QUARTER_S
        vault.vault.sessions.begin(session, principal, "c", vault.vault.now())
        assert (await vault.ask(DescribeKit(session=session))).due
        for sheet in (1, 2, 3):
            assert (await vault.ask(DescribeKit(session=session))).due
            await vault.ask(CheckKitSheet(session=session, sheet=sheet, words=words_of(kit, sheet, kit.checked)))
        assert not (await vault.ask(DescribeKit(session=session))).due


async def test_a_new_kit_says_which_generations_the_old_one_still_opens(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        old = await made_kit(vault, session)
        for generation in (1, 2):
            await vault.ask(SealGeneration(generation=generation))
        new = await made_kit(vault, session)
        sealed = await vault.ask(SealGeneration(generation=3))
        assert sealed.kit == new.kit
        state = await vault.ask(DescribeKit(session=session))
        assert (state.name, [one.generation for one in state.generations]) == (new.name, [3])
        assert [(one.name, [each.generation for each in one.generations]) for one in state.old] == [
            (old.name, [1, 2])
        ]
        with pytest.raises(Refused, match="kit_replaced"):
            await vault.ask(CheckKitSheet(session=session, sheet=1, words=words_of(old, 1, old.checked)))
        await vault.ask(KeepGenerations(existing=[2, 3]))
        state = await vault.ask(DescribeKit(session=session))
        assert [one.generation for one in state.old[0].generations] == [2]
        with pytest.raises(Refused, match="generation_used"):
            await vault.ask(SealGeneration(generation=3))


async def test_a_new_kit_is_counted_and_a_generation_is_not(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        before = vault.vault.state
        await made_kit(vault, session)
        with_kit = vault.vault.state
        await vault.ask(SealGeneration(generation=1))
        assert must_be_counted(before, with_kit)
        assert not must_be_counted(with_kit, vault.vault.state)


async def test_two_sheets_and_a_bundle_bring_the_keys_to_another_box(bench, tmp_path):
    (tmp_path / "other").mkdir()
    document_key = secrets.token_bytes(32)
    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await made_kit(vault, session)
        database = (await vault.ask(OpenDatabase())).key
        wrapped = (await vault.ask(WrapDocumentKey(document=DOCUMENT, key=document_key))).wrapped
        mark = (await vault.ask(ReadKeysMark())).keys
        sealed = await vault.ask(SealGeneration(generation=5))
        password = (await vault.ask(ReadRepositoryPassword())).password
        assert sealed.keys == mark
        old_box = vault.vault.state.box.box
    with software_tpm(tmp_path / "other-tpm") as tcti:
        async with audit_simulator(tmp_path / "other") as audit:
            new_bench = Bench(tmp_path / "other", tcti, audit, booted(tmp_path / "other-boot", tcti), bench.clock)
            async with new_bench.open() as new:
                session = await new.claimed()
                for call in (
                    OpenGeneration(bundle=sealed.bundle),
                    OpenOldDatabase(),
                    RewrapOldDocumentKeys(documents=[]),
                    ReadRepositoryPassword(old=True),
                ):
                    with pytest.raises(Refused, match="no_restore"):
                        await new.ask(call)
                first, second = kit.sheets[2], kit.sheets[0]
                with pytest.raises(Refused, match="login"):
                    await new.ask(BeginRestore(session=session, password="not it, sorry", first=first, second=second))
                with pytest.raises(Invalid, match="kit_same_sheet"):
                    await new.ask(BeginRestore(session=session, password=PASSWORD, first=first, second=first))
                begun = await new.ask(BeginRestore(session=session, password=PASSWORD, first=first, second=second))
                assert (begun.kit, begun.name) == (kit.kit, kit.name)
                assert (await new.ask(ReadRepositoryPassword(old=True))).password == password
                with pytest.raises(Refused, match="no_restore"):
                    await new.ask(OpenOldDatabase())
                opened = await new.ask(OpenGeneration(bundle=sealed.bundle))
                assert (opened.box, opened.generation) == (old_box, 5)
                assert (await new.ask(OpenOldDatabase())).key == database
                one = OldDocumentKey(document=DOCUMENT, wrapped=wrapped)
                mine = await new.ask(RewrapOldDocumentKeys(documents=[one]))
                assert await unwrapped(new, DOCUMENT, mine.wrapped[0], mine.generation) == document_key
                other = OldDocumentKey(document="e" * 32, wrapped=wrapped)
                zeroed = OldDocumentKey(document=DOCUMENT, wrapped=bytes(60))
                some = (await new.ask(RewrapOldDocumentKeys(documents=[zeroed, one, other]))).wrapped
                assert [each is None for each in some] == [True, False, True]
                assert await unwrapped(new, DOCUMENT, some[1], mine.generation) == document_key
                await new.ask(EndRestore())
                with pytest.raises(Refused, match="no_restore"):
                    await new.ask(OpenOldDatabase())
                told = actions(new_bench)
                assert told[-3:] == ["restore_refused", "restore_begun", "restore_ended"]


async def test_a_bundle_opens_every_row_of_a_snapshot_that_was_taken_while_the_erasure_key_turned(bench):
    """Here the box itself is the other one: it has turned on since, and has neither of the two keys any more."""
    keys = {name * 32: secrets.token_bytes(32) for name in "ab"}
    rows, marks = [], []

    async def wrap(vault, document):
        wrapped = await vault.ask(WrapDocumentKey(document=document, key=keys[document]))
        rows.append(OldDocumentKey(document=document, wrapped=wrapped.wrapped))
        marks.append((await vault.ask(ReadKeysMark())).keys)

    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await made_kit(vault, session)
        await wrap(vault, "a" * 32)
        await vault.ask(BeginTurn(generation=2))
        await wrap(vault, "b" * 32)
        sealed = await vault.ask(SealGeneration(generation=1))
        assert sealed.keys == marks[1] != marks[0], "a snapshot of before the turn is taken again"
        await vault.ask(FinishTurn(generation=2))
        assert (await vault.ask(ReadKeysMark())).keys not in marks
        await vault.ask(BeginTurn(generation=3))
        await vault.ask(FinishTurn(generation=3))
        for place, generation in enumerate((1, 2)):
            with pytest.raises(Unavailable, match="key_turned"):
                await unwrapped(vault, rows[place].document, rows[place].wrapped, generation)
        await vault.ask(BeginRestore(session=session, password=PASSWORD, first=kit.sheets[0], second=kit.sheets[1]))
        await vault.ask(OpenGeneration(bundle=sealed.bundle))
        mine = await vault.ask(RewrapOldDocumentKeys(documents=rows))
        assert mine.generation == 3
        for row, wrapped in zip(rows, mine.wrapped, strict=True):
            assert await unwrapped(vault, row.document, wrapped, mine.generation) == keys[row.document]


async def test_a_list_of_what_was_erased_is_proven_by_a_box_that_made_the_kit_and_checked_by_its_sheets(bench):
    digest = hashlib.sha256(b"a list").digest()
    async with bench.open() as vault:
        session = await vault.claimed()
        assert (await vault.ask(ProveErasedList(digest=digest))).proof == b""
        kit = await made_kit(vault, session)
        sealed = await vault.ask(SealGeneration(generation=1))
        proof = (await vault.ask(ProveErasedList(digest=digest))).proof
        assert (await vault.ask(ProveErasedList(digest=digest))).proof == proof
        right = CheckErasedList(digest=digest, proof=proof)
        with pytest.raises(Refused, match="no_restore"):
            await vault.ask(right)
        await vault.ask(BeginRestore(session=session, password=PASSWORD, first=kit.sheets[0], second=kit.sheets[1]))
        with pytest.raises(Refused, match="no_restore"):
            await vault.ask(right)  # which box is known by the bundle
        await vault.ask(OpenGeneration(bundle=sealed.bundle))
        await vault.ask(right)
        key = of_seed(combine_sheets(*kit.sheets[:2])[0]).authentication_key
        of_another_box = kits.prove_erased_list(key, "0" * 32, digest)
        without_label = hmac.digest(key, digest, hashlib.sha256)
        for wrong in (bytes(32), of_another_box, without_label, bytes([proof[0] ^ 1]) + proof[1:]):
            with pytest.raises(Tampered, match="erased_list"):
                await vault.ask(CheckErasedList(digest=digest, proof=wrong))
        with pytest.raises(Tampered, match="erased_list"):
            await vault.ask(CheckErasedList(digest=bytes(32), proof=proof))
        await made_kit(vault, session)  # what another kit proves, these sheets do not check
        proof = (await vault.ask(ProveErasedList(digest=digest))).proof
        with pytest.raises(Tampered, match="erased_list"):
            await vault.ask(CheckErasedList(digest=digest, proof=proof))


async def test_a_restore_ends_by_itself(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        kit = await made_kit(vault, session)
        sealed = await vault.ask(SealGeneration(generation=1))
        await vault.ask(BeginRestore(session=session, password=PASSWORD, first=kit.sheets[0], second=kit.sheets[1]))
        await vault.ask(OpenGeneration(bundle=sealed.bundle))
        bench.clock.at += 12 * 3600
        with pytest.raises(Refused, match="no_restore"):
            await vault.ask(OpenOldDatabase())


async def test_the_accepted_kit_is_published_and_nothing_secret_of_it(bench):
    """For disk-slot, which seals to it outside vault (appliance/disk_slot/kit_file.py)."""
    path = bench.folder / "kit-public"
    async with bench.open() as vault:
        session = await vault.claimed()
        waiting = await vault.ask(MakeKit(session=session, password=PASSWORD))
        assert not path.exists()
        await accept(vault, session, waiting)
        current = vault.vault.state.kits.current
        published = decode_kit_public(path.read_bytes())
        assert published == KitPublic(waiting.kit, vault.vault.state.box.box, current.public_key)
        assert path.stat().st_mode & 0o777 == 0o644
        assert len(path.read_bytes()) == 33 + 1216
        newer = await made_kit(vault, session)
        assert decode_kit_public(path.read_bytes()).kit == newer.kit


@pytest.mark.parametrize("left", ["nothing", "an older kit", "half of it"])
async def test_a_start_publishes_the_kit_again_where_the_file_differs(bench, left):
    path = bench.folder / "kit-public"
    async with bench.open() as vault:
        await made_kit(vault, await vault.claimed())
    published = path.read_bytes()
    path.unlink()
    if left != "nothing":
        path.write_bytes(published[:600] if left == "half of it" else b"\x01" + bytes(16) + published[17:])
    async with bench.open():
        assert path.read_bytes() == published


async def test_a_kit_counts_though_there_is_no_room_to_publish_it_and_is_published_later(bench, monkeypatch):
    def no_room(*_, **__):
        raise Unavailable("storage")

    path = bench.folder / "kit-public"
    async with bench.open() as vault:
        session = await vault.claimed()
        with monkeypatch.context() as full:
            full.setattr(kit_publication, "write_synced", no_room)
            kit = await made_kit(vault, session)
        assert (await vault.ask(DescribeKit(session=session))).name == kit.name
        assert not path.exists()
        await vault.vault.keep_house()
        assert decode_kit_public(path.read_bytes()).kit == kit.kit
