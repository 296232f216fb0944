"""Who a box is: the chip that its maker certified. A disk with another chip is no box; a stranger's chip is refused."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tpm2_pytss as tss
from cryptography import x509

from appliance.core.errors import Refused, Unavailable
from appliance.demo.browser import open_browser
from appliance.demo.places import PORTAL_NAME, Places
from appliance.demo.processes import inside
from appliance.demo.tpm_maker import AUTHORITIES
from appliance.formats.endorsement import Endorsement, read_endorsement
from provisioning.portal.makers import Makers
from tests.simulators.demo_box import ROOT, DemoBox, held_ports, running_box
from tests.simulators.software_tpm import software_tpm
from tests.simulators.tpm_maker import HandMaker, manufacture

#: Where swtpm_setup lays the certificate of the RSA endorsement key.
CERTIFICATE_INDEX = 0x01C00002
TUNNEL_UID = "706"
WAIT_S = 90


def test_the_portal_has_registered_the_chip_that_its_maker_certified(box: DemoBox, tmp_path: Path):
    """The certificate is read from a copy of the chip, past box, station and portal."""
    endorsement = certificate_in(box.state / "world/tpm", tmp_path / "chip")
    now = datetime.datetime.now(datetime.UTC)
    Makers(known_to_the_portal(box)).check(endorsement, [], now)
    with pytest.raises(Refused, match="endorsement_certificate"):
        Makers([HandMaker().root]).check(endorsement, [], now)
    (record,) = (json.loads(path.read_text()) for path in (box.state / "world/portal/registry").glob("*.json"))
    assert record["portal_name"] == PORTAL_NAME
    assert base64.urlsafe_b64decode(record["endorsement"] + "=") == endorsement.fingerprint
    said = journal_of(box, "praxis-enrol.service")
    assert [event for event in said if event in ("keys_made", "tpm_proven", "enrolment_closed")] == [
        "keys_made",
        "tpm_proven",
        "enrolment_closed",
    ]


async def test_a_disk_with_another_genuine_chip_is_no_box(tmp_path: Path):
    """Its page says that the data belong to another box, and it cannot prove to the portal who it is."""
    with running_box(empty=True) as box:
        assert "signature" in proof_of_the_device(box)["parameters"]
        mine, other = box.state / "world/mine", box.state / "world/other"
        manufacture(other, box.state / "maker")
        change_chip(box, other, aside=mine)
        await page_that_says(box, 503, "Diese Daten gehören zu einer anderen Box.")
        assert proof_of_the_device(box)["error"].endswith(".Unavailable")
        change_chip(box, mine, aside=other)
        await page_that_says(box, 200, "")
        assert "signature" in proof_of_the_device(box)["parameters"]


def test_a_chip_of_a_maker_that_the_portal_does_not_know_is_not_enrolled(tmp_path: Path):
    """The demo ends and says where the reason stands; nothing is registered, and the box stays open for enrolment."""
    places = Places(tmp_path / "state")
    places.make()
    manufacture(places.world / "tpm", tmp_path / "stranger")
    manufacture(tmp_path / "a chip of the known maker", places.maker)
    with held_ports() as port:
        demo = subprocess.Popen(
            [
                *(sys.executable, "-m", "appliance.demo", "--json", "--empty"),
                *("--state", places.state, "--port-base", str(port)),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "said").open("w"),
            text=True,
        )
        try:
            assert demo.stdout is not None
            assert not demo.stdout.readline(), "the box is enrolled and ready"
            assert demo.wait(60) == 1
        finally:
            demo.terminate()
            demo.wait(60)
    assert "could not enrol the box" in (tmp_path / "said").read_text()
    assert "no certificate from a maker that the portal knows" in (places.run / "station.log").read_text()
    assert not list((places.world / "portal/registry").glob("*.json"))
    assert not (places.box / "vault/provisioned").exists()


def certificate_in(chip: Path, copy: Path) -> Endorsement:
    """Read the endorsement certificate out of a copy of a software TPM."""
    shutil.copytree(chip, copy)
    (copy / ".lock").unlink(missing_ok=True)
    with software_tpm(copy) as tcti, tss.ESAPI(tcti) as esys:
        index = esys.tr_from_tpmpublic(CERTIFICATE_INDEX)
        public, _ = esys.nv_read_public(index)
        size, read = int(public.nvPublic.dataSize), b""
        while len(read) < size:
            read += bytes(esys.nv_read(index, min(512, size - len(read)), len(read), index))
    return read_endorsement(read)


def known_to_the_portal(box: DemoBox) -> list[x509.Certificate]:
    """Give the makers' file as the portal in the container reads it."""
    command = [*inside(box.state), "cat", "/etc/praxissafe/demo-tpm-makers.pem"]
    pem = subprocess.run(command, capture_output=True, check=True).stdout
    assert pem == b"".join((box.state / "maker" / name).read_bytes() for name in AUTHORITIES)
    return x509.load_pem_x509_certificates(pem)


def journal_of(box: DemoBox, unit: str) -> list[str]:
    """Give what a unit said, oldest first."""
    subprocess.run([*inside(box.state), "journalctl", "--sync"], check=True)
    command = [*inside(box.state), "journalctl", f"--unit={unit}", "--output=cat", "--no-pager"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def proof_of_the_device(box: DemoBox) -> dict[str, Any]:
    """Ask vault as the tunnel does, and give its whole reply."""
    some = base64.b64encode(bytes(32)).decode()
    asked = subprocess.run(
        [
            *inside(box.state),
            *("setpriv", f"--reuid={TUNNEL_UID}", "--regid=praxis-local", "--clear-groups", "sh", "-c"),
            'cd /usr/lib/praxissafe && exec .venv/bin/python -m appliance.core.varlink call "$@"',
            *("sh", "/run/praxissafe/vault.sock", "de.praxissafe.Vault.ProveDevice"),
            json.dumps({"nonce": some, "portal_certificate_sha256": some}),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.stdout, asked.stderr
    reply: dict[str, Any] = json.loads(asked.stdout)
    return reply


def change_chip(box: DemoBox, chip: Path, aside: Path) -> None:
    """Power the box down, put `chip` where the other one goes `aside`, and power it up.

    A socket may start either service between; both are started anew at the end.
    """
    units = ("praxis-vault.service", "demo-tpm.service")
    board = box.state / "world/tpm"
    was = board.stat()
    for path in (chip, *chip.iterdir()):
        os.chown(path, was.st_uid, was.st_gid)
    chip.chmod(was.st_mode)
    subprocess.run([*inside(box.state), "systemctl", "stop", *units], check=True, stderr=subprocess.DEVNULL)
    board.rename(aside)
    chip.rename(board)
    subprocess.run([*inside(box.state), "systemctl", "restart", *reversed(units)], check=True)


async def page_that_says(box: DemoBox, status: int, text: str) -> None:
    """Open the practice's start page until it is this one."""
    give_up_at = time.monotonic() + WAIT_S
    async with open_browser(box.practice_ca) as browser:
        while True:
            try:
                page = await browser.open(box.practice_url)
            except Unavailable:
                page = None
            if page is not None and page.status == status and text in page.text:
                return
            assert time.monotonic() < give_up_at, page and page.text
            await asyncio.sleep(0.2)
