"""The front's settings: one TOML file; unknown keys are refused. No secret stands in it.

They become words of haproxy.cfg, so each is of a form that can hold no space and no second word.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from appliance.core.errors import Invalid
from appliance.formats.client_hello import check_host_name
from provisioning.portal.relays import check_relays, split_address

MAX_SETTINGS_BYTES = 64 * 1024
PathText = Annotated[str, msgspec.Meta(pattern=r"^/[A-Za-z0-9._/-]+\Z", max_length=100)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=3600)]


class FrontSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the front is told; the first six mean what they mean in a relay's settings."""

    portal_name: str
    station_keys: tuple[str, ...] = ()
    accepted_file: str
    accepted_key: str
    relays: tuple[str, ...]
    relay_fronts: dict[str, str]
    leases: str | None = None
    #: Where patients come, and boxes for the portal's own name: address:port.
    listen: str
    #: Where haproxy.cfg, boxes.map and the last good file of accepted boxes are kept.
    folder: PathText
    #: HAProxy's runtime API, by which the map changes without a reload.
    runtime_socket: PathText
    #: Where the portal that registers takes a front's connections.
    registrar: str | None = None
    #: PEM file (certificate, then key) with which the portal's name ends at the relays' public ports here.
    end_tls: PathText | None = None
    #: The user and group that HAProxy goes on as once it has read its files; none: it stays who started it.
    run_as: Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_-]*\Z", max_length=32)] | None = None
    max_connections: Annotated[int, msgspec.Meta(ge=100, le=1_000_000)] = 40_000
    hello_timeout_s: Seconds = 10
    idle_timeout_s: Seconds = 330

    @property
    def boxes_map(self) -> Path:
        """The file that HAProxy reads at start; by its path the runtime API knows the map."""
        return Path(self.folder) / "boxes.map"


def read_front_settings(path: Path) -> FrontSettings:
    """Read the file at `path`. Raises Invalid for anything missing, malformed or unknown."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SETTINGS_BYTES + 1)
        if len(raw) > MAX_SETTINGS_BYTES:
            raise Invalid("settings")
        settings = msgspec.convert(tomllib.loads(raw.decode()), FrontSettings)
    except (OSError, ValueError) as error:  # msgspec's and tomllib's are ValueErrors
        raise Invalid("settings") from error
    check_host_name(settings.portal_name)
    check_relays(settings.relays, settings.relay_fronts)
    if not settings.relays or set(settings.relay_fronts) != set(settings.relays):
        raise Invalid("settings")
    split_address(settings.listen)
    if settings.registrar is not None:
        split_address(settings.registrar)
    return settings
