"""`python -m appliance.disk_slot.open_disk FILE [--device DEVICE]`: opens a disk with two sheets of the kit.

For a technician, with the disk in another machine. Asks for the words, or reads two lines of them; says what is wrong
with which word, in German and English. The passphrase goes to cryptsetup's standard input; --show shows it.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path

from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.disk_slot.luks import Luks
from appliance.disk_slot.texts import ASK, IS_OPEN, WOULD_OPEN, explain
from appliance.formats.disk_slot import DISK_SLOT_BYTES, open_passphrase, read_header
from appliance.formats.kit_key import of_seed
from appliance.formats.kit_sheets import combine_sheets, read_sheet

NAME = "praxissafe-data"


def ask_sheets(ask: Callable[[str], str], complain: Callable[[str], None]) -> tuple[str, str]:
    """Ask for the words of two sheets, of each until they can be read."""

    def ask_one(sheet: int) -> str:
        while True:
            words = ask(ASK.format(sheet=sheet))
            try:
                read_sheet(words, sheet)
            except Invalid as error:
                complain(explain(error))
            else:
                return words

    return ask_one(1), ask_one(2)


def open_slot(sealed: bytes, first: str, second: str) -> bytes:
    """Give the passphrase from a sealed file and the words of two sheets; raises what is wrong with either."""
    seed, _ = combine_sheets(first, second)
    return open_passphrase(of_seed(seed), sealed)


def use(words: argparse.Namespace, first: str, second: str) -> None:
    """Open the disk, or show the passphrase."""
    with Path(words.file).open("rb") as file:
        sealed = file.read(DISK_SLOT_BYTES + 1)
    luks = Luks(words.device) if words.device else None
    if luks and luks.disk() != read_header(sealed).disk:
        raise Refused("disk_slot_of_other_disk")
    passphrase = open_slot(sealed, first, second)
    if words.show:
        print(passphrase.hex())
    if luks and not (luks.opens(passphrase) if words.test else luks.open_as(passphrase, words.name)):
        raise Refused("disk_slot_replaced")
    if luks:
        print(WOULD_OPEN if words.test else IS_OPEN.format(name=words.name))


def main(arguments: list[str] | None = None) -> int:
    """Give 0 if the disk is open (or would open, or the passphrase was shown), else 1."""
    parser = argparse.ArgumentParser(prog="open_disk", description=__doc__)
    parser.add_argument("file", help="the sealed file from the boot partition: praxissafe/disk-slot-…")
    parser.add_argument("--device", help="the LUKS2 partition, for example /dev/sdb3")
    parser.add_argument("--name", default=NAME, help="its name under /dev/mapper (%(default)s)")
    parser.add_argument("--test", action="store_true", help="only try whether it opens")
    parser.add_argument("--show", action="store_true", help="print the passphrase, 32 bytes in hexadecimal digits")
    words = parser.parse_args(arguments)
    if not words.device and not words.show:
        parser.error("--device or --show")
    try:
        if sys.stdin.isatty():
            first, second = ask_sheets(getpass.getpass, lambda text: print(text, file=sys.stderr))
        else:
            first, second = sys.stdin.readline(), sys.stdin.readline()
        use(words, first, second)
    except PraxisError as error:
        print(explain(error), file=sys.stderr)
        return 1
    except OSError as error:
        print(explain(Invalid("disk_slot_file")), error.strerror, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
