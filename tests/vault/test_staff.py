"""Who may use the box: claim, log-in, sessions, invitations, devices."""

import asyncio
import time

import pytest

from appliance.contracts.vault import (
    AcceptInvitation,
    ChangePassword,
    CheckSession,
    Claim,
    CreateDeviceToken,
    Describe,
    FinishProvisioning,
    InviteStaff,
    ListAccounts,
    ListShares,
    LogIn,
    LogOut,
    MakeShare,
    RemoveStaff,
    RevokeDeviceToken,
)
from appliance.core.errors import Invalid, NotFound, Refused, Unavailable
from tests.vault.bench import DOCUMENT, PASSWORD, PATIENT, PROVISION

LONG = "another long password"


def claim(code, password=PASSWORD, name="Ada"):
    return Claim(code=code, name=name, password=password, practice_name="Praxis Nordstern", telephone="040 1234")


async def test_claim_takes_the_printed_code_once(bench):
    async with bench.open() as vault:
        made = await vault.ask(PROVISION)
        with pytest.raises(Unavailable, match="unprovisioned"):
            await vault.ask(claim(made.claim_code))
        await vault.ask(FinishProvisioning())
        with pytest.raises(Refused, match="claim_code"):
            await vault.ask(claim("00000-00000-00000-00000"))
        as_typed = made.claim_code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
        session = await vault.ask(claim(as_typed))
        assert session.idle_timeout_s == 900
        assert (await vault.ask(Describe())).claimed
        with pytest.raises(Refused, match="claimed"):
            await vault.ask(claim(made.claim_code))


async def test_an_old_claim_code_is_void(bench):
    async with bench.open() as vault:
        old = await vault.ask(PROVISION)
        await vault.ask(PROVISION)
        await vault.ask(FinishProvisioning())
        with pytest.raises(Refused, match="claim_code"):
            await vault.ask(claim(old.claim_code))


async def test_two_claims_at_once_make_one_member(bench):
    async with bench.open() as vault:
        made = await vault.ask(PROVISION)
        await vault.ask(FinishProvisioning())
        both = await asyncio.gather(
            vault.ask(claim(made.claim_code)), vault.ask(claim(made.claim_code, name="Eve")), return_exceptions=True
        )
        assert sum(isinstance(one, Refused) for one in both) == 1
        assert len(vault.vault.state.accounts.members) == 1


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("elevenchars", "password_short"),
        ("Praxis-Nordstern 1", "password_is_name"),
        ("Doctor Ada Lovelace 99", "password_is_name"),
    ],
)
async def test_weak_passwords_are_invalid(bench, password, code):
    async with bench.open() as vault:
        made = await vault.ask(PROVISION)
        await vault.ask(FinishProvisioning())
        with pytest.raises(Invalid, match=code):
            await vault.ask(claim(made.claim_code, password, name="Doctor Ada Lovelace"))
        assert not vault.vault.state.accounts.members


async def test_wrong_claim_codes_are_slowed_and_the_right_one_still_works(bench):
    async with bench.open() as vault:
        made = await vault.ask(PROVISION)
        await vault.ask(FinishProvisioning())
        for _ in range(5):
            with pytest.raises(Refused, match="claim_code"):
                await vault.ask(claim("WRONG"))
        with pytest.raises(Unavailable, match="slow_down"):
            await vault.ask(claim("WRONG"))
        await vault.ask(claim(made.claim_code))


async def test_login_says_the_same_in_the_same_time_for_unknown_names(bench):
    async with bench.open() as vault:
        await vault.claimed()
        took: dict[str, list[float]] = {"Ada": [], "Nobody": []}
        for name in ["Ada", "Nobody"] * 3:
            began = time.perf_counter()
            with pytest.raises(Refused, match="login") as refusal:
                await vault.ask(LogIn(name=name, password="wrong password"))
            took[name].append(time.perf_counter() - began)
            assert refusal.value.details == {}
        ratio = min(took["Ada"]) / min(took["Nobody"])  # the quickest of each: what else the machine does is left out
        assert 0.5 < ratio < 2  # both pay for Argon2id; a miss without it takes 1/100
        assert bench.audit.actions[-6:] == ["staff_login_refused"] * 6


