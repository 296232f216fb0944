"""`python -m provisioning.station new-key|enrol …`: the technician's commands.

Exit status: 0 done, 1 a step failed (what happened and what to do is said), 2 wrong words.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from appliance.core.errors import PraxisError
from provisioning.station.enrol import Order, enrol
from provisioning.station.sheet import print_sheet
from provisioning.station.station_key import make_station_key, read_station_key
from provisioning.station.words import STEPS, explain


def main(arguments: list[str]) -> int:
    """Run a command."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "new-key":
            print(make_station_key(chosen.key))
            return 0
        return _enrol(chosen)
    except PraxisError as error:
        print(explain(error), file=sys.stderr)
        return 1


def _enrol(chosen: argparse.Namespace) -> int:
    station = read_station_key(chosen.key)
    order = Order(
        bench_address=chosen.enrol,
        bench_sha256=bytes.fromhex(chosen.enrol_sha256) if chosen.enrol_sha256 else None,
        portal_address=chosen.portal,
        portal_name=chosen.portal_name,
        portal_ca=chosen.portal_ca.read_text(encoding="ascii"),
        page_host=chosen.page_host,
        page_port=chosen.page_port,
        lan_host=chosen.lan_host,
        lan_port=chosen.lan_port,
        serial=chosen.serial,
    )
    sheet = asyncio.run(
        enrol(order, station, int(time.time()), lambda step: print(STEPS[step], file=sys.stderr, flush=True))
    )
    if chosen.sheet:
        descriptor = os.open(chosen.sheet, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(sheet) + b"\n")
    print(msgspec.json.encode(sheet).decode() if chosen.json else print_sheet(sheet))
    return 0


def _sha256(text: str) -> str:
    digits = text.replace(":", "").replace(" ", "").lower()
    if len(bytes.fromhex(digits)) != 32:
        raise ValueError
    return digits


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m provisioning.station")
    commands = parser.add_subparsers(dest="command", required=True)
    new_key = commands.add_parser("new-key", help="make this station's key and print its public half")
    new_key.add_argument("--key", type=Path, required=True)
    add = commands.add_parser("enrol", help="enrol the box on the bench").add_argument
    add("--enrol", required=True, metavar="ADDRESS:PORT", help="the box on the bench")
    add("--enrol-sha256", type=_sha256, help="its certificate's fingerprint, if known")
    add("--portal", required=True, metavar="ADDRESS:PORT")
    add("--portal-name", required=True)
    add("--portal-ca", type=Path, required=True, help="PEM file of the portal's authority")
    add("--key", type=Path, required=True, help="this station's key (new-key)")
    add("--page-host", required=True, help="patients' host name; {box} stands for 8 digits of the box")
    add("--page-port", type=int, default=443)
    add("--lan-host", required=True, help="staff's host name; {box} likewise")
    add("--lan-port", type=int, default=443)
    add("--serial", required=True)
    add("--sheet", type=Path, help="write the handover sheet here as JSON (mode 0600)")
    add("--json", action="store_true", help="print the sheet as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
