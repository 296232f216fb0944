"""The conversation with the box on the bench (docs/formats/enrolment.md).

The box's certificate is self-signed: its fingerprint is pinned if the technician gave it, else taken from the first
connection, shown, and pinned for the rest of the run. What the box answers is decoded strictly and capped.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from typing import Annotated, Literal, TypeVar

import aiohttp
import msgspec
from cryptography import x509

from appliance.core.errors import FAMILIES, Tampered, Unavailable
from appliance.formats.attestation import Evidence, Identity
from provisioning.station.address import FixedAddress, split_address

NAME = "praxissafe-bench.invalid"
REQUEST_TIMEOUT_S = 150.0
DIAL_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 32 * 1024
CODE_PATTERN = r"^[a-z0-9_]{1,64}$"


class NewBox(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to POST /enrol."""

    box: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    device_key: bytes  # as base64
    claim_code: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Z-]{1,64}$")]
    serial: str
    ticket: Annotated[str, msgspec.Meta(max_length=256)]


class Finished(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to POST /finish."""

    finished: bool


class BoxState(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to GET /state."""

    state: Literal["new", "enrolled", "finished"]


class Failure(msgspec.Struct, forbid_unknown_fields=True):
    """Any other answer; a code is shown to the technician, so it is a word and cannot be anything else."""

    family: str
    code: Annotated[str, msgspec.Meta(pattern=CODE_PATTERN)]


Answer = TypeVar("Answer", NewBox, Identity, Evidence, Finished, BoxState)


def bench_fingerprint(address: str) -> bytes:
    """Give SHA-256 of the certificate the box shows on the bench; Unavailable("box_away")."""
    host, port = split_address(address)
    return hashlib.sha256(_certificate(host, port, NAME)).digest()


def shows_name(address: str, port: int, name: str) -> bool:
    """Say whether the box at this address shows a certificate for `name` on `port`, whoever vouches for it."""
    host, _ = split_address(address)
    try:
        certificate = x509.load_der_x509_certificate(_certificate(host, port, name))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (Unavailable, ValueError, x509.ExtensionNotFound):
        return False
    return name in names.get_values_for_type(x509.DNSName)


async def ask_box(
    address: str, fingerprint: bytes, path: str, body: dict[str, str | int], kind: type[Answer]
) -> Answer:
    """Ask enrol (POST); raises the failure it answered.

    Tampered("bench_certificate") for another certificate, Unavailable("box_away"), Unavailable("box_answer") for an
    answer that is none.
    """
    return await _ask("POST", address, fingerprint, path, body, kind)


async def ask_state(address: str, fingerprint: bytes) -> str:
    """Ask how far the box is: "new", "enrolled" or "finished". Raises what `ask_box` raises."""
    return (await _ask("GET", address, fingerprint, "/state", None, BoxState)).state


async def ask_identity(address: str, fingerprint: bytes) -> Identity:
    """Ask who the box's TPM is. Raises what `ask_box` raises."""
    return await _ask("GET", address, fingerprint, "/identity", None, Identity)


async def _ask(
    method: str, address: str, fingerprint: bytes, path: str, body: dict[str, str | int] | None, kind: type[Answer]
) -> Answer:
    host, port = split_address(address)
    connector = aiohttp.TCPConnector(resolver=FixedAddress(host), ssl=aiohttp.Fingerprint(fingerprint))
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
            client.request(method, f"https://{NAME}:{port}{path}", json=body, allow_redirects=False) as answer,
        ):
            raw = await read_capped(answer.content, MAX_ANSWER_BYTES)
    except aiohttp.ServerFingerprintMismatch as error:
        raise Tampered("bench_certificate") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable("box_away") from error
    try:
        if answer.status == 200:
            return msgspec.json.decode(raw, type=kind)
        failure = msgspec.json.decode(raw, type=Failure)
    except msgspec.DecodeError as error:
        raise Unavailable("box_answer") from error
    raise FAMILIES.get(failure.family, Unavailable)(failure.code)


async def read_capped(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    """Read a body; of one over the cap, enough to be no answer."""
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > max_bytes:
            return b""
    return bytes(body)


def _certificate(host: str, port: int, name: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the caller looks at it
    try:
        with (
            socket.create_connection((host, port), DIAL_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=name) as connection,
        ):
            certificate = connection.getpeercert(binary_form=True)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that no DNS name can be
        raise Unavailable("box_away") from error
    if certificate is None:
        raise Unavailable("box_away")
    return certificate
