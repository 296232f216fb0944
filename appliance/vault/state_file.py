"""The bytes of the state file: one record with the whole state, then one for each change since. Pure.

Byte offsets: docs/formats/vault-state.md. Each record is sealed under a key from the root key, the shares inside
once more under a key from the newest erasure key, whose generation it names; and it is bound to the record before
it. What follows the last whole record was a write that did not finish, and is left out; that nobody cut whole
records off is for the count to say (store.py).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from appliance.core.errors import Tampered
from appliance.vault.hierarchy import NONCE_BYTES, Keys, seal, unseal
from appliance.vault.shares import Share
from appliance.vault.state import State

CONTEXT = b"praxissafe vault state 4\0"
SHARES_CONTEXT = b"praxissafe vault shares 4\0"
TAG_BYTES = 16
#: Length of what follows, sequence number, count; then the CRC-32 of these, which tells a header that was half
#: written from a damaged record.
HEADER = struct.Struct(">IQQ")
CHECK = struct.Struct(">I")
START_BYTES = HEADER.size + CHECK.size
MAX_STATE_BYTES = 64 * 1024 * 1024
#: How much fresh randomness one record takes.
RANDOM_BYTES = 2 * NONCE_BYTES


class Position(msgspec.Struct, frozen=True):
    """Where a record stands: its number among all that were written, the TPM's count it is valid at, its tag."""

    sequence: int
    count: int
    tag: bytes = bytes(TAG_BYTES)


class _ShareChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a record says about shares: those that are new or differ, and those that are gone."""

    put: dict[str, Share]
    gone: list[str]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plaintext of a record. `rest` is the state without its shares, None if only the time differs.

    `generation` is the erasure key's that `shares` are sealed under.
    """

    seen_at: int
    rest: State | None
    generation: int
    shares: bytes


def encode_whole(state: State, position: Position, keys: Keys, random: bytes) -> tuple[bytes, Position]:
    """Give a file's first record, and its position; `random` is RANDOM_BYTES fresh bytes, for this call only."""
    first = replace(position, tag=bytes(TAG_BYTES))
    return _encode(state.seen_at, replace(state, shares={}), state.shares, [], first, keys, random)


def encode_change(old: State, new: State, position: Position, keys: Keys, random: bytes) -> tuple[bytes, Position]:
    """Give the record to append; `position` has the numbers of this record and the tag of the one before."""
    put = {name: share for name, share in new.shares.items() if old.shares.get(name) is not share}
    gone = [name for name in old.shares if name not in new.shares]
    rest = replace(new, shares={}, seen_at=0)
    same = rest == replace(old, shares={}, seen_at=0)
    return _encode(new.seen_at, None if same else rest, put, gone, position, keys, random)


def decode_file(data: bytes, keys: Keys) -> tuple[State, Position]:
    """Give the state and the position of the last whole record.

    Tampered("state") if not even the first is whole, Tampered("state_rolled_back") if its erasure key is no more.
    """
    rest: State | None = None
    shares: dict[str, Share] = {}
    seen_at, position, place = 0, Position(0, 0), 0
    while (found := _record_at(data, place, position, keys)) is not None:
        record, position, place = found
        change = _share_change(record, position, keys)
        for name in change.gone:
            shares.pop(name, None)
        shares.update(change.put)
        rest, seen_at = record.rest or rest, record.seen_at
        if rest is None:
            raise Tampered("state")
    if rest is None:
        raise Tampered("state")
    return replace(rest, seen_at=seen_at, shares=shares), position


def _encode(
    seen_at: int,
    rest: State | None,
    put: Mapping[str, Share],
    gone: list[str],
    position: Position,
    keys: Keys,
    random: bytes,
) -> tuple[bytes, Position]:
    numbers = _numbers(position)
    shares = msgspec.msgpack.encode(_ShareChange(dict(put), gone))
    sealed_shares = seal(keys.newest.share_state, shares, SHARES_CONTEXT + numbers, random[:NONCE_BYTES])
    plaintext = msgspec.msgpack.encode(_Record(seen_at, rest, keys.newest.generation, sealed_shares))
    sealed = seal(keys.state, plaintext, CONTEXT + numbers + position.tag, random[NONCE_BYTES:RANDOM_BYTES])
    header = HEADER.pack(len(sealed), position.sequence, position.count)
    return header + CHECK.pack(zlib.crc32(header)) + sealed, replace(position, tag=sealed[-TAG_BYTES:])


def _record_at(data: bytes, place: int, before: Position, keys: Keys) -> tuple[_Record, Position, int] | None:
    """Give the record that begins here; None for the end, or for the remains of a write that did not finish.

    Those reach to the file's end. A damaged record with others behind it is Tampered("state").
    """
    start = place + START_BYTES
    header = data[place : place + HEADER.size]
    if start > len(data) or CHECK.pack(zlib.crc32(header)) != data[place + HEADER.size : start]:
        return None
    length, sequence, count = HEADER.unpack(header)
    end = start + length
    if end > len(data):
        return None
    numbers = header[4:]
    try:
        plaintext = unseal(keys.state, data[start:end], CONTEXT + numbers + before.tag, "state")
        record = msgspec.msgpack.decode(plaintext, type=_Record)
    except (Tampered, msgspec.MsgspecError) as error:
        if end < len(data):
            raise Tampered("state") from error
        return None
    return record, Position(sequence, count, data[end - TAG_BYTES : end]), end


def _share_change(record: _Record, position: Position, keys: Keys) -> _ShareChange:
    erasure_key = keys.of_generation(record.generation)
    if erasure_key is None:  # it was destroyed when it turned: this is an older file
        raise Tampered("state_rolled_back")
    plaintext = unseal(erasure_key.share_state, record.shares, SHARES_CONTEXT + _numbers(position), "share_state")
    try:
        return msgspec.msgpack.decode(plaintext, type=_ShareChange)
    except msgspec.MsgspecError as error:
        raise Tampered("state") from error


def _numbers(position: Position) -> bytes:
    """Give a record's numbers as the associated data has them: its header without the length."""
    return HEADER.pack(0, position.sequence, position.count)[4:]
