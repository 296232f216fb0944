"""The people of walks 1 and 2 while processes die under them: staff, practice software, the holder of a link.

They do what their programs do: staff log in again when a screen is locked, practice software repeats with the same
key, the patient's page goes on where the transfer broke. What they were told goes into the ledger; that they were
told nothing is no fault.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp

from appliance.core.errors import PraxisError
from appliance.demo.browser import Page
from appliance.demo.staff import LINK, PIN
from tests.kills.ledger import Link, Offered, PatientFile
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import OneAddress, Patient
from tests.simulators.staff import Staff

#: What a connection that ended, a page that says "not now" or a screen that was locked looks like from here.
BROKEN = (PraxisError, aiohttp.ClientError, OSError, TimeoutError)
NOT_NOW = frozenset({408, 425, 429, 502, 503, 504})
PATIENCE_S = 60.0
PAUSE_S = 0.1
PIECE_BYTES = 64 * 1024
#: A network that is not this machine's loopback: a kill is to fall into a transfer.
PIECE_PAUSE_S = 0.004

Result = TypeVar("Result")


class Unreasonable(Exception):
    """An answer that nobody should get: neither what was asked for nor a reason."""


class Truncated(Unreasonable):
    """A transfer that ended as if it were whole and is not, or that gave other bytes."""


def content(random: Random, size_bytes: int) -> bytes:
    """Give a document that no other round has."""
    return b"\x89PNG\r\n\x1a\n" + random.randbytes(size_bytes)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def until_answered(ask: Callable[[], Awaitable[Result]], patience_s: float = PATIENCE_S) -> Result:
    """Ask again until there is an answer; after `patience_s`, the last failure."""
    give_up_at = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return await ask()
        except BROKEN:
            if asyncio.get_running_loop().time() > give_up_at:
                raise
        await asyncio.sleep(PAUSE_S)


async def slowly(data: bytes) -> AsyncIterator[bytes]:
    """Send in pieces, as over a network."""
    for first in range(0, len(data), PIECE_BYTES):
        yield data[first : first + PIECE_BYTES]
        await asyncio.sleep(PIECE_PAUSE_S)


async def take_rest(answer: aiohttp.ClientResponse, got: bytearray) -> bool:
    """Take what an answer still has to give; False if it broke. Truncated if it claims to be whole and is short."""
    begin = len(got)
    try:
        async for piece in answer.content.iter_chunked(PIECE_BYTES):
            got += piece
            await asyncio.sleep(PIECE_PAUSE_S)
    except BROKEN:
        return False
    promised = answer.headers.get("Content-Length")
    if promised is None or len(got) - begin != int(promised):
        raise Truncated(f"{len(got) - begin} bytes of {promised} and no error")
    return True


class Member:
    """The member of staff "Demo"; logs in again whenever a screen is locked."""

    def __init__(self, box: DemoBox, staff: Staff) -> None:
        self._box, self.staff = box, staff

    async def log_in(self) -> None:
        """Be logged in. Refuses to go on with an answer that is no reason."""
        page = reasonable(await self.staff.open("/patients"))
        if urlsplit(page.url).path != "/patients":
            page = await self.staff.log_in(self._box.said["staff"], self._box.said["password"])
            if urlsplit(page.url).path != "/patients":
                raise OSError("not logged in")

    async def upload(self, patient: PatientFile, data: bytes) -> None:
        """Store a document by the form, once."""
        offered = patient.offer(digest(data), keyed=False)
        page = await self.staff.upload(patient.path, data, name="bild.png", media_type="image/png")
        offered.acknowledged = "done=uploaded" in page.url

    async def make_share(self, patient: PatientFile) -> Link | None:
        """Share everything listed, and hold the link as soon as it was shown; the PIN may be missing."""
        form = reasonable(await self.staff.open(patient.path)).form("documents")
        ticked = form.controls["documents"]
        page = await self.staff.browser.send(form, {"documents": ticked})
        found = LINK.search(page.by_id.get("link", ""))
        if found is None:
            return None
        printed = page.form_to("/link-printed")
        share = urlsplit(printed.action).path.split("/")[2]
        link = Link(share, found[0], "", frozenset(patient.listed[document] for document in ticked))
        try:
            await self.staff.browser.send(printed, {})
        except BROKEN:
            return link
        return link

    async def read_pin(self, link: Link) -> None:
        """Have the PIN slip shown, which waits until somebody confirms it."""
        page = reasonable(await self.staff.open(f"/shares/{link.share}/pin"))
        found = PIN.fullmatch(page.by_id.get("pin", "").replace(" ", ""))
        if found is None:
            raise OSError("no PIN yet")
        link.pin = found[0]

    async def list_documents(self, patient: PatientFile) -> list[str]:
        """Give what the patient's page lists."""
        page = reasonable(await self.staff.open(patient.path))
        if page.status != 200 or urlsplit(page.url).path != patient.path:
            raise OSError("no list yet")
        return [name for form in page.forms for name in form.controls.get("documents", [])]

    async def save(self, document: str) -> bytes:
        """Save a document as a browser does, going on where it broke, logging in where the screen was locked."""
        got, browser = bytearray(), self.staff.browser

        async def rest() -> bytes:
            url = urljoin(self.staff.url, f"/documents/{document}/download")
            headers = {"Range": f"bytes={len(got)}-", "If-Range": f'"{document}"'} if got else {}
            async with browser._session.get(
                url, ssl=browser._trust, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status == 200:
                    got.clear()
                if answer.status in (200, 206) and await take_rest(answer, got):
                    return bytes(got)
                status = answer.status
            if status in (302, 303, 401, 403):
                await self.log_in()
            elif status not in (200, 206) and status not in NOT_NOW:
                raise Unreasonable(f"status {status} for a listed document")
            raise OSError("broken")

        return await until_answered(rest)


def reasonable(page: Page) -> Page:
    """Give the page, unless its status says that something happened which nobody foresaw."""
    if page.status >= 500 and page.status not in NOT_NOW:
        raise Unreasonable(f"status {page.status} at {urlsplit(page.url).path.split('/')[1]}")
    return page


class Software:
    """A practice's program with a device token."""

    def __init__(self, box: DemoBox, client: aiohttp.ClientSession, token: str) -> None:
        self._address = urljoin(box.practice_url, "/intake/v1/documents")
        self._client, self._token = client, token

    async def store(self, patient: PatientFile, data: bytes, key: str) -> None:
        """Store a document; repeat with the same key until it is answered (docs/formats/intake.md, "Again")."""
        offered = patient.offer(digest(data), keyed=True)
        await until_answered(lambda: self._put(patient, data, key, offered))

    async def _put(self, patient: PatientFile, data: bytes, key: str, offered: Offered) -> None:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "image/png",
            "Content-Length": str(len(data)),
            "Idempotency-Key": key,
            "Praxis-Kind": "image",
            "Praxis-Name": "aufnahme.png",
            "Praxis-Patient-Family-Name": patient.name,
            "Praxis-Patient-Given-Name": "Erika",
            "Praxis-Patient-Birth-Date": "1964-08-12",
        }
        first, offered.attempts = offered.attempts == 0, offered.attempts + 1
        async with self._client.put(self._address, data=slowly(data), headers=headers) as answer:
            if answer.status in NOT_NOW:
                raise OSError("not now")
            if answer.status not in (200, 201):
                raise Unreasonable(f"status {answer.status} for a good document")
            if answer.status == 200 and first:
                raise Unreasonable("a first attempt was answered as a repetition")
            offered.acknowledged = True


