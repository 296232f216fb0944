"""What vault remembers of recovery kits, and the rules about them. Pure; the key is in formats/kit_key.py.

Kept of a kit: the public half, what authenticates bundles, the password of the backup's repository (it opens sealed
generations only), verifiers of the words that are asked back, and which generations were sealed to it. Never kept:
the seed and the words. A new kit replaces the one before, which still opens what was sealed to it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence

import msgspec
from msgspec.structs import replace

from appliance.core.errors import Refused
from appliance.formats.kit_sheets import SHEETS

#: A sheet that was not checked for so long is due: a quarter.
CHECK_EVERY_S = 92 * 86400
MAX_OLD_KITS = 20
ERASED_LIST_CONTEXT = b"praxissafe erased list 1\0"


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A backup generation whose keys were sealed."""

    generation: int
    sealed_at: int


class Kit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kit. `name` are the first two words of each sheet; `verifiers` and `checked_at` go by sheet."""

    kit: str
    name: str
    made_at: int
    public_key: bytes
    authentication_key: bytes
    repository_password: str
    verifiers: list[bytes]
    checked_at: list[int]
    replaced_at: int = 0
    generations: list[Generation] = []


class Kits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The kit in use, if there is one; the one before it, and older ones that still open something, newest first."""

    current: Kit | None = None
    old: list[Kit] = []


def words_verifier(key: bytes, kit: str, sheet: int, words: Sequence[str]) -> bytes:
    """Give what is kept of the words that are asked back: of all three at once, so that none can be tried alone."""
    said = b"\0".join((bytes([sheet]), *(word.encode() for word in words)))
    return hmac.digest(key, bytes.fromhex(kit) + said, hashlib.sha256)


def check_words(key: bytes, kits: Kits, sheet: int, words: Sequence[str]) -> None:
    """Raise unless these are the checked words of a sheet of the kit in use.

    Refused: "kit_words", "kit_other_sheet" (number: the sheet they are of), "kit_replaced" (of a kit before).
    """
    current = current_kit(kits)
    if _matches(key, current, sheet, words):
        return
    for number in range(1, SHEETS + 1):
        if _matches(key, current, number, words):
            raise Refused("kit_other_sheet", sheet=sheet, number=number)
    if any(_matches(key, kit, number, words) for kit in kits.old for number in range(1, SHEETS + 1)):
        raise Refused("kit_replaced")
    raise Refused("kit_words", sheet=sheet)


def current_kit(kits: Kits) -> Kit:
    """Give the kit in use; Refused("no_kit")."""
    if kits.current is None:
        raise Refused("no_kit")
    return kits.current


def accept(kits: Kits, kit: Kit, now: int) -> Kits:
    """Take a new kit into use; the one before is kept, so that its sheets can be told from wrong words."""
    before = [] if kits.current is None else [replace(kits.current, replaced_at=now)]
    return Kits(current=kit, old=_worth_keeping([*before, *kits.old]))


def note_check(kits: Kits, sheet: int, now: int) -> Kits:
    """Note that a sheet was looked at and its words were right."""
    kit = current_kit(kits)
    checked_at = [now if number == sheet else at for number, at in enumerate(kit.checked_at, start=1)]
    return replace(kits, current=replace(kit, checked_at=checked_at))


def note_generation(kits: Kits, generation: int, now: int) -> Kits:
    """Note a sealed generation; Refused("generation_used") unless it is later than each before."""
    kit = current_kit(kits)
    if any(generation <= one.generation for each in (kit, *kits.old) for one in each.generations):
        raise Refused("generation_used")
    noted = replace(kit, generations=[*kit.generations, Generation(generation, now)])
    return replace(kits, current=noted)


def keep_generations(kits: Kits, existing: Collection[int]) -> Kits:
    """Forget the generations that no longer exist anywhere, and old kits that open none."""
    current = _with_existing(kits.current, existing) if kits.current else None
    old = [_with_existing(one, existing) for one in kits.old]
    kept = Kits(current=current, old=_worth_keeping(old))
    return kits if kept == kits else kept


def prove_erased_list(authentication_key: bytes, box: str, digest: bytes) -> bytes:
    """Give the proof that a box of this kit wrote a list of what was erased; a store cannot make one."""
    return hmac.digest(authentication_key, ERASED_LIST_CONTEXT + bytes.fromhex(box) + digest, hashlib.sha256)


def is_due(kit: Kit, now: int) -> bool:
    """Say whether a sheet of the kit must be looked at again."""
    return any(now - at >= CHECK_EVERY_S for at in kit.checked_at)


def without_what_is_harmless(kits: Kits) -> Kits:
    """Leave out what nobody gains by undoing: which generations there are, when sheets were checked."""
    bare = [replace(one, generations=[], checked_at=[]) for one in (kits.current, *kits.old) if one]
    return Kits(current=bare[0] if kits.current else None, old=bare[1:] if kits.current else bare)


def _worth_keeping(old: list[Kit]) -> list[Kit]:
    return [*old[:1], *(one for one in old[1:] if one.generations)][:MAX_OLD_KITS]


def _with_existing(kit: Kit, existing: Collection[int]) -> Kit:
    return replace(kit, generations=[one for one in kit.generations if one.generation in existing])


def _matches(key: bytes, kit: Kit, sheet: int, words: Sequence[str]) -> bool:
    return hmac.compare_digest(kit.verifiers[sheet - 1], words_verifier(key, kit.kit, sheet, words))
