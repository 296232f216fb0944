"""Measures every staff page of a running box that holds a large practice: over TLS, one request after the other.

`python -m tests.scale.box [--state FOLDER] [--requests N]` as root. The box is the demo's, in its container; a state
folder that was filled before is measured again without filling. Writes build/scale/pages.json and actions.json, prints
a table, and fails if a page is slower than 200 ms in more than one of twenty requests, or if a route is not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp

from appliance.practice.visit import COOKIE
from tests.scale.practice import FULL, Size, people
from tests.scale.questions import ACTIONS, Known, forgotten, pages, table
from tests.simulators.demo_box import ROOT, DemoBox, running_box
from tests.simulators.in_place_of_records import run_in_place_of_records
from tests.simulators.staff import Staff, staff_of

LIMIT_MS = 200.0
REQUESTS = 40
PAGE = 50
OUT = ROOT / "build/scale"
ID = "([0-9a-f]{32})"


@dataclass
class Measured:
    """How long one question took, each time."""

    name: str
    took_ms: list[float] = field(default_factory=list)

    def at(self, share: float) -> float:
        return sorted(self.took_ms)[math.ceil(share * len(self.took_ms)) - 1]

    def line(self) -> dict[str, Any]:
        p95 = self.at(0.95)
        return {
            "name": self.name,
            "value": round(p95, 1),
            "unit": "ms",
            "baseline": None,
            "ratio": None,
            "goal": f"p95 <= {LIMIT_MS:g}",
            "met": p95 <= LIMIT_MS,
            "p50": round(self.at(0.5), 1),
            "most": round(max(self.took_ms), 1),
            "requests": len(self.took_ms),
        }


@dataclass
class Reception:
    """A member of staff's browser that takes the time."""

    staff: Staff
    csrf: str = ""

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, str, str, float]:
        """Give status, where it sends on, the body, and milliseconds until its last byte."""
        browser = self.staff.browser
        began = time.perf_counter()
        async with browser._session.request(
            method,
            urljoin(self.staff.url, path),
            ssl=browser._trust,
            allow_redirects=False,
            headers={"Accept-Language": "de", "Origin": "null", "Sec-Fetch-Site": "same-origin"},
            **more,
        ) as answer:
            body = await answer.read()
            took_ms = (time.perf_counter() - began) * 1000
        text = body.decode(errors="replace")
        if found := re.search(r'name="csrf" value="([^"]+)"', text):
            self.csrf = found[1]
        return answer.status, answer.headers.get("Location", ""), text, took_ms

    async def send(self, path: str, fields: dict[str, str] | aiohttp.FormData) -> tuple[int, str, str, float]:
        if isinstance(fields, dict):
            fields = aiohttp.FormData({"csrf": self.csrf, **fields})
        return await self.ask("POST", path, data=fields)

    async def read(self, path: str) -> str:
        status, _, text, _ = await self.ask("GET", path)
        assert status == 200, (path, status)
        return text


def fill(box: DemoBox, token: str, size: Size) -> dict[str, float]:
    """Fill the box's records, in place of the records process."""
    counts = (size.patients, size.documents, size.live_shares, size.ended_shares)
    return run_in_place_of_records(box, "tests.scale.fill", *counts, said=token + "\n")


