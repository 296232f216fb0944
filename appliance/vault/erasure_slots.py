"""The two slots in the TPM that hold the erasure key: their bytes, and which of them count. Pure.

A slot is all zeros, or holds a generation, its key, and a check that tells a write which did not finish. Generations
alternate between the slots: the next key is written while the present one stays, which is overwritten only when
nothing is wrapped under it any more. Layout: docs/formats/key-hierarchy.md, "The erasure key turns".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.core.errors import Tampered

FIRST_GENERATION = 1
KEY_BYTES = 32
CHECK_BYTES = 8
_GENERATION = struct.Struct(">Q")
SLOT_BYTES = _GENERATION.size + KEY_BYTES + CHECK_BYTES
EMPTY = bytes(SLOT_BYTES)


@dataclass(frozen=True)
class ErasureKey:
    """The erasure key of one generation."""

    generation: int
    key: bytes = field(repr=False)


def slot_of(generation: int) -> int:
    """Give the number of the slot that holds this generation: 0 or 1."""
    return generation % 2


def encode_slot(key: ErasureKey) -> bytes:
    """Give a slot's bytes."""
    body = _GENERATION.pack(key.generation) + key.key
    return body + _check(body)


def decode_slots(slots: Sequence[bytes]) -> list[ErasureKey]:
    """Give the keys that are there, oldest first: one, or two while the key turns.

    What a write that did not finish left counts as empty. Tampered("erasure_key") if there is no key, or if two do
    not follow each other.
    """
    found = [key for number, slot in enumerate(slots) if (key := _decode(slot, number)) is not None]
    found.sort(key=lambda key: key.generation)
    if not found or found[-1].generation - found[0].generation != len(found) - 1:
        raise Tampered("erasure_key")
    return found


def unfinished(slots: Sequence[bytes]) -> list[int]:
    """Give the numbers of the slots that hold neither a key nor zeros only: to be emptied at a start."""
    return [number for number, slot in enumerate(slots) if slot != EMPTY and _decode(slot, number) is None]


def _decode(slot: bytes, number: int) -> ErasureKey | None:
    body, check = slot[:-CHECK_BYTES], slot[-CHECK_BYTES:]
    if len(slot) != SLOT_BYTES or check != _check(body):
        return None
    (generation,) = _GENERATION.unpack_from(body)
    return ErasureKey(generation, body[_GENERATION.size :]) if slot_of(generation) == number else None


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:CHECK_BYTES]
