"""Walk 2: a patient opens a link through the portal, and nothing else."""

import ssl

import aiohttp
import pytest

from appliance.formats.share_link import format_link
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient
from tests.simulators.staff import Staff, other_pin

CONTENT = {"a.txt": b"A" * 10, "b.txt": b"B" * 300_000, "c.txt": b"C" * 3_000_000}


async def test_the_holder_of_link_and_pin_gets_every_document_byte_for_byte(box: DemoBox, staff: Staff):
    patient = await staff.create_patient("Linkeins")
    for name, content in CONTENT.items():
        await staff.upload(patient, content, name=name)
    link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        assert await holder.open(pin) == CONTENT


async def test_a_link_without_its_pin_opens_nothing_and_says_how_many_tries_are_left(box: DemoBox, staff: Staff):
    patient = await staff.create_patient("Linkzwei")
    await staff.upload(patient, b"geheim")
    link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        for left in (4, 3, 2, 1):
            answer = (await holder.offer(other_pin(pin))).json()
            assert (answer["state"], answer["tries_left"]) == ("open", left)
            assert "r" not in answer
        assert (await holder.open(pin)) == {"befund.txt": b"geheim"}, "a right PIN after wrong ones opens"
        assert (await holder.state()).json()["tries_left"] == 1, "and gives no earlier try back"
        assert (await holder.offer(other_pin(pin))).json()["state"] == "closed"
        answer = (await holder.offer(pin)).json()
        assert answer["state"] == "closed"
        assert answer["telephone"]
        assert "r" not in answer


async def test_a_revoked_link_says_so_to_its_holder_and_delivers_no_byte(box: DemoBox, staff: Staff):
    patient = await staff.create_patient("Linkdrei")
    await staff.upload(patient, b"geheim")
    link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        files = [document.file for document, _ in await holder.open_documents(pin)]
        assert (await holder.sealed(files[0])).status == 200
        await staff.revoke(patient)
        assert (await holder.state()).json()["state"] == "revoked"
        assert "r" not in (await holder.offer(pin)).json()
        assert (await holder.manifest()).status == 404
        assert (await holder.sealed(files[0])).status == 404


async def test_a_broken_transfer_resumes_where_it_broke(box: DemoBox, staff: Staff):
    patient = await staff.create_patient("Linkvier")
    await staff.upload(patient, b"R" * 500_000)
    link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        ((document, _),) = await holder.open_documents(pin)
        whole = (await holder.sealed(document.file)).body
        rest = await holder.sealed(document.file, Range="bytes=200000-")
        assert rest.status == 206
        assert whole[200_000:] == rest.body


async def test_the_opening_stands_in_the_history(box: DemoBox, staff: Staff):
    patient = await staff.create_patient("Linkfünf")
    await staff.upload(patient, b"geheim")
    link, pin = await staff.share(patient)
    before = await staff.open(f"/history?patient={patient.rsplit('/', 1)[1]}")
    async with Patient(link, box.portal_ca) as holder:
        await holder.offer(pin)
    after = await staff.open(f"/history?patient={patient.rsplit('/', 1)[1]}")
    assert after.text.count("<tr") == before.text.count("<tr") + 1


async def test_the_patient_s_tls_ends_in_the_box(box: DemoBox):
    """The certificate a patient sees is for the key in the box's own state, and the portal has no such key."""
    page_key = (box.state / "box/gateway").iterdir()
    assert any(path.suffix in {".key", ".pem"} for path in page_key)
    portal = box.state / "world/portal"
    names = sorted(path.name for path in portal.rglob("*") if path.is_file())
    assert not [name for name in names if box.said["page_host"] in name]


async def test_a_client_that_does_not_trust_the_page_s_authority_gets_no_page(box: DemoBox):
    link = format_link(box.patient_link.removeprefix("https://").split("/")[0], bytes(32))
    async with Patient(link, box.practice_ca) as stranger:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as refused:
            await stranger.ask("GET", "/")
        assert isinstance(refused.value.certificate_error, ssl.SSLCertVerificationError)
