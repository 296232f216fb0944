"""The demo's technician: runs the station's own command against the box, as it is done on the bench.

The station's key is made at the first start and kept; the portal of this demo lists that key and no other.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from appliance.core.errors import Unavailable
from appliance.demo.console import Console
from appliance.demo.places import PORTAL_NAME, REPOSITORY, Places, Ports

PAGE_HOST = "praxis-{box}.localhost"
LAN_HOST = "praxis-{box}-lan.localhost"
SERIAL = "DEMO-0001"
ASK_AGAIN_S = 0.2
#: The station's exit statuses after which somebody has to decide (provisioning/station).
DECIDED = (4, 5)


class Sheet(msgspec.Struct):
    """What the demo reads off the handover sheet."""

    box: str
    claim_code: str
    practice_url: str
    patient_host: str


def station_key(station: Path) -> str:
    """Give the public half of the station's key as the portal's settings spell it; made if there is none."""
    public = station / "station.public"
    if not public.exists():
        (station / "station.key").unlink(missing_ok=True)  # made by a start that ended before it was written down
        made = subprocess.run(  # noqa: S603 (our own program and folder)
            [*_station(), "new-key", "--key", str(station / "station.key")],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise Unavailable("enrolment")
        public.write_text(made.stdout)
    return public.read_text().strip()


async def enrol(places: Places, ports: Ports) -> Console:
    """Enrol the box and give what the handover sheet says.

    The command is given again until box and portal are there to answer; the caller bounds the time. What it said
    last is in `run/station.log`. Unavailable("enrolment") where asking again would not help: box, portal or station
    refused, or a certificate is another one.
    """
    portal_ca = places.world / "portal/portal-ca.pem"
    words = [
        *_station(),
        "enrol",
        f"--enrol=127.0.0.1:{ports.enrol}",
        f"--portal=127.0.0.1:{ports.portal}",
        f"--portal-name={PORTAL_NAME}",
        f"--portal-ca={portal_ca}",
        f"--key={places.station / 'station.key'}",
        f"--page-host={PAGE_HOST}",
        f"--page-port={ports.portal}",
        f"--lan-host={LAN_HOST}",
        f"--lan-port={ports.practice}",
        f"--serial={SERIAL}",
        f"--folder={places.station}",
        "--paper=none",
        "--json",
    ]
    while True:
        if portal_ca.exists() and await _answers(ports.portal) and await _answers(ports.enrol):
            with (places.run / "station.log").open("wb") as log:
                station = await asyncio.create_subprocess_exec(
                    *words, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
                )
            status = await station.wait()
            if status == 0:
                break
            if status in DECIDED:
                raise Unavailable("enrolment")
        await asyncio.sleep(ASK_AGAIN_S)
    return read_sheet(places, ports)


def read_sheet(places: Places, ports: Ports) -> Console:
    """Give what the sheet in the station's folder says; Unavailable("enrolment") if there is none."""
    try:
        sheet = msgspec.json.decode((places.station / SERIAL / "sheet.json").read_bytes(), type=Sheet)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise Unavailable("enrolment") from error
    return Console(
        box=sheet.box,
        page_host=sheet.patient_host,
        lan_host=urlsplit(sheet.practice_url).hostname or "",
        claim_code=sheet.claim_code,
        port_base=ports.base,
    )


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _station() -> list[str]:
    return [sys.executable, "-m", "provisioning.station"]