class Holder:
    """The patient with a link."""

    def __init__(self, box: DemoBox, link: Link) -> None:
        self._box, self.link = box, link

    def browser(self) -> Patient:
        """Give a fresh browser with the link in it."""
        return Patient(self.link.link, self._box.portal_ca)

    async def see_page(self) -> None:
        """Open the page."""
        async with self.browser() as patient:
            page = await patient.ask("GET", "/")
        _check_status(page.status)
        if page.status != 200:
            raise Unreasonable(f"status {page.status} for the page")

    async def look(self) -> int:
        """Open the page, ask for the share's state, and give the tries left."""
        await self.see_page()
        async with self.browser() as patient:
            answer = await patient.state()
        _check_status(answer.status)
        if answer.status != 200 or answer.json()["state"] != "open":
            raise Unreasonable(f"a live share answered {answer.status} {answer.body[:40]!r}")
        return int(answer.json()["tries_left"])

    async def offer(self, pin: str) -> dict[str, object]:
        """Offer a PIN once, and give the answer."""
        right = pin == self.link.pin
        self.link.right_asked += right
        self.link.wrong_asked += not right
        async with self.browser() as patient:
            answer = await patient.offer(pin)
        _check_status(answer.status)
        said = dict(answer.json())
        if answer.status != 200 or ("r" in said) != right:
            raise Unreasonable(f"a {'right' if right else 'wrong'} PIN was answered with {answer.status}")
        self.link.right_answered += right
        self.link.wrong_answered += not right
        return said

    async def open(self) -> frozenset[str]:
        """Open the link with its PIN, and give the digests of the documents."""
        self.link.right_asked += 1
        async with self.browser() as patient:
            try:
                opened = await patient.open_documents(self.link.pin)
            except KeyError as error:
                raise OSError("not now") from error
        self.link.right_answered += 1
        self.link.files = [(one.file, one.sealed_length, one.sha256) for one, _ in opened]
        return frozenset(digest(data) for _, data in opened)

    async def wait_for_openings(self) -> None:
        """Have whatever was on its way answered: vault takes one opening at a time, this one of an unknown proof."""
        async with self.browser() as patient:
            answer = await patient.offer("000000", bytes(32))
        _check_status(answer.status)

    async def fetch(self, sealed: tuple[str, int, str]) -> None:
        """Take a sealed document (file, length, SHA-256), going on where the transfer broke."""
        file, length, sha256 = sealed
        got = bytearray()

        async def rest() -> bytes:
            headers = {"Praxis-File": file, "Praxis-Locator": ""}
            async with self.browser() as patient:
                headers["Praxis-Locator"] = patient.keys.locator
                if got:
                    headers["Range"] = f"bytes={len(got)}-"
                url = f"{patient.origin}/share/document"
                async with patient.client.get(url, headers=headers) as answer:
                    _check_status(answer.status)
                    if answer.status not in (200, 206):
                        raise Unreasonable(f"status {answer.status} for a document of a live share")
                    if answer.status == 200:
                        got.clear()
                    if not await take_rest(answer, got):
                        raise OSError("broken")
            return bytes(got)

        taken = await until_answered(rest)
        if len(taken) != length or digest(taken) != sha256:
            raise Truncated(f"{len(taken)} of {length} bytes, or others, and no error")


def _check_status(status: int) -> None:
    if status in NOT_NOW:
        raise OSError("not now")
    if status >= 500:
        raise Unreasonable(f"status {status}")


def client_of(box: DemoBox) -> aiohttp.ClientSession:
    """Give practice software's HTTP client; close it."""
    import ssl

    trust = ssl.create_default_context(cafile=str(box.practice_ca))
    connector = aiohttp.TCPConnector(ssl=trust, resolver=OneAddress("127.0.0.1"), force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
