"""The drill: a practice's box dies, and a new box, two sheets of paper and the disk with the copies bring it back.

On two boxes of the demo, by the practice's own pages. What is compared: every document's content by its SHA-256, on the
old box after it was filled and on the new one; who had which share; what was erased after the copy was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.demo.browser import open_browser
from appliance.demo.processes import inside
from tests.drill import boxes, pages
from tests.drill.operator_script import Step, script
from tests.drill.papers import Drill
from tests.drill.restic_alone import repository_password, restore_alone_s, until_list_is_out
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.in_place_of_records import run_in_place_of_records
from tests.simulators.patient import Patient

SHARED_PATIENTS = 3
ERASED = 2


@dataclass
class Report:
    """What the drill measured and found."""

    drill: Drill
    took_s: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    documents: int = 0

    @property
    def ratio(self) -> float:
        """How fast the restore was against restic alone: 1 is as fast, 0.5 takes twice as long."""
        return self.took_s["restic alone"] / self.took_s["restore"]

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.took_s[name] = time.monotonic() - began


@dataclass
class Before:
    """What is known of the old box when it dies."""

    box: str
    sheets: list[list[str]]
    documents: dict[str, list[str]]
    erased: list[str]
    #: Digests of the documents in live shares.
    shared: set[str]


async def run(drill: Drill, tell: Callable[[str], None], beside: Path) -> Report:
    """Run the drill; `beside` is the folder on whose file system everything lies."""
    report = Report(drill)
    with _box(beside / "old") as old:
        before = await _old_box(old, report, tell)
        boxes.end_processes(old)
        tell("the old box is dead; a new one is enrolled and claimed")
        with _box(beside / "new") as new:
            disk = boxes.move_disk(old, new)
            generation = await _new_box(new, before, report, tell)
            tell("restic alone fetches the same generation")
            report.took_s["restic alone"] = restore_alone_s(
                boxes.repository_on(disk), repository_password(before.sheets), generation, beside
            )
        with report.timed("old box revoked at the portal"):
            boxes.revoke_at_portal(old)
    return report


@contextlib.contextmanager
def _box(state: Path) -> Iterator[DemoBox]:
    with running_box(empty=True, state=state) as box:
        yield box


async def _old_box(box: DemoBox, report: Report, tell: Callable[[str], None]) -> Before:
    drill = report.drill
    async with open_browser(box.practice_ca) as browser:
        staff = await boxes.claim(box, browser)
        tell(f"filling: {drill.patients} patients, {drill.documents} documents, {drill.bytes / 2**30:.2f} GiB")
        with report.timed("filling the old box"):
            token = boxes.session_of(staff) + "\n"
            run_in_place_of_records(box, "tests.drill.fill", drill.patients, drill.documents, drill.bytes, said=token)
        documents = _read_all(box)
        first_of = {patient: document for document, (patient, _, _) in documents.items()}
        shared = dict(sorted(first_of.items())[:SHARED_PATIENTS])
        for patient, document in shared.items():
            await staff.share(f"/patients/{patient}", [document])
        sheets = await boxes.make_kit(staff)
        disk = boxes.put_disk(box)
        await pages.set_store(staff, boxes.DISK)
        tell("the first copy")
        with report.timed("first copy, with its restore test"):
            await pages.back_up(staff)
        erased = [document for document, row in documents.items() if row[0] not in shared][:ERASED]
        for document in erased:
            page = await staff.open(f"/documents/{document}/delete")
            await staff.browser.send(page.form_to("/delete"), {"reason": "no_record"})
        subprocess.run([*inside(box.state), "systemctl", "restart", "praxis-backup.service"], check=True)
        await until_list_is_out(boxes.repository_on(disk), repository_password(sheets), len(erased))
        for document in erased:
            del documents[document]
        return Before(box.said["box"], sheets, documents, erased, {documents[one][2] for one in shared.values()})


async def _new_box(box: DemoBox, before: Before, report: Report, tell: Callable[[str], None]) -> int:
    async with open_browser(box.practice_ca) as browser:
        staff = await boxes.claim(box, browser)
        report.steps = script(before.sheets[1:], boxes.DISK, boxes.PASSWORD, before.box, SHARED_PATIENTS)
        await pages.type_sheets(staff, before.sheets[1:], boxes.PASSWORD)
        generation = await pages.set_old_store(staff, boxes.DISK)
        tell("the restore")
        with report.timed("restore"):
            done = await pages.restore(staff, generation)
        if done.by_id.get("old-box", "").replace(" ", "") != before.box:
            report.faults.append("the page does not say which box is to be revoked")
        if "restore-missing" in done.by_id:
            report.faults.append(done.by_id["restore-missing"])
        await _compare(box, before, report)
        tell(f"{report.documents} documents compared, {len(report.faults)} faults")
        with report.timed("shares made anew"):
            links = await pages.share_anew(staff)
        opened = set()
        for link, pin in links:
            async with Patient(link, box.portal_ca) as holder:
                opened |= {hashlib.sha256(content).hexdigest() for content in (await holder.open(pin)).values()}
        if opened != before.shared:
            report.faults.append(f"shares made anew open {len(opened)} of {len(before.shared)} documents")
        page = await staff.open(f"/documents/{before.erased[0]}/download")
        if page.status != 404:
            report.faults.append("an erased document is there again")
    return generation


async def _compare(box: DemoBox, before: Before, report: Report) -> None:
    after = await asyncio.to_thread(_read_all, box)
    report.documents = len(after)
    for document, row in before.documents.items():
        if after.get(document) != row:
            report.faults.append(f"document {document} is {'different' if document in after else 'missing'}")
    report.faults += [f"document {document} is there again" for document in before.erased if document in after]
    report.faults += [f"document {document} was never there" for document in set(after) - set(before.documents)]


def _read_all(box: DemoBox) -> dict[str, list[str]]:
    answer: dict[str, Any] = run_in_place_of_records(box, "tests.drill.read_all")
    documents: dict[str, list[str]] = answer["documents"]
    return documents
