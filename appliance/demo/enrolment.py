"""The technician's part of the demo: the station's own command, as on the bench.

The demo imports nothing of the vendor's side; it runs `python -m provisioning.station` and reads the sheet. Raises
Unavailable("enrolment") if the station says no; what it says goes to the demo's standard error.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.core.errors import Unavailable
from appliance.demo.console import Console
from appliance.demo.places import PORTAL_NAME, REPOSITORY, Places, Ports

SERIAL = "DEMO-0001"
PAGE_HOST, LAN_HOST = "praxis-{box}.localhost", "praxis-{box}-lan.localhost"
ASK_AGAIN_S = 0.1


class Sheet(msgspec.Struct):
    """What the demo reads of the handover sheet."""

    box: str
    claim_code: str


def station_key(folder: Path) -> str:
    """Give the public half of the station's key as the portal lists it, made at the first start."""
    path = folder / "station.key"
    if not path.exists():
        command = [sys.executable, "-m", "provisioning.station", "new-key", "--key", str(path)]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)  # noqa: S603 (our own words)
    seed = base64.b64decode(path.read_bytes())
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(public).decode().rstrip("=")


async def enrol(places: Places, ports: Ports) -> Console:
    """Run the station until it has enrolled the box, and give what the sheet says."""
    portal_ca = places.world / "portal/portal-ca.pem"
    while not (portal_ca.exists() and await _answers(ports.portal) and await _answers(ports.enrol)):
        await asyncio.sleep(ASK_AGAIN_S)
    sheet_file = places.station / "sheet.json"
    command = [
        *(sys.executable, "-m", "provisioning.station", "enrol"),
        *("--enrol", f"127.0.0.1:{ports.enrol}", "--portal", f"127.0.0.1:{ports.portal}"),
        *("--portal-name", PORTAL_NAME, "--portal-ca", str(portal_ca), "--key", str(places.station / "station.key")),
        *("--page-host", PAGE_HOST, "--page-port", str(ports.portal)),
        *("--lan-host", LAN_HOST, "--lan-port", str(ports.practice)),
        *("--serial", SERIAL, "--sheet", str(sheet_file)),
    ]
    station = await asyncio.create_subprocess_exec(
        *command, cwd=REPOSITORY, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await station.communicate()
    finally:
        if station.returncode is None:
            station.kill()
            await station.wait()
    if station.returncode:
        sys.stderr.buffer.write(said)
        raise Unavailable("enrolment")
    sheet = msgspec.json.decode(sheet_file.read_bytes(), type=Sheet)
    short = sheet.box[:8]
    return Console(
        box=sheet.box,
        page_host=PAGE_HOST.format(box=short),
        lan_host=LAN_HOST.format(box=short),
        claim_code=sheet.claim_code,
    )


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
