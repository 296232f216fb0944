"""What a try costs, on the real state file: taken before the answer, given back by a right PIN only."""

import asyncio
import shutil

import msgspec
import pytest
from msgspec.structs import replace

from appliance.contracts.vault import (
    AcceptInvitation,
    ConfirmPin,
    InviteStaff,
    ListShares,
    LogIn,
    MakeShare,
    NameLiveShares,
    OpenShare,
    PublishShare,
    ReadPin,
    RevokeRequestedSince,
    RevokeShare,
    RevokeSharesOf,
    ShowShare,
)
from appliance.core.errors import Invalid, NotFound, Refused, Unavailable
from appliance.vault.shares import Share, requested_since
from appliance.vault.vault import SETTLING_S
from tests.vault.bench import DOCUMENT, PASSWORD, PATIENT

DAY_S = 86400


async def test_right_pin_gives_back_its_own_try_and_no_earlier_one(bench):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        for tries_left in (4, 3):
            view = await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
            assert (view.state, view.tries_left, view.r) == ("open", tries_left, None)
        for _ in range(3):
            view = await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
            assert (view.state, view.tries_left, view.r) == ("open", 3, share.r)
        assert vault.state_on_disk()[0].shares[share.share].tries_left == 3
        assert (view.practice_name, view.telephone) == ("Praxis Nord", "040 1234")


async def test_fifth_wrong_pin_closes_for_ever(bench):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        for _ in range(5):
            view = await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
        assert (view.state, view.tries_left) == ("closed", 0)
        view = await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        assert (view.state, view.r) == ("closed", None)
        assert share.r not in vault.state_on_disk()[1]
        assert bench.audit.actions[-6:] == [*["share_pin_wrong"] * 5, "share_closed"]


async def test_two_hundred_parallel_tries_evaluate_exactly_five(bench):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        calls = [OpenShare(proof=share.proof, pin=share.wrong_pin) for _ in range(200)]
        views = await asyncio.gather(*(vault.ask(call) for call in calls))
        assert [view.tries_left for view in views][:5] == [4, 3, 2, 1, 0]
        assert bench.audit.actions.count("share_pin_wrong") == 5
        assert bench.audit.actions.count("share_closed") == 1
        assert {view.state for view in views[5:]} == {"closed"}


async def test_crash_between_try_and_answer_costs_a_try(bench, tmp_path):
    """At the moment audit hears of the opening, the disk already knows the try; pulled there, the try is gone."""

    def pull_the_plug(entry):
        if entry.action == "share_opened" and not (tmp_path / "pulled").exists():
            shutil.copytree(bench.folder, tmp_path / "pulled")

    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        bench.audit.before_answer = pull_the_plug
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).tries_left == 5
    async with bench.open(tmp_path / "pulled") as vault:
        assert (await vault.ask(ShowShare(proof=share.proof))).tries_left == 4
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).tries_left == 4


async def test_a_crash_on_the_last_try_closes(bench, tmp_path):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        for _ in range(4):
            await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
        bench.audit.before_answer = lambda _: shutil.copytree(bench.folder, tmp_path / "pulled")
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r
    async with bench.open(tmp_path / "pulled") as vault:
        view = await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        assert (view.state, view.r) == ("closed", None)


async def test_without_audit_no_r_leaves_and_the_try_stays_taken(bench):
    def fail(_):
        raise Unavailable("storage")

    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        bench.audit.before_answer = fail
        with pytest.raises(Unavailable, match="audit_away"):
            await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        bench.audit.before_answer = lambda _: None
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).tries_left == 4


async def test_nothing_opens_before_publish(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session, publish=False)
        for call in (ShowShare(proof=share.proof), OpenShare(proof=share.proof, pin=share.pin)):
            with pytest.raises(NotFound, match="share"):
                await vault.ask(call)
        assert (await vault.ask(ListShares(session=session))).shares == []
        await vault.ask(PublishShare(session=session, share=share.share))
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r


async def test_unpublished_shares_do_not_outlive_a_start_or_an_hour(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        early = await vault.make_share(session, publish=False)
        bench.clock.at += 3600
        await vault.vault.keep_house()
        late = await vault.make_share(await log_in(vault), publish=False)
        assert early.r not in vault.state_on_disk()[1]
        assert late.r in vault.state_on_disk()[1]
    async with bench.open() as vault:
        assert vault.state_on_disk()[0].shares == {}


async def log_in(vault):
    return (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session


async def test_without_proof_no_try_is_counted(bench):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        written = (bench.folder / "state").read_bytes()
        with pytest.raises(NotFound, match="share"):
            await vault.ask(OpenShare(proof=bytes(32), pin=share.pin))
        assert (bench.folder / "state").read_bytes() == written


async def test_looking_changes_nothing(bench):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())
        written = (bench.folder / "state").read_bytes()
        for _ in range(10):
            assert (await vault.ask(ShowShare(proof=share.proof))).tries_left == 5
        assert (bench.folder / "state").read_bytes() == written


async def test_expiry_comes_before_the_pin_and_a_clock_set_back_does_not_help(bench):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed(), valid_s=60)
        bench.clock.at += 60
        view = await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        assert (view.state, view.r) == ("expired", None)
        assert share.r not in vault.state_on_disk()[1]
    bench.clock.at -= DAY_S
    async with bench.open() as vault:
        assert (await vault.ask(ShowShare(proof=share.proof))).state == "expired"
        assert vault.vault.now() >= bench.clock.at + DAY_S


