"""The portal's settings: one TOML file, read once; unknown keys are refused. No secret stands in it."""

from __future__ import annotations

import ipaddress
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
MAX_PORT = 65_535
LEASES_SCHEMES = ("redis://", "rediss://", "unix://")


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
    #: A second listener, for a front that says PROXY v2 on every connection and may end the TLS of the portal's
    #: name; nothing else may reach it. No port: none. `front_certificate`: PEM of the certificate that front shows.
    front_listen_address: str = "127.0.0.1"
    front_listen_port: int | None = None
    front_certificate: str = ""
    #: Loopback "address:port" that answers GET /metrics; none if empty.
    metrics_listen: str = ""
    #: How long a connection may take to say what it is.
    handshake_timeout_s: float = 10.0
    #: A relay in which no byte moves for this long is ended.
    idle_timeout_s: float = 300.0
    #: Connections that are relayed or have not said yet what they are.
    max_connections: int = 4096
    #: Of these, and of those to the portal's own name, from one line (limits.py).
    max_connections_per_address: int = 512
    #: TLS handshakes with the portal's own name per second, from one line; four seconds' worth at once.
    max_handshakes_per_s_per_address: float = 128.0
    #: Control connections upgraded per second; others are told when to come again.
    max_logins_per_s: float = 200.0
    #: Control connections that have not proved a box yet.
    max_unproved: int = 256
    max_connections_per_box: int = 256
    #: After SIGTERM, relays may go on for this long.
    drain_limit_s: float = 3600.0
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
    limits = (settings.max_connections, settings.max_connections_per_address, settings.max_unproved)
    rates = (settings.max_handshakes_per_s_per_address, settings.max_logins_per_s, settings.max_connections_per_box)
    times = (settings.handshake_timeout_s, settings.idle_timeout_s, settings.spare_lifetime_s)
    if min(*limits, *rates) < 1 or min(times) <= 0 or min(settings.spare_connections, settings.drain_limit_s) < 0:
        raise Invalid("settings")
    if settings.metrics_listen:
        loopback_of(settings.metrics_listen)
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
    if settings.leases is not None and (
        settings.this_relay is None or not settings.leases.startswith(LEASES_SCHEMES)
    ):
        raise Invalid("settings")


def loopback_of(listen: str) -> tuple[str, int]:
    """Give address and port of a loopback "address:port" ("[::1]:9100" for IPv6). Raises Invalid."""
    address, _, port = listen.rpartition(":")
    address = address.strip("[]")
    try:
        if ipaddress.ip_address(address).is_loopback and 0 <= int(port) <= MAX_PORT:
            return address, int(port)
    except ValueError:
        pass
    raise Invalid("settings")


def _digest(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise Invalid("settings") from error
    if len(value) != PCR_BYTES:
        raise Invalid("settings")
    return value
