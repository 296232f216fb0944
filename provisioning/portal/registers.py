"""Where a portal's boxes come from: a register of its own that stations fill, or the signed file of another portal.

The first kind answers stations (POST /devices, /proofs, /revocations); the second looks once a second whether there
is a newer file and hangs up on boxes that are none any more. What is relayed at that moment goes on to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.formats.revocation import Revocation
from provisioning.portal.accepted_boxes import AcceptedBoxes
from provisioning.portal.boxes import Boxes
from provisioning.portal.counts import Counts
from provisioning.portal.known_boxes import Register
from provisioning.portal.makers import Makers
from provisioning.portal.registration import Registration
from provisioning.portal.registry import Registry
from provisioning.portal.settings import PortalSettings

LOOK_INTERVAL_S = 1.0


def open_register(settings: PortalSettings) -> Register:
    """Give the register that the settings name, read."""
    state = Path(settings.state_folder)
    if settings.accepted_file is None:
        return Registry(state / "registry", settings.portal_name, settings.stations)
    accepted = AcceptedBoxes(
        Path(settings.accepted_file), state, settings.accepted_by, settings.portal_name, settings.stations
    )
    accepted.refresh(int(time.time()))
    return accepted


def station_side(
    settings: PortalSettings, register: Register, boxes: Boxes, counts: Counts
) -> tuple[Registration, Callable[[Revocation], None]] | None:
    """Give what takes boxes in and what takes them out; None on a relay that does neither."""
    if not isinstance(register, Registry):
        return None

    def revoke(revocation: Revocation) -> None:
        gone = register.revoke(revocation)
        counts.devices_revoked += 1
        hang_up(boxes, [gone])

    makers = Makers.read(Path(settings.tpm_makers))
    return Registration(register, makers, settings.portal_name, settings.images, counts, time.time), revoke


def hang_up(boxes: Boxes, gone: Sequence[bytes]) -> None:
    """End the log-ins of these boxes."""
    for box in gone:
        login = boxes.get(box)
        if login is not None:
            boxes.logout(login)


async def follow_file(register: Register, boxes: Boxes, counts: Counts) -> None:
    """Keep a relay's boxes in step with the file until cancelled; nothing to do for a register of its own."""
    if not isinstance(register, AcceptedBoxes):
        return
    while True:
        hang_up(boxes, await asyncio.to_thread(register.refresh, int(time.time())))  # 0.2 s at 10,000 boxes
        counts.accepted_number = register.number
        counts.accepted_expired = int(register.expired)
        counts.accepted_refused = register.refused
        await asyncio.sleep(LOOK_INTERVAL_S)


async def keep_leases(settings: PortalSettings, boxes: Boxes, counts: Counts) -> None:
    """Say in Redis which boxes are here, until cancelled; nothing to do where the settings name none."""
    if settings.leases is None or settings.this_relay is None:
        return
    from provisioning.portal.leases import Leases  # redis only where it is used

    leases = Leases(settings.leases)

    def held() -> frozenset[bytes]:
        counts.lease_failures = leases.failures
        return frozenset(login.box for login in boxes.all())

    try:
        await leases.keep(settings.this_relay, held)
    finally:
        await leases.give_up(settings.this_relay)
        await leases.close()
