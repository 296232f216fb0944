"""The station's settings: one TOML file with what is the same for every box; unknown entries are refused.

What is typed on the command line counts more. Paths in the file start from its own folder. No secret stands in it:
`key` names the file with the station's key.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from appliance.core.errors import Invalid

MAX_SETTINGS_BYTES = 64 * 1024
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Paper = Literal["de", "en", "both", "none"]
PATHS = ("folder", "key", "portal_ca")


class StationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a station is told; None for what the command line has to say."""

    folder: str | None = None
    key: str | None = None
    portal: str | None = None
    portal_name: str | None = None
    portal_ca: str | None = None
    page_host: str | None = None
    page_port: Port | None = None
    lan_host: str | None = None
    lan_port: Port | None = None
    paper: Paper | None = None


def read_station_settings(path: Path) -> dict[str, str | int]:
    """Give the entries of the file; Invalid("settings") for a file that is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SETTINGS_BYTES)
        settings = msgspec.convert(tomllib.loads(raw.decode()), StationSettings)
    except (OSError, ValueError) as error:  # msgspec and tomllib raise ValueErrors
        raise Invalid("settings") from error
    given = {name: value for name, value in msgspec.structs.asdict(settings).items() if value is not None}
    return given | {name: str(path.parent / str(given[name])) for name in PATHS if name in given}
