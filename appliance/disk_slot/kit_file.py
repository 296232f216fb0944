"""Reads what vault published of the kit. vault is a stranger here: its folder, file and bytes may be anything."""

from __future__ import annotations

import os
import stat

from appliance.core.errors import Invalid, NotFound
from appliance.formats.kit_public import LAYOUT, KitPublic, decode_kit_public


def read_kit(path: str) -> KitPublic:
    """Give the kit in use; NotFound("no_kit"), Invalid("kit_public") for anything but a good plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound("no_kit") from error
    except OSError as error:  # a link (open(2), O_NOFOLLOW), a socket
        raise Invalid("kit_public") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Invalid("kit_public")
        return decode_kit_public(os.read(descriptor, LAYOUT.size + 1))
    finally:
        os.close(descriptor)
