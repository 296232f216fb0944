"""Enrol one box: keys, sheet, registration, finish. Every step may be repeated after an interruption.

The box makes its keys once and gives a fresh claim code each time until it is finished; the portal takes the same
record again and refuses another key for a known box; the sheet is on disk before the box closes its door. So an
interrupted run is simply run again. Order and reasons: docs/formats/enrolment.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace
from nacl.signing import SigningKey

from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from appliance.formats.device_record import encode_record, make_record, sign_record
from provisioning.station.bench import Finished, NewBox, ask_box, bench_fingerprint, shows_name
from provisioning.station.portal import register
from provisioning.station.sheet import Sheet, fingerprint, read_sheet, write_sheet

BOX_MARK = "{box}"
SERIAL = re.compile(r"[A-Z0-9-]{4,32}\Z")

#: Told at each step: its word, and what the words need to say it.
Tell = Callable[..., None]


@dataclass(frozen=True)
class Order:
    """What the technician wants of the box. Host names may hold `{box}`: the first 8 digits of the box."""

    bench_address: str
    bench_sha256: bytes | None
    portal_address: str
    portal_name: str
    portal_ca: str
    page_host: str
    page_port: int
    lan_host: str
    lan_port: int
    serial: str

    def body(self) -> dict[str, str | int]:
        """Give what the box is told (POST /enrol)."""
        return {name: value for name, value in vars(self).items() if not name.startswith("bench_")}


def host_name(pattern: str, box: str) -> str:
    """Put the box into a host name's pattern, as vault does."""
    return pattern.replace(BOX_MARK, box[:8])


async def enrol(order: Order, station: SigningKey, sheet_file: Path, issued_at: int, tell: Tell) -> Sheet:
    """Do all steps and give the finished sheet. Raises the failure of the step that failed."""
    if not SERIAL.match(order.serial):
        raise Invalid("serial")
    earlier = read_sheet(sheet_file)
    if earlier is not None and earlier.serial != order.serial:
        raise Refused("sheet_taken")
    try:
        seen = await asyncio.to_thread(bench_fingerprint, order.bench_address)
        if order.bench_sha256 not in (None, seen):
            raise Tampered("bench_certificate")
        tell("bench_pinned" if order.bench_sha256 else "bench_trusted", sha256=seen.hex())
        tell("keys")
        made = await ask_box(order.bench_address, seen, "/enrol", order.body(), NewBox)
    except (Unavailable, Refused) as error:
        if earlier is None or error.code not in ("box_away", "provisioned"):
            raise
        return await _finished_before(order, earlier, sheet_file, error, tell)
    sheet = _sheet(order, made)
    write_sheet(sheet_file, sheet)
    tell("register")
    record = make_record(
        box=bytes.fromhex(made.box),
        device_key=made.device_key,
        host_name=sheet.patient_host,
        portal_name=order.portal_name,
        issued_at=issued_at,
    )
    signed = encode_record(sign_record(record, station))
    await register(order.portal_address, order.portal_name, order.portal_ca, signed)
    tell("finish")
    await ask_box(order.bench_address, seen, "/finish", {"ticket": made.ticket}, Finished)
    return _finish(sheet, sheet_file)


async def _finished_before(
    order: Order, earlier: Sheet, sheet_file: Path, error: Unavailable | Refused, tell: Tell
) -> Sheet:
    """Take up a run whose last answer was lost: the door is shut, and the box shows the name of its sheet."""
    name = host_name(order.lan_host, earlier.box)
    if not await asyncio.to_thread(shows_name, order.bench_address, order.lan_port, name):
        raise error
    tell("finished_before")
    return _finish(earlier, sheet_file)


def _finish(sheet: Sheet, sheet_file: Path) -> Sheet:
    finished = replace(sheet, finished=True)
    write_sheet(sheet_file, finished)
    return finished


def _sheet(order: Order, made: NewBox) -> Sheet:
    lan_host = host_name(order.lan_host, made.box)
    port = "" if order.lan_port == 443 else f":{order.lan_port}"
    return Sheet(
        serial=made.serial,
        box=made.box,
        claim_code=made.claim_code,
        practice_url=f"https://{lan_host}{port}/",
        patient_host=host_name(order.page_host, made.box),
        device_fingerprint=fingerprint(made.device_key),
        finished=False,
    )
