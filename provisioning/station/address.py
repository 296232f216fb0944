"""Addresses as a technician types them, and how to reach them."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from appliance.core.errors import Invalid

LOOPBACK_NAME = ".localhost"


def split_address(address: str) -> tuple[str, int]:
    """Give host and port of `host:port` or `[IPv6]:port`, with or without https://; Invalid("address") otherwise.

    A name under `.localhost` is the loopback address (RFC 6761 6.3), which not every resolver knows.
    """
    host, _, port = address.removeprefix("https://").rstrip("/").rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
    if not bare or not is_port or (":" in bare) != host.startswith("["):
        raise Invalid("address")
    return ("127.0.0.1" if f".{bare}".endswith(LOOPBACK_NAME) else bare), int(port)


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
