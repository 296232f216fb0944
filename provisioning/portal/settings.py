"""The portal's settings: one TOML file, read once; unknown keys are refused. No secret stands in it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from appliance.core.errors import Invalid
from appliance.formats.client_hello import check_host_name
from provisioning.portal.keys import read_key, read_keys
from provisioning.portal.makers import Makers
from provisioning.portal.relays import check_relays

MAX_SETTINGS_BYTES = 64 * 1024
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
    #: The signed file that a relay takes its boxes from, and the key that signs it (base64url); else a register here.
    accepted_file: str | None = None
    accepted_key: str | None = None
    #: What `GET /relays` says: every relay as boxes dial it, host:port.
    relays: tuple[str, ...] = ()
    #: Which of them this one is, and where each of them takes connections from a front.
    this_relay: str | None = None
    relay_fronts: dict[str, str] = {}
    #: Where relays say which boxes they have, redis://host:port/number; none is needed (leases.py).
    leases: str | None = None

    @property
    def stations(self) -> frozenset[bytes]:
        """The station keys as bytes."""
        return read_keys(self.station_keys)

    @property
    def accepted_by(self) -> bytes:
        """The key that signs the file of accepted boxes, as bytes."""
        return read_key(self.accepted_key or "")

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
    read_keys(settings.station_keys)
    for text in settings.boot_images:
        _digest(text)
    Makers.read(Path(settings.tpm_makers))
    _check_deployment(settings)
    return settings


def _check_deployment(settings: PortalSettings) -> None:
    check_relays(settings.relays, settings.relay_fronts)
    if (settings.accepted_file is None) != (settings.accepted_key is None):
        raise Invalid("settings")
    if settings.accepted_key is not None:
        _ = settings.accepted_by
    if settings.this_relay is not None and settings.this_relay not in settings.relays:
        raise Invalid("settings")
    if settings.leases is not None and (settings.this_relay is None or not settings.leases.startswith("redis")):
        raise Invalid("settings")


def _digest(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise Invalid("settings") from error
    if len(value) != PCR_BYTES:
        raise Invalid("settings")
    return value
