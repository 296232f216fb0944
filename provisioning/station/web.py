"""The station's two conversations: with the box on the bench, and with the portal.

The bench's certificate is self-signed: its fingerprint is pinned if the technician gave it, else taken from the first
connection, shown, and pinned for the rest of the run. The portal's certificate must chain to the authority given.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from appliance.core.errors import FAMILIES, Invalid, Tampered, Unavailable

REQUEST_TIMEOUT_S = 150.0
DIAL_TIMEOUT_S = 10.0


def split_address(address: str) -> tuple[str, int]:
    """Give host and port of `host:port`; Invalid("address") for anything else."""
    host, _, port = address.removeprefix("https://").rstrip("/").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise Invalid("address")
    return host, int(port)


class FixedAddress(AbstractResolver):
    """Answers every name with one address: the name is for TLS, the address was typed in."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the address."""
        return [ResolveResult(hostname=host, host=self._host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Hold nothing."""


def bench_fingerprint(address: str) -> bytes:
    """Give SHA-256 of the certificate the box shows on the bench; Unavailable("box_away")."""
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # pinned by fingerprint afterwards
    try:
        with (
            socket.create_connection((host, port), DIAL_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname="praxissafe-bench.invalid") as connection,
        ):
            certificate = connection.getpeercert(binary_form=True)
    except OSError as error:
        raise Unavailable("box_away") from error
    if certificate is None:
        raise Unavailable("box_away")
    return hashlib.sha256(certificate).digest()


async def ask_box(address: str, fingerprint: bytes, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Ask enrol; raises the failure it answered, Tampered("bench_certificate") for another certificate."""
    host, port = split_address(address)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)) as client,
            client.request(
                method, f"https://{host}:{port}{path}", json=body, ssl=aiohttp.Fingerprint(fingerprint)
            ) as answer,
        ):
            reply = msgspec.json.decode(await answer.read(), type=dict[str, Any])
    except aiohttp.ServerFingerprintMismatch as error:
        raise Tampered("bench_certificate") from error
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
        raise Unavailable("box_away") from error
    if answer.status != 200:
        raise FAMILIES.get(str(reply.get("family")), Unavailable)(str(reply.get("code", "box")))
    return reply


async def register(address: str, portal_name: str, portal_ca: str, record: bytes) -> None:
    """Lay a signed device record at the portal; raises what it refused with.

    Invalid("device_record"), Invalid(<conflict>) if box, key or name are taken, Unavailable("portal_refuses") if the
    portal does not list this station, Unavailable("portal_away").
    """
    host, port = split_address(address)
    context = ssl.create_default_context(cadata=portal_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    connector = aiohttp.TCPConnector(resolver=FixedAddress(host), ssl=context)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as client,
            client.post(f"https://{portal_name}:{port}/devices", data=record) as answer,
        ):
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable("portal_away") from error
    if answer.status in (200, 201):
        return
    if answer.status == 403:
        raise Unavailable("portal_refuses")
    if answer.status == 409:
        raise Invalid(str(msgspec.json.decode(body, type=dict[str, str]).get("error", "conflict")))
    raise Invalid("device_record")
