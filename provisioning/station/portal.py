"""Lay a device record at the portal: over TLS, by the portal's name, under the one authority given."""

from __future__ import annotations

import ssl
from typing import Annotated

import aiohttp
import msgspec

from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from provisioning.station.address import FixedAddress, split_address
from provisioning.station.bench import CODE_PATTERN, read_capped

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 4096


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """What the portal says when it takes a record not."""

    error: Annotated[str, msgspec.Meta(pattern=CODE_PATTERN)]


def portal_context(portal_ca: str) -> ssl.SSLContext:
    """Give a context that trusts this authority and no other; Invalid("portal_ca") for a text that is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=portal_ca)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid("portal_ca") from error
    return context


async def register(address: str, portal_name: str, portal_ca: str, record: bytes) -> None:
    """Lay a signed device record at the portal; returns when it holds it, raises what it refused with.

    Refused("station") if the portal does not list this station or is not the one of the record, Refused(<conflict>)
    if box, key or name are taken, Invalid("device_record"), Tampered("portal_certificate"),
    Unavailable("portal_away" or "portal_answer").
    """
    host, port = split_address(address)
    connector = aiohttp.TCPConnector(resolver=FixedAddress(host), ssl=portal_context(portal_ca))
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
            client.post(f"https://{portal_name}:{port}/devices", data=record, allow_redirects=False) as answer,
        ):
            body = await read_capped(answer.content, MAX_ANSWER_BYTES)
    except aiohttp.ClientConnectorCertificateError as error:
        raise Tampered("portal_certificate") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable("portal_away") from error
    if answer.status in (200, 201):
        return
    try:
        refusal = msgspec.json.decode(body, type=Refusal).error
    except msgspec.DecodeError:
        raise Unavailable("portal_answer") from None
    if answer.status in (403, 409):
        raise Refused(refusal)
    raise Invalid("device_record") if answer.status == 400 else Unavailable("portal_answer")
