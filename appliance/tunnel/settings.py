"""tunnel's settings (/etc/praxissafe/tunnel.toml); where the portal is comes from vault, not from here."""

from __future__ import annotations

from appliance.core.settings import Settings


class TunnelSettings(Settings, frozen=True, kw_only=True):
    """Every key has a default; a box normally has no such file."""

    backoff_first_s: float = 1.0
    backoff_cap_s: float = 60.0
    dial_timeout_s: float = 10.0
    #: How long vault or gateway may be away before this process ends, so that systemd gives it new sockets.
    peer_patience_s: float = 10.0
    max_connections: int = 256
    #: The portal renews a spare after 4 minutes; this is for a portal that forgot it.
    spare_limit_s: float = 300.0
    #: How long a patient may stall before the kernel ends the connection.
    stall_timeout_s: float = 300.0
