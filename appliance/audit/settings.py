"""Settings of audit."""

from __future__ import annotations

from appliance.core.settings import Settings


class AuditSettings(Settings, frozen=True):
    """Where the log is."""

    state_folder: str = "/var/lib/praxissafe/audit"
