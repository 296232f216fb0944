"""The portal's address as vault gives it (host:port), and the TLS that is good enough for it."""

from __future__ import annotations

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
        try:
            parts = urlsplit(f"//{box.portal_address}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Invalid("portal_address") from error
        if not host or not port or parts.netloc != box.portal_address or "@" in box.portal_address:
            raise Invalid("portal_address")
        return cls(host, port, box.portal_name, box.portal_ca)

    @property
    def control_url(self) -> str:
        """Where the control connection is upgraded; TLS always."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}/control"

    def context(self) -> ssl.SSLContext:
        """Give the client context: TLS 1.3, this authority only, the name checked. Invalid("portal_ca")."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=self.authority)
        except (ssl.SSLError, ValueError) as error:
            raise Invalid("portal_ca") from error
        return context
