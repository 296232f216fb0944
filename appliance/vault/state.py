"""What vault remembers, and its bytes in the state file. Pure; store.py reads and writes the file.

Byte offsets: docs/formats/vault-state.md. Sealed under a key from the root key; the shares inside once more under a
key from the erasure key. Anything that is not exactly what `encode_state` wrote is Tampered("state").
"""

from __future__ import annotations

import struct

import msgspec

from appliance.core.errors import Tampered
from appliance.vault.hierarchy import NONCE_BYTES, Keys, seal, unseal
from appliance.vault.shares import Share
from appliance.vault.staff import Accounts

MAGIC = b"praxissafe vault state 2\0"
SHARES_CONTEXT = b"praxissafe vault shares 1\0"
#: Magic, sequence number, count.
HEADER = struct.Struct(f">{len(MAGIC)}sQQ")
MAX_STATE_BYTES = 64 * 1024 * 1024


class BoxFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this box is; the contract's Box without what is computed."""

    box: str
    serial: str
    page_host: str
    page_port: int
    lan_host: str
    lan_port: int
    portal_address: str
    portal_name: str
    portal_ca: str
    provisioned: bool = False
    practice_name: str = ""
    telephone: str = ""
    #: Gone once the box is claimed.
    claim_verifier: bytes | None = None


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it. `seen_at` is the latest time that vault has seen."""

    box: BoxFacts
    seen_at: int = 0
    accounts: Accounts = Accounts()
    shares: dict[str, Share] = {}


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plaintext of the file: the state without shares, and the sealed shares."""

    rest: State
    shares: bytes


class Position(msgspec.Struct, frozen=True):
    """Where a state stands: its number among all that were written, and the TPM's count it is valid at."""

    sequence: int
    count: int


def encode_state(state: State, position: Position, keys: Keys, random: bytes) -> bytes:
    """Give the file's bytes; `random` is 24 fresh random bytes, for this call only."""
    header = HEADER.pack(MAGIC, position.sequence, position.count)
    shares = msgspec.msgpack.encode(state.shares)
    sealed_shares = seal(keys.share_state, shares, SHARES_CONTEXT + header, random[:NONCE_BYTES])
    stored = msgspec.msgpack.encode(_Stored(msgspec.structs.replace(state, shares={}), sealed_shares))
    return header + seal(keys.state, stored, header, random[NONCE_BYTES : 2 * NONCE_BYTES])


def decode_state(data: bytes, keys: Keys) -> tuple[State, Position]:
    """Give the state and its position; Tampered("state") if one bit differs or it is another box's."""
    header = data[: HEADER.size]
    try:
        magic, *position = HEADER.unpack(header)
    except struct.error as error:
        raise Tampered("state") from error
    if magic != MAGIC:
        raise Tampered("state")
    plaintext = unseal(keys.state, data[HEADER.size :], header, "state")
    try:
        stored = msgspec.msgpack.decode(plaintext, type=_Stored)
        shares = unseal(keys.share_state, stored.shares, SHARES_CONTEXT + header, "share_state")
        state = msgspec.structs.replace(stored.rest, shares=msgspec.msgpack.decode(shares, type=dict[str, Share]))
    except msgspec.MsgspecError as error:
        raise Tampered("state") from error
    return state, Position(*position)
