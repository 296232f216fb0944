"""What a technician may type: the commands, their options, and the settings file that fills in for them.

Help is English like the commands; what goes wrong is said in both languages (texts.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from appliance.core.errors import Invalid
from provisioning.station.settings import read_station_settings
from provisioning.station.several import BOXES_AT_ONCE

DESCRIPTION = """The technician's bench: enrol boxes, see how far each is, print the handover sheet (docs/station.md).

Exit status: 0 done, 2 the input is wrong, 3 not now (run again), 4 refused (somebody must decide), 5 a certificate is
not the one expected (stop and look), 6 of several boxes at least one is not done, 130 interrupted."""
DEFAULTS: dict[str, str | int] = {"page_port": 443, "lan_port": 443, "paper": "both"}
ENROLLING = ("folder", "key", "portal", "portal_name", "portal_ca", "page_host", "lan_host")
#: What each command cannot do without, by the command line or the settings file.
NEEDED = {
    "new-key": ("key",),
    "public-key": ("key",),
    "enrol": ENROLLING,
    "enrol-all": ENROLLING,
    "resume": ("folder", "key", "portal_ca"),
    "status": ("folder",),
    "sheet": ("folder",),
    "hand-over": ("folder",),
    "revoke": ("folder", "key", "portal_ca"),
    "words": (),
}


class WrongArguments(Invalid):
    """The command line is wrong; `place` says where, in argparse's words."""

    def __init__(self, place: str) -> None:
        super().__init__("arguments")
        self.place = place


def read_arguments(words: list[str]) -> argparse.Namespace:
    """Read the command line over the settings file over the defaults; WrongArguments, Invalid("settings")."""
    chosen = _parser().parse_args(words)
    filed = read_station_settings(chosen.settings) if chosen.settings else {}
    for name, value in {**DEFAULTS, **filed}.items():
        if getattr(chosen, name, None) is None:
            setattr(chosen, name, value)
    missing = [name for name in NEEDED[chosen.command] if getattr(chosen, name, None) is None]
    if missing:
        raise WrongArguments("missing: " + " ".join(f"--{name.replace('_', '-')}" for name in missing))
    for name in ("folder", "key", "portal_ca"):
        if getattr(chosen, name, None) is not None:
            setattr(chosen, name, Path(getattr(chosen, name)))
    return chosen


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of printing one language and ending the process."""

    def error(self, message: str) -> NoReturn:
        raise WrongArguments(message)


def _sha256(text: str) -> bytes:
    value = bytes.fromhex(text.replace(":", ""))
    if len(value) != 32:
        raise ValueError
    return value


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m provisioning.station",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    def command(name: str, purpose: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)
        added.add_argument("--settings", type=Path, metavar="FILE.toml", help="what is the same for every box")
        return added

    for name, purpose in (
        ("new-key", "make this station's key and print its public half, for the portal's settings"),
        ("public-key", "print the public half again"),
    ):
        command(name, purpose).add_argument("--key", metavar="FILE")

    enrol = command("enrol", "enrol the box on the bench; the same command again goes on where a run ended")
    enrol.add_argument("--serial", required=True, metavar="PS-0001", help="from the label")
    enrol.add_argument("--enrol", required=True, metavar="ADDRESS:PORT", help="the box on the bench")
    enrol.add_argument(
        "--enrol-sha256", type=_sha256, metavar="DIGITS", help="its certificate's fingerprint, if known"
    )
    enrol.add_argument("--json", action="store_true", help="print the sheet, claim code included, as JSON")

    several = command("enrol-all", "enrol every box of a list, a few at a time; one that fails stops no other")
    several.add_argument(
        "--boxes", type=Path, required=True, metavar="FILE", help="SERIAL ADDRESS:PORT [SHA256] a line"
    )
    resume = command("resume", "go on with every box that was begun and is not enrolled, or with these")
    resume.add_argument("serials", nargs="*", metavar="SERIAL")
    for added in (several, resume):
        added.add_argument("--at-once", type=_positive, default=BOXES_AT_ONCE, metavar="N")

    for added in (enrol, several):
        added.add_argument("--portal", metavar="ADDRESS:PORT", help="the portal, as the box will dial it")
        added.add_argument("--portal-name", metavar="NAME", help="the name in the portal's certificate")
        added.add_argument("--page-host", metavar="NAME", help="patients' host; {box} stands for 8 digits of the box")
        added.add_argument("--page-port", type=_port, metavar="N")
        added.add_argument("--lan-host", metavar="NAME", help="staff's host; {box} likewise")
        added.add_argument("--lan-port", type=_port, metavar="N")
    revoke = command("revoke", "the box was reset, replaced or lost: the portal takes it out for good")
    for added in (enrol, several, resume, revoke):
        added.add_argument("--portal-ca", metavar="FILE", help="PEM file of the portal's authority")
        added.add_argument("--key", metavar="FILE", help="this station's key (new-key)")
        added.add_argument("--paper", choices=("de", "en", "both", "none"), help="languages of handover.pdf")

    status = command("status", "list what is done and what is missing for each box")
    status.add_argument("serials", nargs="*", metavar="SERIAL")
    status.add_argument(
        "--boxes", type=Path, metavar="FILE", help="show the boxes of this list that were not begun too"
    )
    status.add_argument("--json", action="store_true", help="for programs; docs/formats/station-state.md")
    sheet = command("sheet", "draw the handover sheet again and say where it is")
    sheet.add_argument("--paper", choices=("de", "en", "both"))
    hand_over = command("hand-over", "the practice has its sheet: remove the claim code from this station")
    for added in (sheet, hand_over, revoke):
        added.add_argument("serials", nargs="+", metavar="SERIAL")
    for added in (enrol, several, resume, status, sheet, hand_over, revoke):
        added.add_argument("--folder", metavar="FOLDER", help="where this station keeps its boxes")
    for added in (several, resume, status):
        added.add_argument("--language", choices=("de", "en"), default="de", help="of the table")
    words = command("words", "give the words of the device key in a record of the portal (registry/<box>.json)")
    words.add_argument("record", type=Path, metavar="RECORD.json")
    return parser
