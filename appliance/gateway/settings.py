"""gateway's settings (/etc/praxissafe/gateway.toml); host and port come from vault, not from here."""

from __future__ import annotations

from appliance.core.settings import Settings


class GatewaySettings(Settings, frozen=True):
    """Every key has a default; a box normally has no such file. docs/formats/gateway-http.md names the limits."""

    spool: str = "/var/lib/praxissafe/records/spool"
    state: str = "/var/lib/praxissafe/gateway"
    certificate_request: str = "/run/praxissafe-page/request/page.csr"
    certificate: str = "/run/praxissafe-page/certificate/page.pem"

    max_connections: int = 256
    #: Of one IPv4 address or one IPv6 /64: a clinic's or a mobile network's patients share one.
    max_connections_per_address: int = 64
    #: For the first bytes, and then for the TLS handshake.
    handshake_timeout_s: float = 15.0
    #: From the start of a connection, and from each answer, to the next whole request.
    idle_timeout_s: float = 30.0
    #: How long a patient may take nothing of a document before the connection ends; it can be resumed.
    stall_timeout_s: float = 60.0
    vault_timeout_s: float = 20.0
    #: How long vault may be away before this process ends, so that systemd gives it new sockets.
    peer_patience_s: float = 15.0
