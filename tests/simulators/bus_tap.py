"""A probe on the TPM's bus: passes everything between vault and a software TPM, and keeps it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

HEADER_BYTES = 10
START_AUTH_SESSION = 0x0176


class BusTap:
    """What went over the bus: the commands and the answers, as bytes."""

    def __init__(self) -> None:
        self.commands = bytearray()
        self.answers = bytearray()

    def holds(self, secret: bytes) -> bool:
        """True if it went by in the clear."""
        return secret in self.commands or secret in self.answers

    def each_command(self) -> Iterator[tuple[int, bytes]]:
        """Give (command code, everything after the header) of each command (TPM 2.0 part 1, section 18)."""
        place = 0
        while place < len(self.commands):
            size = int.from_bytes(self.commands[place + 2 : place + 6], "big")
            command = bytes(self.commands[place : place + size])
            yield int.from_bytes(command[6:HEADER_BYTES], "big"), command[HEADER_BYTES:]
            place += size


@contextlib.contextmanager
def tapped(tcti: str, folder: Path) -> Iterator[tuple[str, BusTap]]:
    """Give a TCTI string that leads to the same TPM past a probe."""
    there, here = tcti.removeprefix("swtpm:path="), str(folder / "tap.sock")
    tap, listeners = BusTap(), []
    for channel in ("", ".ctrl"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(here + channel)
        listener.listen()
        listeners.append(listener)
        records = (tap.commands, tap.answers) if not channel else (bytearray(), bytearray())
        threading.Thread(target=_pass_all, args=(listener, there + channel, records), daemon=True).start()
    try:
        yield f"swtpm:path={here}", tap
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _pass_all(listener: socket.socket, there: str, records: tuple[bytearray, bytearray]) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:  # the tap is taken away
            return
        far = socket.socket(socket.AF_UNIX)
        far.connect(there)
        for source, target, record in ((near, far, records[0]), (far, near, records[1])):
            threading.Thread(target=_pass, args=(source, target, record), daemon=True).start()


def _pass(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            record += data
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
