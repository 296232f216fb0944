"""tunnel's settings (/etc/praxissafe/tunnel.toml); where the portal is comes from vault, not from here."""

from __future__ import annotations

from appliance.core.settings import Settings
from appliance.formats.tunnel_control import PING_INTERVAL_S


class TunnelSettings(Settings, frozen=True, kw_only=True):
    """Every key has a default; a box normally has no such file."""

    state: str = "/var/lib/praxissafe/tunnel"
    backoff_first_s: float = 1.0
    backoff_cap_s: float = 60.0
    dial_timeout_s: float = 10.0
    #: How long the portal may take to answer a probe.
    probe_timeout_s: float = 5.0
    #: After so long a better mode is tried again; from a multiplexed session that never falls idle, so much later.
    retry_better_s: float = 86_400.0
    retry_at_latest_s: float = 3600.0
    #: The list of relays is read again daily, and after a lost connection, but then not more often than this.
    relays_daily_s: float = 86_400.0
    relays_pause_s: float = 60.0
    ping_interval_s: float = PING_INTERVAL_S
    #: TCP gives a connection up after so long without an answer (TCP_USER_TIMEOUT, tcp(7)).
    dead_after_s: float = 20.0
    #: How long vault or gateway may be away before this process ends, so that systemd gives it new sockets.
    peer_patience_s: float = 10.0
    max_connections: int = 256
    #: The portal renews a spare after 4 minutes; this is for a portal that forgot it.
    spare_limit_s: float = 300.0
    #: How long a patient may stall before the connection is ended.
    stall_timeout_s: float = 300.0
