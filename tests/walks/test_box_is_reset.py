"""A box is reset from the login page by the printed code and its button, is empty, and is enrolled again."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

from appliance.demo.browser import open_browser
from appliance.demo.enrolment import SERIAL, enrol
from appliance.demo.places import REPOSITORY, Places, Ports
from appliance.demo.processes import host_pids
from tests.attacks.canaries import Canaries, assert_nowhere
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.reset import PATIENCE_S, claimed, journal, open_when_it_answers, reset, until, until_empty

#: What one process puts there has the group of the other (systemd/tmpfiles.d): the set-group-ID bit.
LAID_OUT = {"records/snapshot": "0o2750", "backup/restored": "0o2750"}


async def test_a_box_is_reset_over_its_page_and_enrolled_again(tmp_path: Path):
    with running_box(empty=True) as box:
        canaries = Canaries()
        async with open_browser(box.practice_ca) as browser:
            staff = await claimed(box, browser, box.claim_code, box.practice_url)
            patient = await staff.create_patient(canaries.plant("family"))
            await staff.upload(patient, canaries.plant("text").encode(), name="befund.txt")
        assert "enrolment_closed" in journal(box)
        async with open_browser(box.practice_ca) as browser:
            await reset(box, browser)
        await until_empty(box)
        kept = box.state / "box"
        remains = [str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()]
        assert not [path for path in remains if not path.startswith("audit/")], remains
        assert {"records", "practice", "gateway", "tunnel"}.isdisjoint(host_pids(box.state))
        assert not list((kept / "records/spool").iterdir())
        assert laid_out_anew(kept) == LAID_OUT
        assert_nowhere(canaries.found_in_files([kept, box.state / "journal"])[0])
        assert "enrolment_closed" not in journal(box)
        await enrolled_again(box)


def laid_out_anew(kept: Path) -> dict[str, str]:
    """Give the modes of the folders that two processes share, as the reset's own systemd-tmpfiles made them."""
    return {name: oct(stat.S_IMODE((kept / name).stat().st_mode)) for name in LAID_OUT}


async def enrolled_again(box: DemoBox) -> None:
    """Revoke the old identity, enrol under the same serial, claim: another box, with nothing in it."""
    places, ports = Places(box.state), Ports(box.port_base)
    words = [
        *(sys.executable, "-m", "provisioning.station", "revoke"),
        f"--portal-ca={places.world / 'portal/portal-ca.pem'}",
        f"--key={places.station / 'station.key'}",
        f"--folder={places.station}",
        SERIAL,
    ]
    revoked = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert revoked.returncode == 0, revoked.stderr
    async with asyncio.timeout(PATIENCE_S):
        console = await enrol(places, ports)
    assert console.box != box.said["box"]
    assert console.claim_code != box.claim_code
    await until((box.state / "box/practice/lan-ca.pem").exists, "the practice page's authority is there")
    url = f"https://{console.lan_host}:{ports.practice}/"
    async with open_browser(box.practice_ca) as browser:
        await open_when_it_answers(browser, urljoin(url, "/claim"))
        staff = await claimed(box, browser, console.claim_code, url)
        page = await staff.open("/patients")
        assert page.status == 200
        patient = await staff.create_patient("Sperling")
        await staff.upload(patient, b"neu", name="neu.txt")
        assert len(await staff.documents(patient)) == 1
