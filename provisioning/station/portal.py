"""Register a box at the portal: lay its record there, have its TPM answer. By TLS, under the one authority given."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import aiohttp
import msgspec

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered, Unavailable
from appliance.formats.attestation import Evidence, Question
from appliance.formats.registration import Asked, Proof
from provisioning.station.address import FixedAddress, split_address
from provisioning.station.bench import CODE_PATTERN, read_capped

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 4096


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """What the portal says when it takes a record not."""

    error: Annotated[str, msgspec.Meta(pattern=CODE_PATTERN)]


Body = TypeVar("Body", Asked, Refusal)


def portal_context(portal_ca: str) -> ssl.SSLContext:
    """Give a context that trusts this authority and no other; Invalid("portal_ca") for a text that is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=portal_ca)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid("portal_ca") from error
    return context


async def register(
    address: str,
    portal_name: str,
    portal_ca: str,
    application: bytes,
    prove: Callable[[Question], Awaitable[Evidence]],
) -> None:
    """Lay a signed device record and the TPM's identity at the portal, and have the TPM answer what it asks.

    `prove` asks the box. Returns when the portal holds the record. Raises Refused("station") if the portal does not
    list this station or is not the one of the record, Refused(<conflict>) if box, keys or name are taken,
    Refused(<code>) for a TPM or a boot that it does not take, Invalid(<code>), Tampered("portal_certificate"),
    Unavailable("portal_away", "portal_answer", "challenge" or "portal_busy"), and what `prove` raises.
    """
    host, port = split_address(address)
    connector = aiohttp.TCPConnector(resolver=FixedAddress(host), ssl=portal_context(portal_ca))
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    url = f"https://{portal_name}:{port}"
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        status, body = await _post(client, f"{url}/devices", application)
        if status == 202:
            asked = _decoded(body, Asked)
            proof = Proof(challenge=asked.challenge, evidence=await prove(asked.question))
            status, body = await _post(client, f"{url}/proofs", msgspec.json.encode(proof))
    if status not in (200, 201):
        raise _refused(status, _decoded(body, Refusal).error)


async def revoke(address: str, portal_name: str, portal_ca: str, revocation: bytes) -> None:
    """Have the portal take a box out for good; Refused("station"), Refused("box_unknown"), else as `register`."""
    host, port = split_address(address)
    connector = aiohttp.TCPConnector(resolver=FixedAddress(host), ssl=portal_context(portal_ca))
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as client:
        status, body = await _post(client, f"https://{portal_name}:{port}/revocations", revocation)
    if status != 200:
        raise _refused(status, _decoded(body, Refusal).error)


async def _post(client: aiohttp.ClientSession, url: str, data: bytes) -> tuple[int, bytes]:
    try:
        async with client.post(url, data=data, allow_redirects=False) as answer:
            return answer.status, await read_capped(answer.content, MAX_ANSWER_BYTES)
    except aiohttp.ClientConnectorCertificateError as error:
        raise Tampered("portal_certificate") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable("portal_away") from error


def _decoded(body: bytes, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        raise Unavailable("portal_answer") from None


def _refused(status: int, code: str) -> PraxisError:
    if status in (403, 404, 409, 422):
        return Refused(code)
    if status in (410, 503):
        return Unavailable(code)
    return Invalid(code) if status == 400 else Unavailable("portal_answer")