async def test_login_is_slowed_down_never_locked_out(bench):
    async with bench.open() as vault:
        await vault.claimed()
        for name in ("ADA", "Nobody"):
            for _ in range(5):
                with pytest.raises(Refused, match="login"):
                    await vault.ask(LogIn(name=name, password="wrong password"))
            with pytest.raises(Unavailable, match="slow_down") as failure:
                await vault.ask(LogIn(name=name, password=PASSWORD))
            assert 0 < failure.value.details["wait_s"] <= 60
        bench.clock.at += 61
        await vault.ask(LogIn(name=" ada ", password=PASSWORD))


async def test_parallel_guesses_gain_nothing(bench):
    async with bench.open() as vault:
        await vault.claimed()
        guesses = (vault.ask(LogIn(name="Ada", password=f"guess number {n}")) for n in range(40))
        failures = await asyncio.gather(*guesses, return_exceptions=True)
        assert sum(isinstance(failure, Refused) for failure in failures) == 5


async def test_session_ends_by_idling_and_after_twelve_hours(bench):
    async with bench.open() as vault:
        token = await vault.claimed()
        bench.clock.at += 890
        session = await vault.ask(CheckSession(session=token, touch=False))
        assert session.idle_s_left <= 10
        assert session.csrf
        await vault.ask(CheckSession(session=token))
        bench.clock.at += 900
        with pytest.raises(Refused, match="session"):
            await vault.ask(CheckSession(session=token))
        token = (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session
        for _ in range(12 * 6 - 1):
            bench.clock.at += 600
            await vault.ask(CheckSession(session=token))
        bench.clock.at += 600
        with pytest.raises(Refused, match="session"):
            await vault.ask(CheckSession(session=token))


async def test_sessions_do_not_outlive_vault_or_log_out(bench):
    async with bench.open() as vault:
        token = await vault.claimed()
        other = (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session
        await vault.ask(LogOut(session=other))
        with pytest.raises(Refused, match="session"):
            await vault.ask(CheckSession(session=other))
    async with bench.open() as vault:
        with pytest.raises(Refused, match="session"):
            await vault.ask(CheckSession(session=token))


async def test_changed_password_ends_the_other_sessions(bench):
    async with bench.open() as vault:
        token = await vault.claimed()
        other = (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session
        with pytest.raises(Refused, match="login"):
            await vault.ask(ChangePassword(session=token, old_password="wrong", new_password=LONG))
        with pytest.raises(Invalid, match="password_short"):
            await vault.ask(ChangePassword(session=token, old_password=PASSWORD, new_password="short"))
        await vault.ask(ChangePassword(session=token, old_password=PASSWORD, new_password=LONG))
        await vault.ask(CheckSession(session=token))
        with pytest.raises(Refused, match="session"):
            await vault.ask(CheckSession(session=other))
        with pytest.raises(Refused, match="login"):
            await vault.ask(LogIn(name="Ada", password=PASSWORD))
    async with bench.open() as vault:
        await vault.ask(LogIn(name="Ada", password=LONG))


async def test_invitation_is_for_one_person_and_seven_days(bench):
    async with bench.open() as vault:
        token = await vault.claimed()
        invitation = await vault.ask(InviteStaff(session=token, name="Grace"))
        with pytest.raises(Invalid, match="name_taken"):
            await vault.ask(InviteStaff(session=token, name="  GRACE"))
        with pytest.raises(Refused, match="invitation"):
            await vault.ask(AcceptInvitation(code="0" * 20, password=LONG))
        joined = await vault.ask(AcceptInvitation(code=invitation.code, password=LONG))
        assert (await vault.ask(CheckSession(session=joined.session))).name == "Grace"
        with pytest.raises(Refused, match="invitation"):
            await vault.ask(AcceptInvitation(code=invitation.code, password=LONG))
        late = await vault.ask(InviteStaff(session=token, name="Late"))
        bench.clock.at += 7 * 86400
        with pytest.raises(Refused, match="invitation"):
            await vault.ask(AcceptInvitation(code=late.code, password=LONG))


async def test_removed_staff_are_out_at_once_and_the_last_one_stays(bench):
    async with bench.open() as vault:
        token = await vault.claimed()
        ada = (await vault.ask(CheckSession(session=token))).principal
        with pytest.raises(Invalid, match="last_member"):
            await vault.ask(RemoveStaff(session=token, principal=ada))
        invitation = await vault.ask(InviteStaff(session=token, name="Grace"))
        grace = (await vault.ask(AcceptInvitation(code=invitation.code, password=LONG))).session
        await vault.ask(RemoveStaff(session=grace, principal=ada))
        for call in (CheckSession(session=token), ListShares(session=token), ListAccounts(session=token)):
            with pytest.raises(Refused, match="session"):
                await vault.ask(call)
        with pytest.raises(NotFound, match="staff"):
            await vault.ask(RemoveStaff(session=grace, principal=ada))
        open_invitation = await vault.ask(InviteStaff(session=grace, name="Later"))
        listed = (await vault.ask(ListAccounts(session=grace))).staff
        assert [(one.name, one.invited) for one in listed] == [("Grace", False), ("Later", True)]
        await vault.ask(RemoveStaff(session=grace, principal=listed[1].principal))
        with pytest.raises(Refused, match="invitation"):
            await vault.ask(AcceptInvitation(code=open_invitation.code, password=LONG))


async def test_device_token_speaks_for_a_device_and_does_nothing_that_staff_do(bench):
    async with bench.open() as vault:
        token = await vault.claimed()
        device = await vault.ask(CreateDeviceToken(session=token, label="Praxissoftware"))
        session = await vault.ask(CheckSession(session=device.token))
        assert (session.kind, session.principal, session.name) == ("device", device.principal, "Praxissoftware")
        share = MakeShare(
            session=device.token, proof_verifier=bytes(32), patient=PATIENT, documents=[DOCUMENT], valid_s=60
        )
        for call in (share, ListShares(session=device.token), ListAccounts(session=device.token)):
            with pytest.raises(Refused, match="session"):
                await vault.ask(call)
        written = (bench.folder / "state").read_bytes()
        await vault.ask(CheckSession(session=device.token))
        assert (bench.folder / "state").read_bytes() == written
        used_at = (await vault.ask(ListAccounts(session=token))).devices[0].last_used_at
        await vault.vault.keep_house()
    async with bench.open() as vault:
        assert vault.vault.state.accounts.devices[device.principal].last_used_at == used_at > 0
        token = (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session
        await vault.ask(RevokeDeviceToken(session=token, principal=device.principal))
        with pytest.raises(Refused, match="session"):
            await vault.ask(CheckSession(session=device.token))
        with pytest.raises(NotFound, match="device"):
            await vault.ask(RevokeDeviceToken(session=token, principal=device.principal))


async def test_without_audit_staff_can_change_nothing(bench):
    def fail(_):
        raise Unavailable("storage")

    async with bench.open() as vault:
        token = await vault.claimed()
        bench.audit.before_answer = fail
        written = (bench.folder / "state").read_bytes()
        share = MakeShare(session=token, proof_verifier=bytes(32), patient=PATIENT, documents=[DOCUMENT], valid_s=60)
        for call in (
            share,
            InviteStaff(session=token, name="Grace"),
            CreateDeviceToken(session=token, label="x"),
            LogIn(name="Ada", password=PASSWORD),
            ChangePassword(session=token, old_password=PASSWORD, new_password=LONG),
        ):
            with pytest.raises(Unavailable, match="audit_away"):
                await vault.ask(call)
        assert (bench.folder / "state").read_bytes() == written
