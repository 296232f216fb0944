"""The demo's console: what it remembers between starts, what it shows meanwhile, and what it says when all is ready.

The file holds a staff password, so it is readable by root only. The console shows a link and its PIN together; it is
the one place of the project that does (on paper they are two sheets).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from appliance.core.errors import Invalid


class Console(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What one box's demo knows about it."""

    box: str
    page_host: str
    lan_host: str
    claim_code: str
    #: The ports the box was enrolled with; it keeps them.
    port_base: int
    name: str = "Demo"
    password: str = ""
    #: The box has its first member of staff.
    claimed: bool = False
    #: The patient page's address of the sample patient, once the samples are uploaded.
    patient: str = ""


class Ready(msgspec.Struct, kw_only=True):
    """What `--json` prints as one line. Files are paths of PEM files; pids are this machine's numbers."""

    practice_url: str
    practice_ca: str
    claim_code: str
    staff: str
    password: str
    patient_link: str
    pin: str
    portal_address: str
    portal_name: str
    portal_ca: str
    box: str
    page_host: str
    lan_host: str
    state: str
    #: The container's PID 1: `nsenter --target=N --all` goes inside.
    container: int
    pids: dict[str, int]


def read_console(path: Path) -> Console | None:
    """Give what an earlier start left; None if there was none. Raises Invalid("console") if it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Console)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Invalid("console") from error


def write_console(path: Path, console: Console) -> None:
    """Keep it for the next start."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(console), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Progress:
    """Tells on standard error what the demo is doing and how long each step took."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured
        self._began_at = time.monotonic()

    def step(self, text: str) -> None:
        """Say that a step is done."""
        elapsed_s = time.monotonic() - self._began_at
        print(f"{self._paint('2', f'{elapsed_s:5.1f} s')}  {text}", file=sys.stderr, flush=True)

    def show(self, ready: Ready) -> None:
        """Print where to go."""
        unclaimed = [("Claim code", ready.claim_code)]
        staff = [("Log in as", ready.staff), ("Password", ready.password)]
        share = [("Patient's link", ready.patient_link), ("PIN", ready.pin)]
        rows = [
            ("Practice page", ready.practice_url),
            *(staff if ready.password else unclaimed),
            *(share if ready.patient_link else []),
            ("Authorities to trust", ready.practice_ca),
            ("", ready.portal_ca),
            ("State", ready.state),
        ]
        width = max(len(name) for name, _ in rows)
        line = self._paint("2", "─" * (width + 2 + max(len(value) for _, value in rows)))
        print(f"\n{line}")
        for name, value in rows:
            print(f"{self._paint('1', name.ljust(width))}  {value}")
        print(f"{line}\nCtrl-C ends everything.\n", flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text
