"""What vault remembers of the page's keys, and the accounts that follow from the root key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.contracts.page_key import (
    MAX_PAGE_KEYS,
    PAGE_KEY,
    ListPageKeys,
    ReadAcmeAccount,
    RegisterPageKey,
    SignAcmeRead,
)
from appliance.core.errors import Invalid, Unavailable
from appliance.core.varlink import Call, Caller
from appliance.formats.page_request import public_bytes
from appliance.vault.page_key_answers import PageKeyAnswers
from tests.vault.bench import PROVISION, Bench, Running

URL = "https://authority.example/dir"


def new_key() -> bytes:
    return public_bytes(ec.generate_private_key(ec.SECP256R1()).public_key())


async def ask(running: Running, call: Call) -> object:
    return await PageKeyAnswers(running.vault).table()[type(call)](call, Caller(min(type(call).callers)))


async def keys_of(running: Running) -> list[bytes]:
    return [key.public_key for key in (await ask(running, ListPageKeys())).keys]


async def test_the_page_s_keys_are_kept_over_a_start_the_present_one_first(bench: Bench) -> None:
    first, second = new_key(), new_key()
    async with bench.open() as running:
        await running.ask(PROVISION)
        for key in (first, second, first):
            await ask(running, RegisterPageKey(public_key=key))
        assert await keys_of(running) == [second, first]
        thumbprint = (await ask(running, ReadAcmeAccount(url=URL))).thumbprint
    async with bench.open() as running:
        assert await keys_of(running) == [second, first]
        assert (await ask(running, ReadAcmeAccount(url=URL))).thumbprint == thumbprint
        assert (await ask(running, ReadAcmeAccount(url="https://other.example/"))).thumbprint != thumbprint


async def test_no_more_than_the_last_ones_are_kept(bench: Bench) -> None:
    async with bench.open() as running:
        await running.ask(PROVISION)
        made = [new_key() for _ in range(MAX_PAGE_KEYS + 2)]
        for key in made:
            await ask(running, RegisterPageKey(public_key=key))
        assert await keys_of(running) == made[: -MAX_PAGE_KEYS - 1 : -1]


async def test_a_state_of_before_a_new_key_is_not_taken_back(bench: Bench) -> None:
    """With it, a key that was stolen and replaced would be the page's again."""
    async with bench.open() as running:
        await running.ask(PROVISION)
        await ask(running, RegisterPageKey(public_key=new_key()))
        old = (bench.folder / "state").read_bytes()
        for _ in range(2):
            await ask(running, RegisterPageKey(public_key=new_key()))
    (bench.folder / "state").write_bytes(old)
    async with bench.start() as running:
        assert running.vault.shut_because == "state_rolled_back"


@pytest.mark.parametrize("kind", ["another curve", "another algorithm", "compressed", "trailing byte", "zeros"])
async def test_only_a_point_on_p_256_is_a_page_key(bench: Bench, kind: str) -> None:
    key = new_key()
    p256 = ec.generate_private_key(ec.SECP256R1()).public_key()
    encoded = {
        "another curve": public_bytes(ec.generate_private_key(ec.SECP384R1()).public_key()),
        "another algorithm": ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "compressed": bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
        + p256.public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
        "trailing byte": key + b"\0",
        "zeros": bytes(len(key)),
    }[kind]
    async with bench.open() as running:
        await running.ask(PROVISION)
        with pytest.raises(Invalid):
            await ask(running, RegisterPageKey(public_key=encoded))
        assert await keys_of(running) == []


async def test_before_there_are_keys_nothing_is_signed(bench: Bench) -> None:
    async with bench.open() as running:
        with pytest.raises(Unavailable):
            await ask(running, SignAcmeRead(url=URL, nonce="n", account=URL))


def test_who_may_ask_for_a_signature_is_certificate_alone() -> None:
    signing = [verb for name, verb in PAGE_KEY.verbs.items() if name.startswith("Sign")]
    assert len(signing) == 6
    assert all(verb.callers == {"certificate"} for verb in signing)
