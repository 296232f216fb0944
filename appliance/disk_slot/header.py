"""What stands in a LUKS2 header, and what of it is ours. Pure.

Ours is what a token of type "praxissafe-kit" names (LUKS2 On-Disk Format, "Tokens"). Before a slot is made, a token
says under which number; so after a power cut the half-made one is known. Every other slot and token is somebody
else's: never changed.

A token is *planned* (its slot may be there or not), or *sealed*: its slot is there, and its passphrase was sealed,
written and tried.
"""

from __future__ import annotations

import msgspec

from appliance.core.errors import Invalid, Unavailable

TOKEN_TYPE = "praxissafe-kit"  # noqa: S105 (a type, no secret)
#: LUKS2_KEYSLOTS_MAX, LUKS2_TOKENS_MAX.
MOST = 32
#: How our slots are made (luks.py). A person's passphrase is never stretched so little.
QUICK_KDF, QUICK_ITERATIONS = "pbkdf2", 1000


class KitToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token of ours: of which kit, under which number its slot is, what was sealed to which key (SHA-256, hex)."""

    type: str = TOKEN_TYPE
    keyslots: list[str] = []
    kit: str
    slot: int
    public_key: str = ""
    sealed: str = ""


class Kdf(msgspec.Struct, frozen=True):
    """How a slot stretches its passphrase."""

    type: str
    iterations: int = 0


class Keyslot(msgspec.Struct, frozen=True):
    """A slot."""

    kdf: Kdf


class Token(msgspec.Struct, frozen=True):
    """What every token says."""

    type: str
    keyslots: list[str]


class Metadata(msgspec.Struct, frozen=True):
    """The parts of the header's metadata that matter here."""

    keyslots: dict[str, Keyslot]
    tokens: dict[str, msgspec.Raw]


class Header:
    """Slots and tokens of one moment."""

    def __init__(self, metadata: bytes) -> None:
        """Read what `cryptsetup luksDump --dump-json-metadata` says; Invalid("luks_header")."""
        self.ours: dict[int, KitToken] = {}
        self._others: list[Token] = []
        try:
            read = msgspec.json.decode(metadata, type=Metadata)
            for number, raw in read.tokens.items():
                token = msgspec.json.decode(raw, type=Token)
                if str(int(number)) != number:
                    raise Invalid("luks_header")  # " 1" and "1" would be two tokens of one number
                if token.type == TOKEN_TYPE:
                    self.ours[int(number)] = msgspec.json.decode(raw, type=KitToken)
                else:
                    self._others.append(token)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Invalid("luks_header") from error
        self._slots = read.keyslots
        self._tokens = frozenset(read.tokens)

    def has_slot(self, slot: int) -> bool:
        """Say whether a slot is in use."""
        return str(slot) in self._slots

    def may_kill(self, token: KitToken) -> bool:
        """Say whether a token of ours still speaks for the slot that it names."""
        slot = self._slots.get(str(token.slot))
        if slot is None or any(str(token.slot) in other.keyslots for other in self._others):
            return False
        if token.sealed:
            return token.keyslots == [str(token.slot)]
        return slot.kdf == Kdf(QUICK_KDF, QUICK_ITERATIONS)

    def free_numbers(self) -> tuple[int, int]:
        """Give a slot and a token that are free; Unavailable("no_free_slot")."""
        planned = {token.slot for token in self.ours.values()}
        slots = [slot for slot in range(MOST) if not self.has_slot(slot) and slot not in planned]
        tokens = [token for token in range(MOST) if str(token) not in self._tokens]
        if not slots or not tokens:
            raise Unavailable("no_free_slot")
        return slots[0], tokens[0]
