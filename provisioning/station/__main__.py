"""`python -m provisioning.station new-key|public-key|enrol …`: the technician's commands.

Steps and failures are said on standard error, the sheet on standard output. Exit status: 0 done, 2 the input is
wrong, 3 somebody did not answer (run again), 4 box or portal refuse, 5 a certificate is not the one expected.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import msgspec

from appliance.core.errors import Invalid, PraxisError
from provisioning.station.enrol import Order, enrol
from provisioning.station.portal import portal_context
from provisioning.station.sheet import print_sheet
from provisioning.station.station_key import make_station_key, public_text, read_station_key
from provisioning.station.words import EXIT_STATUSES, STEPS, explain


def main(arguments: list[str]) -> int:
    """Run a command."""
    chosen = _parser().parse_args(arguments)
    try:
        match chosen.command:
            case "new-key":
                print(make_station_key(chosen.key))
            case "public-key":
                print(public_text(read_station_key(chosen.key)))
            case _:
                _enrol(chosen)
    except PraxisError as error:
        print(explain(error), file=sys.stderr)
        return EXIT_STATUSES[type(error)]
    return 0


def _enrol(chosen: argparse.Namespace) -> None:
    station = read_station_key(chosen.key)
    order = Order(
        bench_address=chosen.enrol,
        bench_sha256=chosen.enrol_sha256,
        portal_address=chosen.portal,
        portal_name=chosen.portal_name,
        portal_ca=_read_authority(chosen.portal_ca),
        page_host=chosen.page_host,
        page_port=chosen.page_port,
        lan_host=chosen.lan_host,
        lan_port=chosen.lan_port,
        serial=chosen.serial,
    )
    sheet = asyncio.run(enrol(order, station, chosen.sheet, int(time.time()), _tell))
    print(msgspec.json.encode(sheet).decode() if chosen.json else print_sheet(sheet))


def _tell(step: str, **facts: str) -> None:
    print(STEPS[step].format(**facts), file=sys.stderr, flush=True)


def _read_authority(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("portal_ca") from error
    portal_context(text)  # before the box is told of it
    return text


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m provisioning.station")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (
        ("new-key", "make this station's key and print its public half, for the portal's settings"),
        ("public-key", "print the public half again"),
    ):
        commands.add_parser(name, help=purpose).add_argument("--key", type=Path, required=True)
    add = commands.add_parser("enrol", help="enrol the box on the bench").add_argument
    add("--enrol", required=True, metavar="ADDRESS:PORT", help="the box on the bench; https:// may stand before it")
    add("--enrol-sha256", type=_sha256, metavar="DIGITS", help="its certificate's fingerprint, if known")
    add("--portal", required=True, metavar="ADDRESS:PORT", help="the portal, as the box will dial it")
    add("--portal-name", required=True, metavar="NAME", help="the name in the portal's certificate")
    add("--portal-ca", type=Path, required=True, metavar="FILE", help="PEM file of the portal's authority")
    add("--key", type=Path, required=True, metavar="FILE", help="this station's key (new-key)")
    add("--page-host", required=True, metavar="NAME", help="patients' host; {box} stands for 8 digits of the box")
    add("--page-port", type=_port, default=443, metavar="N")
    add("--lan-host", required=True, metavar="NAME", help="staff's host; {box} likewise")
    add("--lan-port", type=_port, default=443, metavar="N")
    add("--serial", required=True, metavar="PS-0001")
    add("--sheet", type=Path, required=True, metavar="FILE.json", help="keep the handover sheet here (mode 0600)")
    add("--json", action="store_true", help="print the sheet as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
