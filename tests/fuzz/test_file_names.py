"""Names of files as attackers and careless programs send them: made harmless, or refused in words.

On the box no file bears a name from outside: what lies there is named by random numbers. So a name can do harm only
where it is shown, or saved by a browser; and there it is one plain name.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from pathlib import Path
from urllib.parse import quote, unquote

import aiohttp
import pytest

from tests.practice.bench import PDF, Bench, Browser, practice_bench
from tests.practice.test_intake import HEADERS

WAYS = ("form", "put")
PATHS = (
    "../../../../outside.pdf", "..\\..\\outside.pdf", "/etc/outside.pdf", "C:\\outside.pdf", "\\\\host\\share\\outside.pdf",
    "..\u2215..\u2215../outside.pdf", "sealed/../../outside.pdf", "./outside.pdf", "outside.pdf...", "outside.pdf. ",
)  # fmt: skip
SEALED = re.compile(r"records/(sealed|previews)/[0-9a-f]{2}/[0-9a-f]{32}-[0-9a-f]{16}")


class Desk:
    """One practice with a patient, which takes a document by either way and tells what became of its name."""

    def __init__(self, bench: Bench, browser: Browser, patient: str, token: str) -> None:
        self.bench, self.browser, self.patient, self.token = bench, browser, patient, token
        self._number = 0

    async def put(self, name: str, content: bytes = PDF) -> tuple[int, bytes]:
        self._number += 1
        own = {
            "Authorization": f"Bearer {self.token}",
            "Praxis-Name": quote(name),
            "Idempotency-Key": f"k{self._number}",
        }
        without_title = {header: value for header, value in HEADERS.items() if header != "Praxis-Title"}
        answer = await self.browser.put({**without_title, **own}, content)
        return answer.status, answer.body

    async def store(self, way: str, name: str) -> str:
        """Store a document; give the name under which a browser would save it."""
        before = await self.documents()
        if way == "put":
            status, body = await self.put(name)
            assert status == 201, body
        else:
            with aiohttp.MultipartWriter("form-data", boundary="XyZ") as form:
                for field, value in (("csrf", self.browser.csrf), ("kind", "finding"), ("title", "")):
                    form.append(value.encode(), {"Content-Disposition": f'form-data; name="{field}"'})
                head = f'form-data; name="file"; filename="{name}"'
                form.append(PDF, {"Content-Disposition": head})
                answer = await self.browser.ask(
                    "POST",
                    f"/patients/{self.patient}/documents",
                    data=form,
                    headers={"Sec-Fetch-Site": "same-origin"},
                )
                assert "done=uploaded" in answer.url, answer.text
        (document,) = await self.documents() - before
        got = await self.browser.open(f"/documents/{document}/download")
        assert got.body == PDF
        disposition = got.headers["Content-Disposition"]
        plain = re.search(r'filename="([^"]*)"', disposition)
        exact = re.search(r"filename\*=UTF-8''(\S+)\Z", disposition)
        assert plain, disposition
        assert exact, disposition
        assert not re.search(r"[/\\\0-\x1f]", plain[1]), disposition
        return unquote(exact[1])

    async def documents(self) -> set[str]:
        page = await self.browser.open(f"/patients/{self.patient}")
        return set(re.findall(r'name="documents" value="([0-9a-f]{32})"', page.text))

    def files(self) -> set[str]:
        """Give every file beside the practice's own, and every file of the folders above it that an escape would hit."""
        folder = self.bench.folder
        above = {str(path) for each in (folder.parent, Path("/"), Path("/etc")) for path in each.glob("outside*")}
        return above | {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
async def desk(tmp_path):
    async with practice_bench(tmp_path) as bench:
        browser = await bench.claimed()
        patient = await browser.add_patient()
        await browser.open("/devices")
        yield Desk(bench, browser, patient, await browser.device_token())


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_name_with_path_parts_cannot_leave_its_folder(desk, way):
    before = desk.files()
    for name in PATHS:
        sent = name.replace("\\", "\\\\") if way == "form" else name  # a quoted-string's backslash (RFC 9110 5.6.4)
        assert await desk.store(way, sent) == "outside.pdf", name
    new = {path for path in desk.files() - before if not re.search(r"\.db|audit|vault|tpm", path)}
    assert len(new) >= len(PATHS)
    assert [path for path in new if not SEALED.fullmatch(path)] == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_name_that_turns_the_reading_direction_loses_the_turn(desk, way):
    """U+202E makes "rechnung", turn, "fdp.exe" read as "rechnungexe.pdf"."""
    for turn in "\u202e\u202d\u2066\u2067\u200f\u061c":
        assert await desk.store(way, f"rechnung{turn}fdp.exe.pdf") == "rechnungfdp.exe.pdf"


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_name_of_300_characters_is_shortened_and_keeps_its_ending(desk, way):
    name = await desk.store(way, "ä" * 300 + ".pdf")
    assert name == "ä" * 251 + ".pdf"


async def test_a_nul_in_a_file_name_is_taken_out(desk):
    assert await desk.store("put", "befund.pdf\0.exe.pdf") == "befund.pdf .exe.pdf"
    assert await desk.store("put", "be\r\nfund\x07.pdf") == "be fund .pdf"


@pytest.mark.parametrize("way", WAYS)
async def test_a_device_s_name_becomes_an_ordinary_one(desk, way):
    for name in ("CON", "nul.txt", "LPT1:", "aux.pdf", "com¹.log"):
        assert await desk.store(way, name) == f"_{name}"
    assert await desk.store(way, "console.pdf") == "console.pdf"


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_name_that_is_markup_or_a_command_is_shown_as_text(desk, way):
    for name in ("<script>alert(1).pdf", "$(reboot)`id` a|b.pdf", "' OR 1=1 --.pdf", "{{7*7}}.pdf"):
        assert await desk.store(way, name) == name
    page = await desk.browser.open(f"/patients/{desk.patient}")
    assert "<script>alert" not in page.text
    assert "{{7*7}}" in page.text


async def test_a_file_name_of_which_nothing_is_left_is_refused_in_words(desk):
    for name in ("../", "..", "\u202e", "\0\0", "   ", "..\\"):
        status, body = await desk.put(name)
        said = json.loads(body)
        assert (status, said["code"], said["header"]) == (400, "header_missing", "Praxis-Name"), name
        assert all(len(words) > 20 for words in said["texts"].values())
    assert await desk.documents() == set()


async def test_a_file_name_that_is_no_text_is_refused_in_words(desk):
    for name in ("%ff%fe.pdf", "%ed%a0%80.pdf", "%zz.pdf", "%"):
        answer = await desk.browser.put(
            {**HEADERS, "Authorization": f"Bearer {desk.token}", "Praxis-Name": name}, PDF
        )
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "header_encoding"), name
    assert await desk.documents() == set()


async def test_an_upload_form_that_ends_in_the_middle_keeps_nothing(desk):
    browser, bench = desk.browser, desk.bench
    context = ssl.create_default_context(cafile=str(bench.desk.certificate.authority))
    body = b"".join(
        b'--X\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % part
        for part in (
            (b"csrf", b"", browser.csrf.encode()),
            (b"kind", b"", b"finding"),
            (b"title", b"", b""),
            (b"file", b'; filename="a.pdf"', PDF * 100),
        )
    )
    session = browser.cookies["__Host-session"].value
    for sent in (body[:-40], body, body[:300], body + b"--X"):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", bench.port, ssl=context, server_hostname=bench.host
        )
        head = (
            f"POST /patients/{desk.patient}/documents HTTP/1.1\r\nHost: {bench.host}:{bench.port}\r\nSec-Fetch-Site: same-origin\r\n"
            f"Cookie: __Host-session={session}\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: {len(sent)}\r\n\r\n"
        )
        writer.write(head.encode() + sent)
        status = await asyncio.wait_for(reader.readline(), 60)
        assert status.startswith(b"HTTP/1.1 422"), status
        writer.close()
    assert await desk.documents() == set()
