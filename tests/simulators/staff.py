"""A member of staff in tests: follows the practice's own pages by their forms."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

from appliance.demo.browser import Browser, Page, Upload, open_browser
from appliance.demo.staff import LINK, PIN
from tests.simulators.demo_box import DemoBox
from tests.simulators.kit_paper import words_on


class Staff:
    """What the tests do as staff; `browser` for everything else."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url

    async def open(self, path: str) -> Page:
        return await self.browser.open(urljoin(self.url, path))

    async def log_in(self, name: str, password: str) -> Page:
        page = await self.open("/login")
        return await self.browser.send(page.form("name", "password"), {"name": name, "password": password})

    async def create_patient(self, family_name: str, given_name: str = "Erika", **person: str) -> str:
        """Create a patient and give the path of the page."""
        page = await self.open("/patients/new")
        fill = {"family_name": family_name, "given_name": given_name, "birth_date": "12.08.1964", **person}
        page = await self.browser.send(page.form("family_name", "birth_date"), fill)
        path = urlsplit(page.url).path
        assert path.startswith("/patients/"), page.text
        assert not path.endswith("/new"), page.text
        return path

    async def upload(
        self, patient: str, content: bytes, *, name: str = "befund.txt", media_type: str = "text/plain", **fill: str
    ) -> Page:
        """Upload a document by the form."""
        page = await self.open(patient)
        chosen: Mapping[str, str | list[str] | Upload] = {
            "kind": "finding",
            "title": name,
            **fill,
            "file": Upload(name, media_type, content),
        }
        return await self.browser.send(page.form("file", "kind"), chosen)

    async def documents(self, patient: str) -> list[str]:
        """Give the identifiers of the patient's documents, in the order of the page."""
        page = await self.open(patient)
        return page.form("documents").controls["documents"]

    async def download(self, document: str) -> bytes:
        """Give a document's bytes as the download link does."""
        url = urljoin(self.url, f"/documents/{document}/download")
        async with self.browser._session.get(url, ssl=self.browser._trust) as answer:
            assert answer.status == 200
            return await answer.read()

    async def make_kit(self, password: str) -> list[list[str]]:
        """Make the emergency sheets, print all three and type words of each back; gives the words of each."""
        page = await self.open("/kit")
        page = await self.browser.send(page.form_to("/kit/new"), {"password": password})
        papers: list[list[str]] = []
        for _ in range(3):
            address = page.url.partition("?")[0].removesuffix("/print")
            url = f"{address}/sheet.pdf?language=de"
            async with self.browser._session.get(url, ssl=self.browser._trust) as answer:
                assert answer.status == 200
                papers.append(words_on(await answer.read()))
            form = page.form_to("/print")
            asked = [name for name in form.controls if name.startswith("word_")]
            typed = {name: papers[-1][int(name.removeprefix("word_")) - 1] for name in asked}
            page = await self.browser.send(form, typed)
        return papers

    async def share(self, patient: str, documents: list[str] | None = None) -> tuple[str, str]:
        """Share documents (all if none are named) and give link and PIN, both confirmed as printed."""
        page = await self.open(patient)
        form = page.form("documents")
        page = await self.browser.send(form, {"documents": documents or form.controls["documents"]})
        link = LINK.search(page.text)
        assert link, page.text
        page = await self.browser.send(page.form_to("/link-printed"), {})
        pin = PIN.search(page.by_id["share-pin"].replace(" ", "") if "share-pin" in page.by_id else page.by_id["pin"])
        assert pin, page.text
        await self.browser.send(page.form_to("/pin-printed"), {})
        return link[0], pin[0]

    async def revoke(self, patient: str) -> None:
        """End every live share of the patient."""
        while True:
            page = await self.open(patient)
            found = [link for link in page.links if link.endswith("/revoke")]
            if not found:
                return
            page = await self.browser.open(found[0])
            await self.browser.send(page.form_to("/revoke"), {})


@asynccontextmanager
async def staff_of(box: DemoBox) -> AsyncIterator[Staff]:
    """Give the member of staff that the demo is, logged in."""
    async with open_browser(box.practice_ca) as browser:
        member = Staff(browser, box.practice_url)
        page = await member.log_in(box.said["staff"], box.said["password"])
        assert urlsplit(page.url).path == "/patients", page.text
        yield member


def other_pin(pin: str) -> str:
    """Give a PIN of the same length that is another."""
    while (wrong := f"{secrets.randbelow(10 ** len(pin)):0{len(pin)}}") == pin:
        pass
    return wrong
