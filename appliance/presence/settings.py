"""presence's settings (/etc/praxissafe/presence.toml)."""

from __future__ import annotations

from appliance.core.settings import Settings


class PresenceSettings(Settings, frozen=True, kw_only=True):
    """Where the box's buttons are: input devices of the kernel (evdev)."""

    buttons: tuple[str, ...] = ("/dev/input/praxissafe-button",)
