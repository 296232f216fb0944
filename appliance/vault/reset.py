"""Factory reset: who may, and the marks by which a reset goes on after a power cut.

Who may: the code that was printed on the handover sheet, or any two sheets of the kit in use. A locked or shut box
has no state to look into, so both are also kept in a file of their own, which opens nothing: the SHA-256 of 100
random bits, and the kit's identifier, which follows from a 256-bit seed one way. An older file of that kind is
written anew at each opening.

The marks: `reset-begun` before the TPM is cleared, `reset-cleared` after it; the second starts what removes the data
(systemd/praxissafe-reset.path), which takes both away last. docs/decisions/factory-reset.md.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated

import msgspec

from appliance.core.errors import Tampered
from appliance.vault.codes import code_verifier
from appliance.vault.files import read_capped, write_synced
from appliance.vault.state import State

RIGHT_FILE = "reset-right"
MAX_RIGHT_BYTES = 1024
BEGUN_MARK = "reset-begun"
CLEARED_MARK = "reset-cleared"
#: What vault is shut by meanwhile.
RESETTING = "resetting"

#: How long the button counts, and the right that was proven: by the time that really passes (Clock.steady_s), which
#: no clock that is set back or forward makes longer or shorter.
PRESENCE_S = 120
TICKET_S = 900


class ResetRight(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may reset this box; "" and None for what there is none of."""

    code: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)] | None = None
    kit: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?$")] = ""

    @property
    def is_nobodys(self) -> bool:
        """True where there is no box yet."""
        return self.code is None and not self.kit

    def is_of_code(self, typed: str) -> bool:
        """Say whether this is the printed code."""
        return self.code is not None and hmac.compare_digest(code_verifier(typed), self.code)

    def is_of_kit(self, kit: str) -> bool:
        """Say whether this is the kit in use."""
        return bool(self.kit) and hmac.compare_digest(kit, self.kit)


def reset_right(state: State) -> ResetRight:
    """Give who may, by the state."""
    return ResetRight(code=state.box.printed_code, kit=state.kits.current.kit if state.kits.current else "")


def read_reset_right(folder: Path) -> ResetRight:
    """Give who may, by the file; nobody where it is missing or damaged."""
    try:
        return msgspec.json.decode(read_capped(folder / RIGHT_FILE, MAX_RIGHT_BYTES, RIGHT_FILE), type=ResetRight)
    except (OSError, Tampered, msgspec.MsgspecError):
        return ResetRight()


def write_reset_right(folder: Path, right: ResetRight) -> None:
    """Write the file; Unavailable("storage")."""
    write_synced(folder / RIGHT_FILE, msgspec.json.encode(right))


def is_present(noted_at_s: float | None, now_s: float) -> bool:
    """Say whether somebody stands at the box."""
    return noted_at_s is not None and now_s - noted_at_s <= PRESENCE_S
