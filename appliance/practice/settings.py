"""practice's settings (/etc/praxissafe/practice.toml); host and port come from vault, not from here."""

from __future__ import annotations

from pathlib import Path

from appliance.core.settings import Settings


class PracticeSettings(Settings, frozen=True):
    """Every key has a default; a box normally has no such file."""

    state: Path = Path("/var/lib/praxissafe/practice")
    #: os-release(5) of the image, for the status page.
    release: Path = Path("/usr/lib/os-release")

    max_connections: int = 256
    #: From an answer to the next request on the same connection.
    idle_timeout_s: float = 75.0
    #: How long a browser may send or take nothing of a document.
    stall_timeout_s: float = 60.0
    max_uploads: int = 8
    #: How long vault or records may be away before this process ends, so that systemd gives it new sockets.
    peer_patience_s: float = 15.0
