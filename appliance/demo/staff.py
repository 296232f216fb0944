"""What the demo does as staff, over the practice's ordinary pages: claim, log in, upload, share.

Every function follows a page's own form; a page that says no ends it with Refused("practice_page").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from appliance.core.errors import Refused
from appliance.demo.browser import Browser, Page, Upload
from appliance.demo.console import Console

SAMPLES = Path(__file__).parent / "samples"
LINK = re.compile(r"https://[a-z0-9.:-]+/#[A-Za-z0-9_-]{44}")
PIN = re.compile(r"[0-9]{6,8}")

PRACTICE = {"practice_name": "Praxis am Lindenplatz", "telephone": "030 5550 1234"}
PATIENT = {"family_name": "Mustermann", "given_name": "Erika", "birth_date": "12.08.1964", "number": "4711"}
#: Further patients without documents, so that a search has something to find.
OTHERS = (
    {"family_name": "Mustermann", "given_name": "Max", "birth_date": "03.02.1961", "number": "4712"},
    {"family_name": "Öztürk", "given_name": "Aylin", "birth_date": "27.11.1988", "number": "4713"},
)


@dataclass(frozen=True)
class Sample:
    """A document to upload."""

    file: str
    media_type: str
    kind: str
    title: str


DOCUMENTS = (
    Sample("befund-echokardiographie.pdf", "application/pdf", "finding", "Befund Echokardiographie"),
    Sample("labor.txt", "text/plain", "lab", "Laborbericht"),
    Sample("ekg-ruhe.png", "image/png", "image", "EKG in Ruhe"),
    Sample("roentgen-thorax.jpg", "image/jpeg", "image", "Röntgen Thorax"),
)


async def claim(browser: Browser, practice_url: str, console: Console) -> None:
    """Claim the box as its first member of staff."""
    page = await browser.open(urljoin(practice_url, "/claim"))
    password = {"password": console.password, "password_again": console.password}
    fill = {"code": console.claim_code, "name": console.name, **PRACTICE, **password}
    _arrived(await browser.send(page.form("code", "practice_name"), fill), "/patients")


async def log_in(browser: Browser, practice_url: str, console: Console) -> None:
    """Log in with the password kept by the console."""
    page = await browser.open(urljoin(practice_url, "/login"))
    page = await browser.send(page.form("name", "password"), {"name": console.name, "password": console.password})
    _arrived(page, "/patients")


async def upload_samples(browser: Browser, practice_url: str) -> str:
    """Create the sample patients, upload the documents, and give the address of the patient's page."""
    for person in OTHERS:
        await _create_patient(browser, practice_url, person)
    page = await _create_patient(browser, practice_url, PATIENT)
    patient_url = _without_query(page.url)
    for sample in DOCUMENTS:
        upload = Upload(sample.file, sample.media_type, (SAMPLES / sample.file).read_bytes())
        form = page.form("file", "kind")
        page = await browser.send(form, {"kind": sample.kind, "title": sample.title, "file": upload})
        _arrived(page, urlsplit(patient_url).path)
    return patient_url


async def share(browser: Browser, patient_url: str) -> tuple[str, str]:
    """Share all documents of the patient; give link and PIN, as two pages show them, and confirm both as printed."""
    page = await browser.open(patient_url)
    form = page.form("documents")
    page = await browser.send(form, {"documents": form.controls["documents"]})
    link = LINK.fullmatch(page.by_id.get("link", ""))
    if link is None:
        raise Refused("practice_page")
    page = await browser.send(page.form_to("/link-printed"), {})
    pin = PIN.fullmatch(page.by_id.get("pin", "").replace(" ", ""))
    if pin is None:
        raise Refused("practice_page")
    await browser.send(page.form_to("/pin-printed"), {})
    return link[0], pin[0]


async def _create_patient(browser: Browser, practice_url: str, person: dict[str, str]) -> Page:
    page = await browser.open(urljoin(practice_url, "/patients/new"))
    page = await browser.send(page.form("family_name", "birth_date"), person)
    return _arrived(page, "/patients/")


def _arrived(page: Page, path: str) -> Page:
    """Check that a form led where it leads if all went well."""
    if not urlsplit(page.url).path.startswith(path) or urlsplit(page.url).path.endswith("/new"):
        raise Refused("practice_page")
    return page


def _without_query(url: str) -> str:
    return url.partition("?")[0]