async def test_r_is_gone_from_state_after_revocation(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        assert share.r in vault.state_on_disk()[1]
        await vault.ask(RevokeShare(session=session, share=share.share))
        state, plaintext = vault.state_on_disk()
        assert share.r not in plaintext
        assert share.pin.encode() not in plaintext
        assert state.shares[share.share].pin_verifier is None
        view = await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        assert (view.state, view.r, view.telephone) == ("revoked", None, "040 1234")


async def test_revocation_does_not_wait_for_audit(bench):
    def fail(_):
        raise Unavailable("storage")

    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        bench.audit.before_answer = fail
        with pytest.raises(Unavailable, match="audit_away"):
            await vault.ask(RevokeShare(session=session, share=share.share))
        assert (await vault.ask(ShowShare(proof=share.proof))).state == "revoked"
        bench.audit.before_answer = lambda _: None
        await vault.ask(RevokeShare(session=session, share=share.share))
        assert bench.audit.actions[-1] == "share_revoked"


async def test_a_share_revoked_while_audit_writes_does_not_open(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        arrived, go_on = asyncio.Event(), asyncio.Event()
        append = vault.vault.audit.append

        async def slow(action, **more):
            if action == "share_opened":
                arrived.set()
                await go_on.wait()
            await append(action, **more)

        vault.vault.audit.append = slow
        opening = asyncio.create_task(vault.ask(OpenShare(proof=share.proof, pin=share.pin)))
        await arrived.wait()
        await vault.ask(RevokeShare(session=session, share=share.share))
        go_on.set()
        view = await opening
        assert (view.state, view.r) == ("revoked", None)


async def test_erasing_a_document_ends_every_share_that_names_it(bench):
    other = "e" * 32
    async with bench.open() as vault:
        session = await vault.claimed()
        both = await vault.make_share(session, documents=[DOCUMENT, other])
        unpublished = await vault.make_share(session, publish=False, documents=[other])
        without = await vault.make_share(session)
        revoked = await vault.ask(RevokeSharesOf(session=session, document=other))
        assert sorted(revoked.shares) == sorted([both.share, unpublished.share])
        assert (await vault.ask(OpenShare(proof=without.proof, pin=without.pin))).r == without.r
        assert (await vault.ask(OpenShare(proof=both.proof, pin=both.pin))).r is None
        with pytest.raises(NotFound):
            await vault.ask(RevokeShare(session=session, share="f" * 32))


async def test_pin_is_given_until_it_is_printed_and_to_its_maker_only(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session, pin_digits=8)
        assert len(share.pin) == 8
        other = await second_member(vault, session)
        for call in (ReadPin, ConfirmPin):
            with pytest.raises(Refused, match="pin_not_yours"):
                await vault.ask(call(session=other, share=share.share))
        await vault.ask(ConfirmPin(session=session, share=share.share))
        with pytest.raises(Refused, match="pin_printed"):
            await vault.ask(ReadPin(session=session, share=share.share))
        assert share.pin.encode() not in vault.state_on_disk()[1]
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r


async def second_member(vault, session):
    invitation = await vault.ask(InviteStaff(session=session, name="Grace"))
    joined = await vault.ask(AcceptInvitation(code=invitation.code, password="another long one"))
    return joined.session


async def test_tombstones_tell_for_90_days_and_are_then_forgotten(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        await vault.ask(RevokeShare(session=session, share=share.share))
        bench.clock.at += 90 * DAY_S - SETTLING_S
        await vault.vault.keep_house()
        assert (await vault.ask(ShowShare(proof=share.proof))).state == "revoked"
        bench.clock.at += SETTLING_S
        await vault.vault.keep_house()
        with pytest.raises(NotFound, match="share"):
            await vault.ask(ShowShare(proof=share.proof))


async def test_the_list_shows_what_staff_need(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        first = await vault.make_share(session)
        bench.clock.at += 10
        second = await vault.make_share(session)
        await vault.ask(OpenShare(proof=first.proof, pin=first.pin))
        await vault.ask(OpenShare(proof=first.proof, pin=first.wrong_pin))
        listed = (await vault.ask(ListShares(session=session, patient=PATIENT))).shares
        assert [status.share for status in listed] == [second.share, first.share]
        status = listed[1]
        assert (status.opened, status.tries_left, status.state, status.pin_printed) == (1, 4, "open", False)
        assert status.last_opened_at >= int(bench.clock.at)
        assert (await vault.ask(ListShares(session=session, patient="1" * 32))).shares == []


async def test_shares_are_listed_page_by_page_and_by_whether_they_ended(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        made = []
        for _ in range(5):
            bench.clock.at += 10
            made.append((await vault.make_share(session)).share)
        await vault.ask(RevokeShare(session=session, share=made[1]))

        async def listed(**fields):
            answer = await vault.ask(ListShares(session=session, **fields))
            return [status.share for status in answer.shares], answer.total

        assert await listed() == (made[::-1], 5)
        assert await listed(ended=True) == ([made[1]], 1)
        assert await listed(ended=False, count=3) == ([made[4], made[3], made[2]], 4)
        assert await listed(ended=False, count=3, after=3) == ([made[0]], 4)
        assert await listed(share=made[2]) == ([made[2]], 1)
        assert await listed(after=9) == ([], 5)


async def test_live_shares_are_named_without_a_session_and_ended_ones_are_not(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        closed, revoked, _ = [await vault.make_share(session) for _ in range(3)]
        for _ in range(5):
            await vault.ask(OpenShare(proof=closed.proof, pin=closed.wrong_pin))
        await vault.ask(RevokeShare(session=session, share=revoked.share))
        bench.clock.at += 13 * 86400
        session = (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session
        late = await vault.make_share(session)
        bench.clock.at += 86400
        assert (await vault.ask(NameLiveShares())).shares == [late.share]


async def test_one_proof_opens_one_share(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        again = vault.state_on_disk()[0].shares[share.share].proof_verifier
        with pytest.raises(Invalid, match="share_exists"):
            await vault.ask(
                MakeShare(session=session, proof_verifier=again, patient=PATIENT, documents=[DOCUMENT], valid_s=60)
            )


async def test_every_document_of_a_share_is_in_the_log_before_r_exists(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        documents = [f"{number:032x}" for number in range(3)]
        share = await vault.make_share(session, documents=documents)
        made = [entry for _, entry in bench.audit.appended if entry.action == "share_made"]
        assert [entry.document for entry in made] == documents
        assert {(entry.share, entry.patient) for entry in made} == {(share.share, PATIENT)}


async def asked_since(vault, session, since, **more):
    call = RevokeRequestedSince(session=session, password=PASSWORD, since=since, **more)
    return set((await vault.ask(call)).shares)


async def test_what_was_requested_since_the_suspicion_opens_nothing_any_more(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        untouched, early, tried, opened = [await vault.make_share(session) for _ in range(4)]
        await vault.ask(OpenShare(proof=early.proof, pin=early.pin))
        bench.clock.at += 600
        since = int(bench.clock.at)
        await vault.ask(OpenShare(proof=tried.proof, pin=tried.wrong_pin))
        await vault.ask(OpenShare(proof=opened.proof, pin=opened.pin))
        assert await asked_since(vault, session, since) == {tried.share, opened.share}
        for share in (tried, opened):
            view = await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
            assert (view.state, view.r) == ("revoked", None)
            assert share.r not in vault.state_on_disk()[1]
        for share in (untouched, early):
            assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r
        assert bench.audit.actions.count("share_revoked") == 2
        assert await asked_since(vault, session, since) >= {tried.share, opened.share}, "asked again, all are named"


async def test_every_open_share_can_be_revoked_at_once(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        made = [await vault.make_share(session) for _ in range(3)]
        assert await asked_since(vault, session, int(bench.clock.at), every=True) == {one.share for one in made}
        assert not (await vault.ask(NameLiveShares())).shares


async def test_a_wrong_try_without_a_date_counts_as_requested(bench):
    """A state that a release before wrote has no `last_try_at`."""
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
        kept = vault.vault.state.shares
        undated = {name: replace(one, last_try_at=0) for name, one in kept.items()}
        assert requested_since(undated, int(bench.clock.at) + DAY_S, every=False) == [share.share]
        assert requested_since(kept, int(bench.clock.at) + DAY_S, every=False) == []
        old = msgspec.msgpack.encode({name: _without(one) for name, one in kept.items()})
        assert msgspec.msgpack.decode(old, type=dict[str, Share]) == undated


def _without(share):
    return {name: value for name, value in msgspec.structs.asdict(share).items() if name != "last_try_at"}


async def test_revoking_what_was_requested_needs_the_password_again(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        with pytest.raises(Refused, match="login"):
            await vault.ask(RevokeRequestedSince(session=session, password="wrong password", since=0, every=True))
        assert (await vault.ask(NameLiveShares())).shares == [share.share]
