"""Whoever has everything but the TPM cannot try PINs: nothing on the disk or in the link tells a right one from a wrong one."""

import hashlib
import hmac
from collections.abc import Callable, Iterator

from appliance.formats.share_link import SECRET_BYTES
from appliance.vault.hierarchy import pin_verifier
from appliance.vault.state import State
from tests.vault.bench import MadeShare

PIN_DIGITS = 6
Guess = Callable[[bytes], bytes]


def guesses(share: MadeShare, state: State) -> Iterator[Guess]:
    """What a thief can compute of a PIN: digests of it, alone and under every value of the link, the share and the disk."""
    identifier = bytes.fromhex(share.share)
    known = [b"", bytes(SECRET_BYTES), share.proof, hashlib.sha256(share.proof).digest(), share.r, identifier]
    known.append(state.shares[share.share].proof_verifier)
    for key in known:
        yield lambda pin, key=key: hmac.digest(key, identifier + pin, hashlib.sha256)  # type: ignore[misc]
        yield lambda pin, key=key: hmac.digest(key, pin, hashlib.sha256)  # type: ignore[misc]


def found(guess: Guess, places: set[bytes], digits: int = PIN_DIGITS) -> list[str]:
    """Try every PIN."""
    return [pin for number in range(10**digits) if guess((pin := f"{number:0{digits}}").encode()) in places]


async def test_a_million_pins_have_nothing_to_be_checked_against_without_the_tpm(bench):
    """Even to somebody who could read vault's state in the clear, which the TPM's keys wrap."""
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session, pin_digits=PIN_DIGITS)
        state, plaintext = vault.state_on_disk()
        files = b"".join(path.read_bytes() for path in sorted(bench.folder.rglob("*")) if path.is_file())
        keys = vault.vault.keys.keys

    verifier, identifier = state.shares[share.share].pin_verifier, bytes.fromhex(share.share)
    assert verifier in plaintext
    assert verifier not in files
    assert share.pin.encode() not in files
    for secret in (share.r, keys.pin_verifiers, keys.state, keys.newest.share_state):
        assert secret not in files
    assert keys.pin_verifiers not in plaintext

    for guess in guesses(share, state):
        assert guess(share.pin.encode()) != verifier
    for key in (share.proof, share.r):
        assert found(lambda pin, key=key: hmac.digest(key, identifier + pin, hashlib.sha256), {verifier}) == []
    with_the_tpm = found(lambda pin: pin_verifier(keys, share.share, pin.decode()), {verifier})
    assert with_the_tpm == [share.pin], "the control: with the key that the TPM holds, one PIN fits"
