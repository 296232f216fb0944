"""Walk 1: a document enters from the practice LAN, through the box as it runs."""

from urllib.parse import urlsplit

import pytest

from tests.simulators.staff import Staff

DOCUMENTS = {
    "befund.pdf": ("application/pdf", b"%PDF-1.4\n" + bytes(200_000)),
    "bild.png": ("image/png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40),
    "foto.jpg": ("image/jpeg", b"\xff\xd8\xff\xe0" + bytes(70_000)),
    "labor.txt": ("text/plain", b"Kalium 4,1 mmol/l\n" * 5000),
}


async def test_what_staff_upload_comes_back_byte_for_byte(staff: Staff):
    patient = await staff.create_patient("Walkeins")
    for name, (media_type, content) in DOCUMENTS.items():
        await staff.upload(patient, content, name=name, media_type=media_type)
    documents = await staff.documents(patient)
    assert {await staff.download(document) for document in documents} == {one for _, one in DOCUMENTS.values()}


async def test_a_patient_is_found_by_the_beginnings_of_name_and_by_birth_date(staff: Staff):
    await staff.create_patient("Süßmilch-Groß", "Jörg", birth_date="01.02.1950")
    for search in ("text=süss", "text=SUESSMILCH", "text=gross", "text=jörg+süß", "birth_date=01.02.1950"):
        page = await staff.open(f"/patients?{search}")
        assert "Süßmilch-Groß, Jörg" in page.text, search
    assert "Süßmilch" not in (await staff.open("/patients?text=ilch")).text


async def test_a_document_that_is_not_what_it_says_is_refused_and_nothing_is_kept(staff: Staff):
    patient = await staff.create_patient("Walkzwei")
    page = await staff.open(patient)
    with pytest.raises(Exception, match="form"):
        await staff.upload(patient, b"MZ this is a program", name="befund.pdf", media_type="application/pdf")
    page = await staff.open(patient)
    assert "documents" not in [control for form in page.forms for control in form.controls]


async def test_a_second_member_of_staff_joins_by_invitation(staff: Staff, box):
    from appliance.demo.browser import open_browser

    page = await staff.open("/staff")
    page = await staff.browser.send(page.form_to("/staff/invite"), {"name": "Schwester Karin"})
    code = page.by_id["invitation-code"]
    async with open_browser(box.practice_ca) as browser:
        karin = Staff(browser, box.practice_url)
        page = await karin.open("/invitation")
        password = "ein ganz langer Satz 17"
        fill = {"code": code, "password": password, "password_again": password}
        page = await browser.send(page.form("code", "password"), fill)
        assert urlsplit(page.url).path == "/patients"
        assert "Mustermann, Erika" in (await karin.open("/patients?text=Mustermann")).text


async def test_an_erased_patient_is_gone_with_all_documents(staff: Staff):
    patient = await staff.create_patient("Walkdrei")
    await staff.upload(patient, b"geheim " * 1000)
    page = await staff.open(f"{patient}/delete")
    await staff.browser.send(page.form_to("/delete"), {"reason": "no_record"})
    assert (await staff.open(patient)).status == 404
    assert "Walkdrei, Erika" not in (await staff.open("/patients?text=Walkdrei")).text
