"""PROXY protocol, version 2: who connected, said once in front of the bytes that are passed on.

Purpose: a front (HAProxy) tells the relay, and the relay tells the box, from which address a patient comes, so that
the box can limit what one address may hold. The byte offsets are in docs/formats/tunnel.md.

Rules it keeps: TCP over IPv4 or IPv6, or LOCAL (nobody: a probe, a health check); at most MAX_HEADER_BYTES; what
follows the addresses (TLVs) is skipped and never passed on; all else is Invalid.
Source: "The PROXY protocol", versions 1 and 2, HAProxy Technologies, section 2.2.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from appliance.core.errors import Invalid

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIXED_BYTES = len(SIGNATURE) + 4
MAX_HEADER_BYTES = FIXED_BYTES + 512
VERSION_LOCAL, VERSION_PROXY = 0x20, 0x21
TCP_OVER_IPV4, TCP_OVER_IPV6 = 0x11, 0x21
ADDRESS_BYTES = {TCP_OVER_IPV4: 4, TCP_OVER_IPV6: 16}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who connected: address and port; None for LOCAL. The address it came to is not kept."""

    source: tuple[Address, int] | None
    #: How many bytes the header took.
    length: int


def encode_proxy_header(source: tuple[str, int] | None) -> bytes:
    """Give the header for a source address; the destination is the unspecified one. None: LOCAL."""
    if source is None:
        return SIGNATURE + bytes([VERSION_LOCAL, 0, 0, 0])
    address = ipaddress.ip_address(source[0].split("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    family = TCP_OVER_IPV4 if address.version == 4 else TCP_OVER_IPV6
    body = address.packed + bytes(ADDRESS_BYTES[family]) + source[1].to_bytes(2, "big") + bytes(2)
    return SIGNATURE + bytes([VERSION_PROXY, family]) + len(body).to_bytes(2, "big") + body


def decode_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the start of `data`; None for more bytes. Invalid as soon as it cannot be one."""
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise Invalid("proxy_header")
    if len(data) < FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    length = FIXED_BYTES + int.from_bytes(data[14:16], "big")
    if command not in (VERSION_LOCAL, VERSION_PROXY) or length > MAX_HEADER_BYTES:
        raise Invalid("proxy_header")
    if command == VERSION_PROXY and family not in ADDRESS_BYTES:
        raise Invalid("proxy_header")
    if len(data) < length:
        return None
    if command == VERSION_LOCAL:
        return ProxyHeader(None, length)
    size = ADDRESS_BYTES[family]
    if length < FIXED_BYTES + 2 * size + 4:
        raise Invalid("proxy_header")
    source = ipaddress.ip_address(data[FIXED_BYTES : FIXED_BYTES + size])
    port = int.from_bytes(data[FIXED_BYTES + 2 * size : FIXED_BYTES + 2 * size + 2], "big")
    return ProxyHeader((source, port), length)
