"""A19: whoever holds everything but the TPM has nothing to check a PIN against, at no price of computing.

The attacker holds vault's whole disk and the link with all that follows from it, and, to be harder on us than a thief
can be, every key that follows from the root key: all but the erasure key, whose only copy is in the TPM. For all 10^6
PINs of six digits every digest that a verifier could be is looked for in every byte at hand. With the erasure key the
same search finds the PIN at once, so it would have found one. The box's own PIN likewise, for whoever has the files and
a paired computer too: what the PIN authorises is compared in the TPM, and there alone.
"""

import hashlib
import hmac
import struct

import pytest_asyncio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.contracts.vault import AcceptUnlocking, ChooseUnlocking, ConfirmPin
from appliance.vault import unlock
from tests.simulators.audit_log import audit_simulator
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import PASSWORD, Bench

PINS = 10**6
DIGEST_BYTES = 32
HEADER_BYTES, NONCE_BYTES, TAG_BYTES = 24, 12, 16


@pytest_asyncio.fixture
async def stolen(tmp_path):
    """Give a vault whose share waits for its PIN, the share, and every file on the disk."""
    with software_tpm(tmp_path / "tpm") as tcti:
        async with audit_simulator(tmp_path) as audit, new_bench(tmp_path, tcti, audit).open() as vault:
            session = await vault.claimed()
            share = await vault.make_share(session)
            await vault.ask(ConfirmPin(session=session, share=share.share))
            yield vault, share, [file.read_bytes() for file in sorted((tmp_path / "vault").iterdir())]


def new_bench(folder, tcti, audit):
    (folder / "vault").mkdir()
    return Bench(folder / "vault", tcti, audit, booted(folder / "boot", tcti))


def outer_plaintexts(state, key):
    """Open the records of the state file with the root key's part, as docs/formats/vault-state.md says."""
    place, tag, opened = 0, bytes(TAG_BYTES), []
    while place < len(state):
        (length,) = struct.unpack_from(">I", state, place)
        sealed = state[place + HEADER_BYTES : place + HEADER_BYTES + length]
        associated_data = b"praxissafe vault state 4\0" + state[place + 4 : place + 20] + tag
        opened.append(AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated_data))
        place, tag = place + HEADER_BYTES + length, sealed[-TAG_BYTES:]
    return opened


def pins_that_fit(haystacks, verifiers):
    """Give every PIN of which a digest that one of the verifiers makes is somewhere in the bytes."""
    windows = {hay[at : at + DIGEST_BYTES] for hay in haystacks for at in range(len(hay) - DIGEST_BYTES + 1)}
    pins = [b"%06d" % number for number in range(PINS)]
    return [pin.decode() for make in verifiers for pin in pins if make(pin) in windows]


def keyed(key, share):
    """Give the verifier that vault makes, under this key."""
    named = bytes.fromhex(share)
    return lambda pin: hmac.digest(key, named + pin, "sha256")


def unkeyed(share):
    """Give what a careless vault would keep."""
    named = bytes.fromhex(share)
    return lambda pin: hashlib.sha256(named + pin).digest()


async def test_with_everything_but_the_tpm_a_million_pins_have_nothing_to_check_against(stolen):
    vault, share, disk = stolen
    keys = vault.vault.keys.keys
    outer = outer_plaintexts((vault.bench.folder / "state").read_bytes(), keys.state)
    by_vault = keyed(keys.pin_verifiers, share.share)
    assert pins_that_fit(disk + outer, [by_vault, keyed(share.proof, share.share), unkeyed(share.share)]) == []
    _, with_the_tpm = vault.state_on_disk()
    assert pins_that_fit([with_the_tpm], [by_vault]) == [share.pin]


def authorisation(salt):
    """Give what authorises the object under the box's PIN, as docs/formats/key-hierarchy.md says (RFC 5869)."""

    def make(pin):
        drawn = hmac.digest(bytes(DIGEST_BYTES), salt + pin, "sha256")
        return hmac.digest(drawn, b"praxissafe key 1 unlock pin\x01", "sha256")

    return make


async def test_with_everything_but_the_tpm_the_box_s_own_pin_has_nothing_to_check_against(tmp_path):
    pin = "271828"
    with software_tpm(tmp_path / "tpm") as tcti:
        async with audit_simulator(tmp_path) as audit, new_bench(tmp_path, tcti, audit).open() as vault:
            session = await vault.claimed()
            call = ChooseUnlocking(session=session, password=PASSWORD, way="pin", label="Desk", pin=pin)
            spare = (await vault.ask(call)).spare
            computer = (await vault.ask(AcceptUnlocking(session=session, code=spare))).secret
            how = vault.vault.unlocking()
    disk = [file.read_bytes() for file in sorted((tmp_path / "vault").iterdir())]
    shared = unlock.open_shared(how, computer)
    made = unlock.open_object(shared, how)
    held = [*disk, shared, made.blob.public, made.blob.private, made.salt]
    by_vault = authorisation(made.salt)
    assert by_vault(pin.encode()) == unlock.pin_authorisation(made.salt, pin)
    salted = [lambda digits: hashlib.sha256(made.salt + digits).digest()]
    assert pins_that_fit(held, [by_vault, *salted]) == []
    assert pins_that_fit([*held, by_vault(pin.encode())], [by_vault]) == [pin]
