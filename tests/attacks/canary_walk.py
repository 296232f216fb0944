"""Walks 1 and 2 with canaries: staff at the desk, a practice's software, a patient with Chromium; then all have left.

KINDS says what is planted or drawn, MAY_KNOW which process may have what in its memory, and why. The box is a test's
own or the session's; it stays usable.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fpdf import FPDF
from playwright.async_api import BrowserContext, async_playwright, expect

from appliance.core.errors import Invalid
from appliance.demo.browser import open_browser
from appliance.demo.processes import host_pids
from appliance.formats import share_link
from appliance.practice.visit import COOKIE
from tests.attacks.canaries import Canaries, assert_nowhere
from tests.attacks.process_memory import memory_pieces
from tests.browser.chromium import ARGUMENTS, CHROMIUM, trust, watch
from tests.browser.patient_page import PatientPage
from tests.browser.practice_software import put_document
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient, from_base64url
from tests.simulators.staff import Staff, other_pin, staff_of
from tests.simulators.wire import Wire, tapped

DOCUMENTS = {"family", "given", "number", "title", "file", "text", "pdf"}
STAFF = {"password", "mistyped", "cookie", "device", "token", "search"}
LINK = {"link", "manifest key", "leaked"}
HOLDER = {"pin", "wrong pin", "proof", "release"}
KINDS = DOCUMENTS | STAFF | LINK | HOLDER
#: What a process may have in its memory: nothing, for those that the internet reaches and for the log. enrol and preview
#: are gone by then.
MAY_KNOW: dict[str, set[str]] = {
    "portal": set(),
    "tunnel": set(),
    # While a patient's request runs it has proof and PIN; no link is open when it is read here.
    "gateway": set(),
    # Who did what to which numbered thing: no names, no words.
    "audit": set(),
    # Reads what the world may read.
    "watch": set(),
    # Carries what is sealed, and numbers of it.
    "backup": set(),
    # Carries requests, certificates and thumbprints.
    "certificate": set(),
    # Sees a button.
    "presence": set(),
    # Draws PIN and r, compares proofs and passwords: never learns a link's secret, a document or a person. What a
    # device is called is in the list it keeps.
    "vault": HOLDER | {"password", "mistyped", "cookie", "device", "token"},
    # Keeps the documents and draws S; staff's session comes with each question, and the release to seal the manifest.
    # "mark": a name's letters made small for the search.
    "records": DOCUMENTS
    | {"mark", "link", "manifest key", "cookie", "device", "token", "search", "release", "proof"},
    # Shows staff all of it; a patient's part (proof, release, a PIN typed) never comes here.
    "practice": DOCUMENTS | STAFF | {"mark", "link", "pin"},
}


@dataclass
class Walk:
    """What was planted, and what was seen on the way."""

    box: DemoBox
    canaries: Canaries
    wire: Wire
    homes: dict[str, Path]
    #: Found in a browser's files while a document was on its screen.
    while_shown: dict[str, set[str]]

    def nowhere_in(self, places: dict[str, Iterator[bytes]]) -> None:
        """Fail if any kind is found in any of these."""
        found = {place: self.canaries.found_in_pieces(pieces) for place, pieces in places.items()}
        assert_nowhere({place: kinds for place, kinds in found.items() if kinds})


async def walked(box: DemoBox, folder: Path) -> Walk:
    canaries = Canaries()
    homes = {"private": folder / "private", "ordinary": folder / "ordinary"}
    with tapped([box.port_base, box.port_base + 1]) as wire:
        async with staff_of(box) as staff:
            patient = await planted(box, staff, canaries)
            link, pin, wrong = "", "", ""
            while is_about(box, pin, wrong):
                link, pin = await staff.share(patient)
                wrong = other_pin(pin)
        secret = share_link.parse_secret(link.partition("#")[2])
        canaries.watch_for("link", secret, link.partition("#")[2][2:])
        canaries.watch_for("proof", share_link.derive(secret).proof)
        canaries.watch_for_number("pin", pin)
        canaries.watch_for_number("wrong pin", wrong)
        leaked = share_link.format_secret(secrets.token_bytes(32))
        canaries.watch_for("leaked", leaked[2:])
        async with Patient(link, box.portal_ca) as holder:
            release = from_base64url((await holder.offer(pin)).json()["r"])
            assert (await holder.ask("GET", f"/%23{leaked}")).status == 200
        canaries.watch_for("release", release)
        canaries.watch_for("manifest key", share_link.manifest_key(share_link.derive(secret).wrap_key, release))
        while_shown: dict[str, set[str]] = {}
        for window, home in homes.items():
            async with chromium_window(box, home, private=window == "private") as context:
                await read_everything(PatientPage(context.pages[0], watch(context, box)), link, wrong, pin)
                wrong = ""
                while_shown |= canaries.found_in_files([home])[0]
                await context.close()
                if window == "private":  # Chromium takes this profile along when it ends
                    while_shown |= canaries.found_in_files([home])[0]
    assert canaries.kinds == KINDS
    return Walk(box, canaries, wire, homes, while_shown)


def is_about(box: DemoBox, *numbers: str) -> bool:
    """Say whether one of these is no number yet, or stands in a memory where no patient has typed it: by chance."""
    if not all(numbers):
        return True
    chance = Canaries()
    for number in numbers:
        chance.watch_for_number(number, number)
    pids = host_pids(box.state)
    strangers = [memory_pieces(pids[process]) for process, may_know in MAY_KNOW.items() if not may_know]
    return any(chance.found_in_pieces(pieces) for pieces in strangers)


async def planted(box: DemoBox, staff: Staff, canaries: Canaries) -> str:
    """Walk 1 in every way there is: by hand, by form, by a practice's software; give the patient's page."""
    password = str(box.said["password"])
    [cookie] = [cookie.value for cookie in staff.browser._session.cookie_jar if cookie.key == COOKIE]
    canaries.watch_for("password", password)
    canaries.watch_for("cookie", cookie)
    person = (canaries.plant("family"), canaries.plant("given"), "12.08.1964", canaries.plant_ascii("number"))
    patient = await staff.create_patient(person[0], given_name=person[1], number=person[3])
    title, name = canaries.plant("title"), canaries.plant("file")
    text = (canaries.plant("text") + "\n").encode() * 5000
    await staff.upload(patient, text, name=f"{name}.txt", title=title)
    page = await staff.open("/devices")
    page = await staff.browser.send(page.form_to("/devices/new"), {"label": canaries.plant("device")})
    token = page.by_id["device-token"]
    canaries.watch_for("token", token, token.rpartition(".")[2])
    stored = await put_document(
        box,
        token,
        pdf(canaries.plant_ascii("pdf")),
        (person[0], person[1], "1964-08-12", person[3]),
        key=secrets.token_hex(16),
        name=f"{name}.pdf",
        title=title,
        media_type="application/pdf",
    )
    assert stored == 201
    await staff.open(f"/patients?text={canaries.plant_ascii('search')}")
    async with open_browser(box.practice_ca) as browser:
        stranger = Staff(browser, box.practice_url)
        with pytest.raises(Invalid):  # the page that comes is none of success
            await stranger.log_in(box.said["staff"], canaries.plant_ascii("mistyped"))
    return patient


def pdf(text: str) -> bytes:
    """A PDF whose words stand in it as they are."""
    made = FPDF()
    made.set_compression(False)
    made.add_page()
    made.set_font("Helvetica", size=12)
    made.cell(text=text)
    content = bytes(made.output())
    assert text.encode() in content
    return content


@asynccontextmanager
async def chromium_window(box: DemoBox, home: Path, *, private: bool) -> AsyncIterator[BrowserContext]:
    """Open Chromium with everything it writes below `home`: as a private window, or as people have it every day."""
    (home / "tmp").mkdir(parents=True)
    trust(home, [box.practice_ca, box.portal_ca])
    environment: dict[str, str | float | bool] = {**os.environ, "HOME": str(home), "TMPDIR": str(home / "tmp")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(home / "tmp"))  # where a private window's profile lies, as long as it is open
        playwright = await async_playwright().start()
    try:
        if private:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=[*ARGUMENTS, f"--disk-cache-dir={home}/cache"],
                env=environment,
                downloads_path=home,
            )
            context = await browser.new_context(locale="de-DE")
            await context.new_page()
            yield context
            await browser.close()
        else:
            yield await playwright.chromium.launch_persistent_context(
                home / "profile",
                executable_path=CHROMIUM,
                args=ARGUMENTS,
                env=environment,
                locale="de-DE",
                downloads_path=home,
            )
    finally:
        await playwright.stop()


async def read_everything(holder: PatientPage, link: str, wrong: str, pin: str) -> None:
    """Walk 2 in a browser: a wrong PIN once, the right one, and each document on the screen."""
    await holder.open(link)
    if wrong:
        await holder.offer(wrong)
        await expect(holder.page.locator("#problem .wrong")).to_be_visible()
    await holder.offer(pin)
    await expect(holder.page.locator(".documents")).to_be_visible()
    for number in range(await holder.page.locator(".documents li").count()):
        await holder.page.locator(".documents li").nth(number).locator("button").first.click()
        await expect(holder.page.locator("pre.text, iframe.pdf[data-shown]")).to_be_visible()
        await holder.back()
