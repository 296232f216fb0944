"""The portal's settings: one TOML file, read once; unknown keys are refused. No secret stands in it."""

from __future__ import annotations

import base64
import binascii
import tomllib
from pathlib import Path

import msgspec

from appliance.core.errors import Invalid
from appliance.formats.client_hello import check_host_name
from provisioning.portal.makers import Makers

MAX_SETTINGS_BYTES = 64 * 1024
STATION_KEY_BYTES = 32
PCR_BYTES = 32


class PortalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a portal is told at start; every limit a peer can meet is named here."""

    portal_name: str
    state_folder: str
    listen_address: str = "127.0.0.1"
    listen_port: int = 443
    #: base64url of the Ed25519 keys whose device records count; a key taken out takes its boxes out.
    station_keys: tuple[str, ...] = ()
    #: PEM file of the makers whose TPMs count (makers.py).
    tpm_makers: str
    #: PCR 11 of the releases that may be registered, as hexadecimal digits; none means every measured boot.
    boot_images: tuple[str, ...] = ()
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    max_connections: int = 4096
    max_unproved: int = 256
    max_connections_per_box: int = 256
    spare_connections: int = 4
    spare_lifetime_s: float = 240.0

    @property
    def stations(self) -> frozenset[bytes]:
        """The station keys as bytes."""
        return frozenset(map(_station_key, self.station_keys))

    @property
    def images(self) -> frozenset[bytes]:
        """The values of PCR 11 as bytes."""
        return frozenset(map(_digest, self.boot_images))


def read_portal_settings(path: Path) -> PortalSettings:
    """Read the file at `path`. Raises Invalid for anything missing, malformed or unknown: "settings" or
    "tpm_makers"."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SETTINGS_BYTES + 1)
        if len(raw) > MAX_SETTINGS_BYTES:
            raise Invalid("settings")
        settings = msgspec.convert(tomllib.loads(raw.decode()), PortalSettings)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise Invalid("settings") from error
    check_host_name(settings.portal_name)
    limits = (settings.max_connections, settings.max_unproved, settings.max_connections_per_box)
    times = (settings.handshake_timeout_s, settings.idle_timeout_s, settings.spare_lifetime_s)
    if min(limits) < 1 or min(times) <= 0 or settings.spare_connections < 0:
        raise Invalid("settings")
    for text in settings.station_keys:
        _station_key(text)
    for text in settings.boot_images:
        _digest(text)
    Makers.read(Path(settings.tpm_makers))
    return settings


def _digest(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise Invalid("settings") from error
    if len(value) != PCR_BYTES:
        raise Invalid("settings")
    return value


def _station_key(text: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as error:
        raise Invalid("settings") from error
    if len(key) != STATION_KEY_BYTES:
        raise Invalid("settings")
    return key
