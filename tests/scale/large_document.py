"""A large document all the way: in by PUT and by the form, listed, out to staff and to a patient, bytes equal.

`python -m tests.scale.large_document` (as root) does it with the largest document the box takes, writes
build/scale/large-document.json and fails if a process of the box needed more than its share of memory meanwhile.

Memory is what the kernel counts: a process's greatest resident set since it was last asked to forget (proc(5), VmHWM
and clear_refs), so that no peak falls between two looks.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from appliance.demo.processes import host_pids
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_link import manifest_key
from appliance.formats.share_manifest import open_manifest, parse_key
from tests.browser.practice_software import put_document
from tests.simulators.demo_box import ROOT, DemoBox, running_box
from tests.simulators.patient import Patient, from_base64url
from tests.simulators.staff import Staff, staff_of

MIB = 1024 * 1024
LARGEST_BYTES = 512 * MIB
PIECE_BYTES = 256 * 1024
#: What a process may need for any document beyond what it had before: buffers, not the document.
MAX_GROWTH_MIB = 48
PROCESSES = ("vault", "records", "audit", "practice", "gateway", "tunnel", "portal")
TIMEOUT = aiohttp.ClientTimeout(total=1800)
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Picture:
    """A picture of this many bytes that nothing makes smaller; `sha256` is whole once it was sent."""

    length: int
    seed: int
    sha256: Any = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[bytes]:
        chance, left, piece = random.Random(self.seed), self.length, PNG
        block = chance.randbytes(PIECE_BYTES)
        while left:
            piece = piece[:left]
            self.sha256.update(piece)
            left -= len(piece)
            yield piece
            piece = chance.randbytes(8) + block[8:]

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


@dataclass
class Memory:
    """The greatest resident set of each process of a box, beyond what it was at the start."""

    box: DemoBox
    before: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.pids = {name: pid for name, pid in host_pids(self.box.state).items() if name in PROCESSES}
        for name, pid in self.pids.items():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            self.before[name] = _kib(pid, "VmRSS")

    def growth_mib(self) -> dict[str, float]:
        """Give the growth; a process that was started anew meanwhile has hidden its peak and fails here."""
        now = {name: pid for name, pid in host_pids(self.box.state).items() if name in PROCESSES}
        assert now == self.pids
        return {name: max(0.0, (_kib(pid, "VmHWM") - self.before[name]) / 1024) for name, pid in self.pids.items()}


def _kib(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


async def carry(box: DemoBox, staff: Staff, length: int, name: str) -> dict[str, float]:
    """Carry two documents of `length` bytes in and out again; give seconds and megabytes. Asserts every byte."""
    memory, took = Memory(box), {}
    memory.begin()
    patient = await staff.create_patient(name, number=name)
    by_put, by_form = Picture(length, 1), Picture(length, 2)

    began = time.monotonic()
    token = (await send(staff, "/devices/new", {"label": f"Röntgengerät {name}"})).by_id["device-token"]
    status = await put_document(
        box,
        token,
        by_put.pieces(),
        (name, "Erika", "1964-08-12", name),
        key=secrets.token_hex(8),
        name="durch-put.png",
        title="Durch PUT",
        kind="image",
        media_type="image/png",
    )
    assert status == 201
    took["put_s"] = time.monotonic() - began

    began = time.monotonic()
    await send_form(staff, patient, by_form)
    took["form_s"] = time.monotonic() - began

    page = await staff.open(patient)
    titles = re.findall(r'class="row-name">(Durch \w+)</span>', page.text)
    assert sorted(titles) == ["Durch Formular", "Durch PUT"]
    documents = dict(zip(titles, page.form("documents").controls["documents"], strict=True))
    wanted = {"Durch PUT": by_put.sha256.hexdigest(), "Durch Formular": by_form.sha256.hexdigest()}

    began = time.monotonic()
    for title, document in documents.items():
        assert await digest_for_staff(staff, document) == (length, wanted[title])
    took["staff_s"] = time.monotonic() - began

    began = time.monotonic()
    link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        assert await digests_for_patient(holder, pin) == {title: (length, sha256) for title, sha256 in wanted.items()}
    took["patient_s"] = time.monotonic() - began

    growth = memory.growth_mib()
    found = await staff.open(f"/patients?text={name}")
    assert "Durch" in (await staff.open("/documents?text=durch")).text
    assert name in found.text
    for document in documents.values():
        await send(staff, f"/documents/{document}/delete", {"reason": "no_record"})
    return took | {f"{process}_mib": mib for process, mib in growth.items()}


async def send(staff: Staff, path: str, fields: dict[str, str]) -> Any:
    """Send a form of a page that has one going there."""
    page = await staff.open("/devices" if path.startswith("/devices") else path)
    return await staff.browser.send(page.form_to(path), fields)


async def send_form(staff: Staff, patient: str, picture: Picture) -> None:
    """Upload by the form as a browser does: multipart, streamed."""
    form = (await staff.open(patient)).form("file", "kind")
    with aiohttp.MultipartWriter("form-data") as parts:
        for field_name, value in {**form.fields, "kind": "image", "title": "Durch Formular"}.items():
            parts.append(value).set_content_disposition("form-data", name=field_name)
        part = parts.append(picture.pieces(), {"Content-Type": "image/png"})
        part.set_content_disposition("form-data", name="file", filename="durch-formular.png")
    async with staff.browser._session.post(
        form.action,
        data=parts,
        ssl=staff.browser._trust,
        headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        timeout=TIMEOUT,
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303, await answer.text()


async def digest_for_staff(staff: Staff, document: str) -> tuple[int, str]:
    """Download as staff; give length and SHA-256."""
    url = urljoin(staff.url, f"/documents/{document}/download")
    sha256, length = hashlib.sha256(), 0
    async with staff.browser._session.get(url, ssl=staff.browser._trust, timeout=TIMEOUT) as answer:
        assert answer.status == 200
        async for piece in answer.content.iter_chunked(PIECE_BYTES):
            sha256.update(piece)
            length += len(piece)
    return length, sha256.hexdigest()


async def digests_for_patient(holder: Patient, pin: str) -> dict[str, tuple[int, str]]:
    """Open the share and every document, piece by piece: title -> length and SHA-256 of what is in it."""
    answer = (await holder.offer(pin)).json()
    box, release, expires_at = bytes.fromhex(answer["box"]), from_base64url(answer["r"]), answer["expires_at"]
    keys = holder.keys
    sealed = (await holder.manifest()).body
    manifest = open_manifest(sealed, manifest_key(keys.wrap_key, release), box, keys.locator, expires_at)
    digests = {}
    for document in manifest.documents:
        opener = DocumentOpener(parse_key(document.key), box, bytes.fromhex(document.id), document.length)
        sha256, length = hashlib.sha256(), 0
        async with holder.client.get(
            URL(holder.origin + "/share/document"),
            headers={"Praxis-Locator": keys.locator, "Praxis-File": document.file},
            timeout=TIMEOUT,
        ) as response:
            assert response.status == 200
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                opened = opener.open(piece)
                sha256.update(opened)
                length += len(opened)
        opened = opener.finish()
        sha256.update(opened)
        digests[document.title] = (length + len(opened), sha256.hexdigest())
    return digests


def judge(figures: dict[str, float]) -> list[dict[str, Any]]:
    """Give the figures with their goals: memory has one, time is told only."""
    return [
        {
            "name": name,
            "value": round(value, 1),
            "unit": "MiB" if name.endswith("_mib") else "s",
            "baseline": None,
            "ratio": None,
            "goal": f"<= {MAX_GROWTH_MIB}" if name.endswith("_mib") else None,
            "met": value <= MAX_GROWTH_MIB if name.endswith("_mib") else None,
        }
        for name, value in figures.items()
    ]


async def _main(box: DemoBox) -> list[dict[str, Any]]:
    async with staff_of(box) as staff:
        return judge(await carry(box, staff, LARGEST_BYTES, "Grossbild"))


def main() -> int:
    """Carry the largest document through a box of its own."""
    with running_box() as box:
        lines = asyncio.run(_main(box))
    path = ROOT / "build/scale/large-document.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(lines, indent=2) + "\n")
    for line in lines:
        print(f"{line['name']:16} {line['value']:8} {line['unit']:4} {line['goal'] or ''}")
    return 0 if all(line["met"] is not False for line in lines) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the box ends too
    sys.exit(main())
