"""The portal's address as vault gives it (host:port), and the TLS that is good enough for it."""

from __future__ import annotations

import dataclasses
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from appliance.contracts.vault import Box
from appliance.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class PortalAddress:
    """Where to dial, whom to expect there, and the PEM of the only authority that may sign for it."""

    host: str
    port: int
    name: str
    authority: str

    @classmethod
    def of(cls, box: Box) -> PortalAddress:
        """Read it from vault's description; Invalid("portal_address") when it is none."""
        host, port = split_address(box.portal_address, "portal_address")
        return cls(host, port, box.portal_name, box.portal_ca)

    def at(self, relay: str) -> PortalAddress:
        """Give the same portal at a relay's host:port: same name, same authority. Invalid("relay_address")."""
        host, port = split_address(relay, "relay_address")
        return dataclasses.replace(self, host=host, port=port)

    def url(self, path: str) -> str:
        """Give the URL of a path; TLS always."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{path}"

    @property
    def address(self) -> str:
        """host:port."""
        return self.url("").removeprefix("https://")

    def context(self) -> ssl.SSLContext:
        """Give the client context: TLS 1.3, this authority only, the name checked. Invalid("portal_ca")."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=self.authority)
        except (ssl.SSLError, ValueError) as error:
            raise Invalid("portal_ca") from error
        return context


def split_address(address: str, code: str) -> tuple[str, int]:
    """Split host:port; Invalid(code) for anything else, and for what an URL could smuggle in."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Invalid(code) from error
    if (
        not host
        or not port
        or parts.netloc != address
        or "@" in address
        or not address.isprintable()
        or " " in address
    ):
        raise Invalid(code)
    return host, port
