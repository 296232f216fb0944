"""The one door to cryptsetup(8): a LUKS2 header's slots and tokens, read and changed one step at a time.

Each change is whole or not there after a power cut: LUKS2 keeps its metadata twice, with checksums and a sequence
number, and cryptsetup syncs. A passphrase goes through a pipe to standard input, never into an argument, the
environment or a file. What cryptsetup says reaches no log.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from uuid import UUID

import msgspec

from appliance.core.errors import Invalid, Unavailable
from appliance.disk_slot.header import QUICK_ITERATIONS, QUICK_KDF, Header, KitToken

CRYPTSETUP = ("cryptsetup",)
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C"}
LONGEST_S = 120
#: cryptsetup(8), "RETURN CODES".
NO_PERMISSION = 2
#: The passphrase is 256 random bits: to stretch it would protect nothing, and takes a gigabyte (the default).
QUICK = ("--pbkdf", QUICK_KDF, "--pbkdf-force-iterations", str(QUICK_ITERATIONS))

#: How a new slot is authorised, as options of `cryptsetup luksAddKey`.
Unlock = tuple[str, ...]
#: By the slot that opens the disk at boot: systemd's plugin asks the TPM (systemd-cryptenroll(1)).
BY_TPM: Unlock = ("--token-type", "systemd-tpm2", "--token-only")


def by_key_file(path: str) -> Unlock:
    """Authorise by a key file."""
    return ("--key-file", path)


class Luks:
    """A LUKS2 device; Unavailable("cryptsetup") where cryptsetup fails for a reason not named."""

    def __init__(self, device: str, command: Sequence[str] = CRYPTSETUP) -> None:
        self._device = device
        self._command = command

    def disk(self) -> UUID:
        """Give the header's UUID; Invalid("no_luks")."""
        done = self._run("luksUUID", self._device)
        if done.returncode:
            raise Invalid("no_luks")
        return UUID(done.stdout.decode().strip())

    def read_header(self) -> Header:
        """Give slots and tokens as they are on the disk."""
        return Header(self._must("luksDump", "--dump-json-metadata", self._device))

    def add_slot(self, slot: int, passphrase: bytes, unlock: Unlock) -> None:
        """Add a key slot; Unavailable: "unlock" (not authorised), "slot_not_added" (no TPM, no room, no key file)."""
        done = self._run(
            "luksAddKey", "--batch-mode", *unlock, *QUICK, "--key-slot", str(slot), self._device, "-", sent=passphrase
        )
        if done.returncode:
            raise Unavailable("unlock" if done.returncode == NO_PERMISSION else "slot_not_added")

    def opens(self, passphrase: bytes, slot: int | None = None) -> bool:
        """Say whether the passphrase opens this slot, or any."""
        which = () if slot is None else ("--key-slot", str(slot))
        done = self._run("open", "--test-passphrase", *which, "--key-file=-", self._device, sent=passphrase)
        if done.returncode not in (0, NO_PERMISSION):
            raise Unavailable("cryptsetup")
        return done.returncode == 0

    def open_as(self, passphrase: bytes, name: str) -> bool:
        """Open the disk under /dev/mapper; False if the passphrase does not."""
        done = self._run("open", "--key-file=-", self._device, name, sent=passphrase)
        if done.returncode not in (0, NO_PERMISSION):
            raise Unavailable("cryptsetup")
        return done.returncode == 0

    def kill_slot(self, slot: int) -> None:
        """Wipe a slot; no passphrase is asked where standard input is empty (cryptsetup-luksKillSlot(8))."""
        self._must("luksKillSlot", "--batch-mode", self._device, str(slot))

    def put_token(self, number: int, token: KitToken) -> None:
        """Write a token under this number, in place of one of ours."""
        words = ("token", "import", "--token-id", str(number), "--token-replace", "--json-file", "-", self._device)
        self._must(*words, sent=msgspec.json.encode(token))

    def remove_token(self, number: int) -> None:
        """Take a token away; slots stay."""
        self._must("token", "remove", "--token-id", str(number), self._device)

    def _must(self, *words: str, sent: bytes = b"") -> bytes:
        done = self._run(*words, sent=sent)
        if done.returncode:
            raise Unavailable("cryptsetup")
        return done.stdout

    def _run(self, *words: str, sent: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603 (every word is ours)
                [*self._command, *words],
                input=sent,
                capture_output=True,
                env=ENVIRONMENT,
                timeout=LONGEST_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable("cryptsetup") from error
