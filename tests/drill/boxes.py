"""What the drill does at the two boxes as staff, technician and misfortune: by the practice's pages, and by the station."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

from appliance.demo.browser import Browser
from appliance.demo.enrolment import SERIAL
from appliance.demo.processes import inside
from appliance.practice.visit import COOKIE
from tests.simulators.demo_box import ROOT, DemoBox
from tests.simulators.kit_paper import words_on
from tests.simulators.staff import Staff

NAME, PASSWORD, DISK = "Sabine Keller", "ein kurzer Satz merkt sich", "usb"
#: Everything of a box but the portal that stands beside it in the demo.
PROCESSES = ("practice", "gateway", "tunnel", "backup", "records", "vault", "audit")


async def claim(box: DemoBox, browser: Browser) -> Staff:
    page = await browser.open(urljoin(box.practice_url, "/claim"))
    fill = {"code": box.claim_code, "practice_name": "Praxis am Lindenplatz", "telephone": "030 5550", "name": NAME}
    page = await browser.send(page.form("code"), {**fill, "password": PASSWORD, "password_again": PASSWORD})
    return Staff(browser, box.practice_url)


def session_of(staff: Staff) -> str:
    """Give the session's token as the browser holds it."""
    return next(cookie.value for cookie in staff.browser._session.cookie_jar if cookie.key == COOKIE)


async def make_kit(staff: Staff) -> list[list[str]]:
    """Make a recovery kit; give the words of its three sheets as they stand on the paper."""
    page = await staff.open("/kit")
    page = await staff.browser.send(page.form_to("/kit/new"), {"password": PASSWORD})
    kit = re.findall(r"/kit/([0-9a-f]{32})/print", page.url)[0]
    papers = []
    for _ in range(3):
        url = urljoin(staff.url, f"/kit/{kit}/sheet.pdf?language=de")
        async with staff.browser._session.get(url, ssl=staff.browser._trust) as answer:
            papers.append(words_on(await answer.read()))
        typed = {"word_7": papers[-1][6], "word_16": papers[-1][15]}
        page = await staff.browser.send(page.form("word_7", "word_16"), typed)
    assert page.url.endswith("done=kit_made"), page.text
    return papers


def put_disk(box: DemoBox) -> Path:
    """Plug an empty disk into the box, formatted so that backup may write on it."""
    disk = box.state / "disks" / DISK
    disk.mkdir(parents=True)
    subprocess.run([*inside(box.state), "chown", "praxis-backup:", f"/run/praxissafe-disks/{DISK}"], check=True)
    return disk


def repository_on(disk: Path) -> Path:
    """Give the folder that the repository lies in (appliance/backup/store.py)."""
    return disk / "praxissafe"


def move_disk(old: DemoBox, new: DemoBox) -> Path:
    """Carry the disk from one box to the other."""
    there = new.state / "disks" / DISK
    there.parent.mkdir(exist_ok=True)
    shutil.move(old.state / "disks" / DISK, there)
    return there


def end_processes(box: DemoBox) -> None:
    """The box dies: nothing of it answers any more; its portal, which stands elsewhere, does."""
    units = [f"praxis-{name}.{kind}" for name in PROCESSES for kind in ("socket", "service")]
    subprocess.run([*inside(box.state), "systemctl", "stop", *units, "praxis-practice-lan.socket"], check=True)


def revoke_at_portal(box: DemoBox) -> None:
    """The vendor's technician takes the dead box out of the portal."""
    station = box.state / "station"
    portal_ca = box.state / "world/portal/portal-ca.pem"
    command = [sys.executable, "-m", "provisioning.station", "revoke", SERIAL, f"--folder={station}"]
    subprocess.run([*command, f"--key={station / 'station.key'}", f"--portal-ca={portal_ca}"], cwd=ROOT, check=True)
