"""Between processor and TPM lies a bus that can be listened to: no key, no authorisation value, no PIN goes by in clear."""

import contextlib

import pytest
import tpm2_pytss as tss

from appliance.contracts.vault import (
    AcceptUnlocking,
    BeginTurn,
    ChooseUnlocking,
    FinishTurn,
    LogIn,
    OpenDatabase,
    OpenShare,
    ProveDevice,
    RaiseFloor,
    SealForSecureBoot,
    UnlockByComputer,
    UnwrapDocumentKey,
    WrapDocumentKey,
)
from appliance.core.errors import Refused
from appliance.vault import hierarchy, keys, tpm_connection, tpm_unlock
from appliance.vault import vault as vault_module
from appliance.vault.unlock import open_object, pin_authorisation
from tests.simulators.bus_tap import START_AUTH_SESSION, tapped
from tests.vault.bench import DOCUMENT, PASSWORD

UNLOCK_PIN = "314159"


@pytest.fixture
def drawn(monkeypatch):
    """What vault draws at random while it makes keys: the erasure key, the halves, the change part."""
    values, draw = [], keys.secrets.token_bytes

    class Drawing:
        @staticmethod
        def token_bytes(count):
            values.append(draw(count))
            return values[-1]

    for module in (keys, tpm_unlock, vault_module):
        monkeypatch.setattr(module, "secrets", Drawing)
    return values


async def log_in(vault):
    return (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session


async def a_day(bench, drawn, folder):
    """Make keys, share and open, start again, seal, count, sign; give what the probe saw, and the secrets by name."""
    with tapped(bench.tcti, folder) as (tcti, tap):
        async with bench.open(tcti=tcti) as vault:
            share = await vault.make_share(await vault.claimed())
            await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
            await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        async with bench.open(tcti=tcti) as vault:
            assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r
            wrapped = await vault.ask(WrapDocumentKey(document=DOCUMENT, key=b"d" * 32))
            await vault.ask(
                UnwrapDocumentKey(document=DOCUMENT, wrapped=wrapped.wrapped, generation=wrapped.generation)
            )
            await vault.ask(BeginTurn(generation=wrapped.generation + 1))
            await vault.ask(FinishTurn(generation=wrapped.generation + 1))
            await vault.ask(ProveDevice(nonce=bytes(32), portal_certificate_sha256=bytes(32)))
            await vault.ask(SealForSecureBoot(coming=[b"f" * 32]))
            await vault.ask(RaiseFloor())
            database = (await vault.ask(OpenDatabase())).key
            opened = vault.vault.keys.keys
            session = await log_in(vault)
            choosing = ChooseUnlocking(session=session, password=PASSWORD, way="pin", label="Desk", pin=UNLOCK_PIN)
            spare = (await vault.ask(choosing)).spare
            computer = (await vault.ask(AcceptUnlocking(session=session, code=spare))).secret
        async with bench.start(tcti=tcti) as vault:
            with pytest.raises(Refused, match="unlock_pin"):
                await vault.ask(UnlockByComputer(secret=computer, pin=UNLOCK_PIN[::-1]))
            await vault.ask(UnlockByComputer(secret=computer, pin=UNLOCK_PIN))
            unlocked, how = vault.vault.keys.unlocked, vault.vault.unlocking()
    erasure_key, *parts, next_erasure_key = drawn[:5]
    root_key = hierarchy.combine(*parts)
    secrets = {
        "half one": parts[0],
        "half two": parts[1],
        "change part": parts[2],
        "root key": root_key,
        "erasure key": erasure_key,
        "next erasure key": next_erasure_key,
        "database key": database,
        "document key": b"d" * 32,
        "unlock part": unlocked.part,
        "unlock PIN": UNLOCK_PIN.encode(),
        "unlock authorisation": pin_authorisation(open_object(unlocked.shared, how).salt, UNLOCK_PIN),
        "r": share.r,
        "PIN": share.pin.encode(),
        "proof": share.proof,
        "device authorisation": hierarchy.device_authorisation(root_key),
        "erasure authorisation": hierarchy.erasure_authorisation(root_key),
        **{name: value for name, value in vars(opened).items() if isinstance(value, bytes)},
    }
    return tap, secrets


async def test_a_probe_on_the_bus_sees_no_secret(bench, drawn, tmp_path):
    tap, secrets = await a_day(bench, drawn, tmp_path)
    assert len(tap.commands) > 10_000
    assert [name for name, secret in secrets.items() if tap.holds(secret)] == []


async def test_every_session_is_salted_to_the_storage_root(bench, drawn, tmp_path):
    """Without a salt, who listened to the nonces has the session's key (TPM 2.0 part 1, section 19.6)."""
    tap, _ = await a_day(bench, drawn, tmp_path)
    sessions = [body for code, body in tap.each_command() if code == START_AUTH_SESSION]
    assert len(sessions) > 20
    for body in sessions:
        nonce_size = int.from_bytes(body[8:10], "big")
        salt_size = int.from_bytes(body[10 + nonce_size : 12 + nonce_size], "big")
        assert int.from_bytes(body[:4], "big") == tpm_connection.STORAGE_ROOT
        assert salt_size > 0


async def test_without_encrypting_sessions_the_probe_would_see_them(bench, drawn, tmp_path, monkeypatch):
    """The control: the same search finds halves, erasure key and authorisation values in what it then hears."""
    encrypting = tpm_connection.Connection.session

    @contextlib.contextmanager
    def in_the_clear(self, kind=tss.TPM2_SE.HMAC, **_):
        with encrypting(self, kind, encrypting=False) as session:
            yield session

    monkeypatch.setattr(tpm_connection.Connection, "session", in_the_clear)
    tap, secrets = await a_day(bench, drawn, tmp_path)
    seen = {name for name, secret in secrets.items() if tap.holds(secret)}
    heard = {"half one", "half two", "erasure key", "next erasure key", "device authorisation", "owner_authorisation"}
    assert heard <= seen
    assert {"change part", "unlock part", "lockout_authorisation"} <= seen
