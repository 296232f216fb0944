"""Enrol one box: keys, registration, finish, sheet. Every step may be repeated after an interruption.

The box makes its keys once and gives a fresh claim code each time until it is finished; the portal takes the same
record again and refuses another key for a known box. So an interrupted run is simply run again.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nacl.signing import SigningKey

from appliance.core.errors import Tampered
from appliance.formats.device_record import encode_record, make_record, sign_record
from provisioning.station.sheet import Sheet, fingerprint
from provisioning.station.web import ask_box, bench_fingerprint, register

BOX_MARK = "{box}"


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


def host_name(pattern: str, box: str) -> str:
    """Put the box into a host name's pattern, as vault does."""
    return pattern.replace(BOX_MARK, box[:8])


async def enrol(order: Order, station: SigningKey, issued_at: int, tell: Callable[[str], None]) -> Sheet:
    """Do all steps and give the sheet; `tell` gets a word for each. Raises the failure of the step that failed."""
    seen = await asyncio.to_thread(bench_fingerprint, order.bench_address)
    if order.bench_sha256 not in (None, seen):
        raise Tampered("bench_certificate")
    tell("keys")
    made = await ask_box(order.bench_address, seen, "POST", "/enrol", _request(order))
    device_key = base64.b64decode(made["device_key"])
    page_host = host_name(order.page_host, made["box"])
    record = make_record(
        box=bytes.fromhex(made["box"]),
        device_key=device_key,
        host_name=page_host,
        portal_name=order.portal_name,
        issued_at=issued_at,
    )
    tell("register")
    await register(
        order.portal_address, order.portal_name, order.portal_ca, encode_record(sign_record(record, station))
    )
    tell("finish")
    await ask_box(order.bench_address, seen, "POST", "/finish")
    return Sheet(
        serial=made["serial"],
        box=made["box"],
        claim_code=made["claim_code"],
        practice_url=_url(host_name(order.lan_host, made["box"]), order.lan_port),
        patient_host=page_host,
        device_fingerprint=fingerprint(device_key),
    )


def _request(order: Order) -> dict[str, Any]:
    return {
        "page_host": order.page_host,
        "page_port": order.page_port,
        "lan_host": order.lan_host,
        "lan_port": order.lan_port,
        "portal_address": order.portal_address,
        "portal_name": order.portal_name,
        "portal_ca": order.portal_ca,
        "serial": order.serial,
    }


def _url(host: str, port: int) -> str:
    return f"https://{host}/" if port == 443 else f"https://{host}:{port}/"
