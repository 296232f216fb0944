"""Settings: one frozen structure per process, read once at start, checked, and passed down.

Unknown keys are refused. Secrets never stand here; there is no environment variable and no test switch.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from appliance.core.errors import Invalid

MAX_SETTINGS_BYTES = 64 * 1024
SETTINGS_FOLDER = Path("/etc/praxissafe")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of every process's settings."""


SettingsType = TypeVar("SettingsType", bound=Settings)


def read_settings(kind: type[SettingsType], process: str, folder: Path = SETTINGS_FOLDER) -> SettingsType:
    """Read `<folder>/<process>.toml`; a missing file means the defaults.

    Raises Invalid("settings") for unknown keys, wrong types, bad TOML or a file over the cap.
    """
    path = folder / f"{process}.toml"
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SETTINGS_BYTES + 1)
    except FileNotFoundError:
        raw = b""
    if len(raw) > MAX_SETTINGS_BYTES:
        raise Invalid("settings")
    try:
        return msgspec.convert(tomllib.loads(raw.decode()), kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise Invalid("settings") from error