async def look_around(reception: Reception, size: Size) -> Known:
    """Learn by the pages themselves what there is to ask for."""
    known = Known(last_patients=(size.patients - 1) // PAGE * PAGE)
    known.last_live, known.last_ended = ((n - 1) // PAGE * PAGE for n in (size.live_shares, size.ended_shares))
    for after in (0, known.last_patients // 2 // PAGE * PAGE, known.last_patients):
        known.patients += re.findall(f'href="/patients/{ID}"', await reception.read(f"/patients?after={after}"))[:14]
    for patient in known.patients:
        known.documents += re.findall(f'name="documents" value="{ID}"', await reception.read(f"/patients/{patient}"))[
            :1
        ]
    first = next(people(size.patients))
    text = await reception.read(f"/patients?text={first.family_name}&birth_date={first.birth_date}")
    counts = re.findall(rf'href="/patients/{ID}">(?:(?!</a>).)*?(\d+) Dokument', text, re.DOTALL)
    known.long_file = max(counts, key=lambda found: int(found[1]))[0]
    _, there, _, _ = await new_patient(reception, "Ohneakte")
    known.no_file = there
    known.shares = re.findall(f"/shares/{ID}/revoke", await reception.read("/shares"))
    known.principal = re.findall(f"/staff/{ID}/remove", await reception.read("/staff"))[0]
    await reception.send("/devices/new", {"label": "Praxissoftware"})
    known.device = re.findall(f"/devices/{ID}/revoke", await reception.read("/devices"))[0]
    known.entries = int(re.findall(r"(\d+) Einträge", await reception.read("/history"))[0])
    for name in ("link_waits", "pin_waits"):
        document = known.documents[0 if name == "link_waits" else 1]
        owner = next(
            iter(re.findall(f'href="/patients/{ID}"', await reception.read(f"/documents/{document}/delete")))
        )
        _, there, _, _ = await reception.send(
            f"/patients/{owner}/shares", {"documents": document, "valid_days": "14"}
        )
        setattr(known, name, re.findall(f"/shares/{ID}/link", there)[0])
    await reception.send(f"/shares/{known.pin_waits}/link-printed", {})
    return known


async def new_patient(reception: Reception, name: str, number: int = 0) -> tuple[int, str, str, float]:
    """Make a patient; gives the identifier where `send` gives the place."""
    person = {"family_name": name, "given_name": f"Nummer {number}", "birth_date": "12.08.1964", "number": ""}
    person["same_name"] = "yes"  # the box may have been measured before
    status, there, text, took_ms = await reception.send("/patients/new", person)
    assert status == 303, text
    return status, re.findall(ID, there)[0], text, took_ms


async def measure_pages(reception: Reception, known: Known, requests: int) -> list[Measured]:
    """Ask every question once, and that `requests` times over."""
    asked = {name: paths for questions in pages(known).values() for name, paths in questions.items()}
    measured = {name: Measured(name) for name in asked}
    for number in range(-1, requests):
        for name, paths in asked.items():
            status, _, text, took_ms = await reception.ask("GET", paths[number % len(paths)])
            assert status < 400, (name, paths[number % len(paths)], status, text[:2000])
            if number >= 0:  # the first round warms up
                measured[name].took_ms.append(took_ms)
    return list(measured.values())


async def measure_actions(reception: Reception, requests: int) -> list[Measured]:
    """Do what staff do, each on what the one before made."""
    measured = {route: Measured(" ".join(route)) for route in ACTIONS}

    async def act(route: str, path: str, fields: dict[str, str] | aiohttp.FormData) -> str:
        status, there, text, took_ms = await reception.send(path, fields)
        assert status == 303, (route, status, text[:2000])
        measured["POST", route].took_ms.append(took_ms)
        return there

    for number in range(requests):
        _, patient, _, took_ms = await new_patient(reception, "Messung", number)
        measured["POST", "/patients/new"].took_ms.append(took_ms)
        person = {"family_name": "Messung", "given_name": "Neu", "birth_date": "12.08.1964", "number": str(number)}
        await act("/patients/{patient}/edit", f"/patients/{patient}/edit", person)
        form = aiohttp.FormData({"csrf": reception.csrf, "kind": "lab", "title": "Labor"}, default_to_multipart=True)
        form.add_field("file", b"%PDF-1.7\n", filename="labor.pdf", content_type="application/pdf")
        await act("/patients/{patient}/documents", f"/patients/{patient}/documents", form)
        document = re.findall(f'name="documents" value="{ID}"', await reception.read(f"/patients/{patient}"))[0]
        shared = {"documents": document, "valid_days": "14"}
        there = await act("/patients/{patient}/shares", f"/patients/{patient}/shares", shared)
        share = re.findall(ID, there)[0]
        await act("/shares/{share}/link-printed", f"/shares/{share}/link-printed", {})
        await act("/shares/{share}/pin-printed", f"/shares/{share}/pin-printed", {})
        await act("/shares/{share}/revoke", f"/shares/{share}/revoke", {})
        await act("/documents/{document}/delete", f"/documents/{document}/delete", {"reason": "no_record"})
        await act("/patients/{patient}/delete", f"/patients/{patient}/delete", {"reason": "no_record"})
    return list(measured.values())


def as_table(measured: list[Measured]) -> str:
    """Give the figures as a table that people read."""
    lines = [each.line() for each in sorted(measured, key=lambda each: -each.at(0.95))]
    rows = ["| what is asked | p50 ms | p95 ms | most ms |", "| --- | --- | --- | --- |"]
    rows += [f"| {line['name']} | {line['p50']} | {line['value']} | {line['most']} |" for line in lines]
    return "\n".join(rows)


@contextlib.contextmanager
def filled_box(state: Path | None, size: Size) -> Iterator[DemoBox]:
    """Give a box that holds the practice; fills it if `state` was not filled before."""
    with tempfile.TemporaryDirectory(prefix="praxissafe-scale-") as folder:
        chosen = state or Path(folder)
        known = chosen / "scale.json"
        facts = json.loads(known.read_text()) if known.exists() else {}
        with running_box(state=chosen, port_base=facts.get("port_base", 0)) as box:
            known.write_text(json.dumps({"port_base": box.port_base, **facts}))
            if "shares_s" not in facts:
                took = asyncio.run(_fill(box, size))
                known.write_text(json.dumps({"port_base": box.port_base, **took}))
                print("filled:", json.dumps(took), flush=True)
            yield box


async def _fill(box: DemoBox, size: Size) -> dict[str, float]:
    async with staff_of(box) as staff:
        token = next(cookie.value for cookie in staff.browser._session.cookie_jar if cookie.key == COOKIE)
        return await asyncio.to_thread(fill, box, token, size)


async def measure(box: DemoBox, size: Size, requests: int) -> tuple[list[Measured], list[Measured]]:
    """Measure pages, then actions."""
    async with staff_of(box) as staff:
        reception = Reception(staff)
        known = await look_around(reception, size)
        return await measure_pages(reception, known, requests), await measure_actions(reception, requests)


def main() -> int:
    """Fill, measure, write, judge."""
    parser = argparse.ArgumentParser(description="Measure every staff page of a box with a large practice.")
    parser.add_argument("--state", type=Path, help="keep the filled box here, and use it again")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    given = parser.parse_args()
    missed = asyncio.run(_forgotten())
    if missed:
        print("These routes are not measured:", *sorted(missed), sep="\n  ")
        return 1
    with filled_box(given.state, FULL) as box:
        figures = dict(zip(("pages", "actions"), asyncio.run(measure(box, FULL, given.requests)), strict=True))
    OUT.mkdir(parents=True, exist_ok=True)
    for name, measured in figures.items():
        lines = [each.line() for each in measured]
        (OUT / f"{name}.json").write_text(json.dumps(lines, indent=2, ensure_ascii=False) + "\n")
        print(f"\n{name}\n{as_table(measured)}")
    slow = [each.name for measured in figures.values() for each in measured if each.at(0.95) > LIMIT_MS]
    print(
        f"\n{sum(map(len, figures.values()))} measured on {os.cpu_count()} processors, slower than {LIMIT_MS:g} ms:",
        slow or "none",
    )
    return 1 if slow else 0


async def _forgotten() -> set[tuple[str, str]]:
    return forgotten(await table())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the box ends too
    sys.exit(main())
