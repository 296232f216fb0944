from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.simulators.patient_side import PIN, MadeShare, PatientSide, zeros_and_more
from tests.simulators.sample_documents import TEXT, Sample, report_pdf, sample_documents

pytestmark = pytest.mark.browser

LARGE = 80 << 20
WITHOUT_PICKER = "delete Window.prototype.showSaveFilePicker; delete window.showSaveFilePicker"


@pytest.fixture
def share(side: PatientSide) -> MadeShare:
    return side.make_share(sample_documents())


@pytest.fixture
def large(side: PatientSide) -> MadeShare:
    return side.make_share([Sample("aufnahme.pdf", "Aufnahme", "image", "application/pdf", zeros_and_more(LARGE))])


async def offer_pin(page: Page, link: str, pin: str = PIN) -> None:
    await page.goto(link)
    await page.locator("#pin").fill(pin)
    await page.keyboard.press("Enter")


async def wait_until(page: Page, condition: str) -> None:
    """Playwright's own waiting evaluates text, which the page's policy forbids."""
    async with asyncio.timeout(20):
        while not await page.evaluate(condition):
            await asyncio.sleep(0.02)


async def open_share(page: Page, link: str) -> None:
    await offer_pin(page, link)
    await expect(page.locator(".documents")).to_be_visible()


async def test_the_secret_leaves_the_address_bar_and_nothing_stays_in_the_browser(
    page: Page, side: PatientSide, share: MadeShare
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.url} {request.headers} {request.post_data}"))
    await open_share(page, share.link)
    secret = share.link.partition("#")[2]
    assert page.url == f"https://{side.vault.host}:{side.port}/"
    assert not any(secret in entry.partition("#")[0] for entry in asked)
    left = (
        "[localStorage.length, sessionStorage.length, document.cookie, history.length, JSON.stringify(history.state)]"
    )
    assert (await page.evaluate(left))[:3] == [0, 0, ""]
    assert await page.evaluate("indexedDB.databases().then(found => found.length)") == 0
    assert await page.evaluate("caches.keys().then(found => found.length)") == 0
    assert secret not in await page.content()


async def test_text_picture_and_pdf_are_shown(page: Page, share: MadeShare) -> None:
    await open_share(page, share.link)
    await page.get_by_role("button", name="Laborwerte öffnen").click()
    assert await page.locator("pre").inner_text() == TEXT.decode()
    await page.get_by_role("button", name="Zurück").click()
    await page.get_by_role("button", name="Röntgenbild Thorax öffnen").click()
    await wait_until(page, "document.querySelector('.picture')?.naturalWidth === 1600")
    await page.get_by_role("button", name="Zurück").click()
    await page.get_by_role("button", name="Befund Röntgen öffnen").click()
    await page.locator(".pdf[data-shown='3']").wait_for()
    viewer = page.frame_locator(".pdf")
    await expect(viewer.locator("canvas").first).to_be_attached()
    await expect(viewer.locator(".page p").first).to_contain_text("Röntgen Thorax in zwei Ebenen")


async def test_a_document_that_another_box_sealed_is_shown_beside_the_share_s_own(
    page: Page, side: PatientSide
) -> None:
    samples = [
        Sample("alt.txt", "Von früher", "finding", "text/plain", [b"vom Vorgaenger"], box="ab" * 16),
        Sample("neu.txt", "Von heute", "finding", "text/plain", [b"von dieser Box"]),
    ]
    await open_share(page, side.make_share(samples).link)
    for title, text in (("Von früher", "vom Vorgaenger"), ("Von heute", "von dieser Box")):
        await page.get_by_role("button", name=f"{title} öffnen").click()
        assert await page.locator("pre").inner_text() == text
        await page.get_by_role("button", name="Zurück").click()


async def test_the_viewer_is_another_origin_and_connects_nowhere(
    page: Page, share: MadeShare, errors: list[str]
) -> None:
    await open_share(page, share.link)
    await page.get_by_role("button", name="Befund Röntgen öffnen").click()
    await page.locator(".pdf[data-shown]").wait_for()
    [frame] = [frame for frame in page.frames if frame.url.endswith("/viewer.html")]
    assert await frame.evaluate("self.origin") == "null"
    tried = {
        "the page around": "parent.document.title",
        "storage": "localStorage.length",
        "its own box": "fetch('/api/state', {method: 'POST'})",
        "elsewhere": "fetch('https://example.org/')",
    }
    for what, act in tried.items():
        outcome = await frame.evaluate(
            f"(async () => {{ try {{ await ({act}); return 'done' }} catch {{ return 'no' }} }})()"
        )
        assert outcome == "no", what
    assert len(errors) >= 2  # the policy stopped both connections before they left
    errors.clear()


async def test_a_saved_document_has_every_byte(page: Page, share: MadeShare) -> None:
    await open_share(page, share.link)
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="Rechnung 2026-0417 speichern").click()
    download = await saving.value
    assert download.suggested_filename == "rechnung.pdf"
    saved = Path(await download.path()).read_bytes()
    assert saved[:5] == b"%PDF-"
    assert len(saved) == share.documents[3].length == len(report_pdf(1))


async def test_a_large_document_streams_through_a_service_worker_that_is_gone_afterwards(
    page: Page, large: MadeShare
) -> None:
    await page.add_init_script(WITHOUT_PICKER)
    await open_share(page, large.link)
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="Aufnahme speichern").click()
    download = await saving.value
    await expect(page.locator(".good")).to_contain_text("ist gespeichert", timeout=60_000)
    digest = hashlib.sha256()
    for piece in zeros_and_more(LARGE):
        digest.update(piece)
    assert hashlib.sha256(Path(await download.path()).read_bytes()).digest() == digest.digest()
    assert await page.evaluate("navigator.serviceWorker.getRegistrations().then(found => found.length)") == 0


async def test_a_broken_transfer_goes_on_and_the_person_is_told(
    page: Page, side: PatientSide, large: MadeShare
) -> None:
    await page.add_init_script(WITHOUT_PICKER)
    await open_share(page, large.link)
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="Aufnahme speichern").click()
    await wait_until(page, "document.querySelector('progress')?.value > 5e6")
    side.break_connections()
    await expect(page.get_by_text("Die Verbindung ist unterbrochen").first).to_be_attached()
    await expect(page.locator(".good")).to_contain_text("ist gespeichert", timeout=60_000)
    assert Path(await (await saving.value).path()).stat().st_size == LARGE


async def test_a_share_revoked_during_the_transfer_says_so_and_leaves_no_file(page: Page, large: MadeShare) -> None:
    await page.add_init_script(WITHOUT_PICKER)
    await open_share(page, large.link)
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="Aufnahme speichern").click()
    await wait_until(page, "document.querySelector('progress')?.value > 1e6")
    large.state.revoked = True
    large.folder.rename(large.folder.with_name("withdrawn"))
    await expect(page.get_by_role("heading")).to_have_text("Die Praxis hat diesen Link zurückgezogen")
    await expect(page.get_by_role("link")).to_have_attribute("href", "tel:0301234567")
    assert await (await saving.value).failure() is not None


async def test_a_changed_document_is_neither_shown_nor_saved(page: Page, share: MadeShare) -> None:
    file = share.folder / share.documents[1].file
    changed = bytearray(file.read_bytes())
    changed[60] ^= 1
    file.write_bytes(changed)
    await open_share(page, share.link)
    await page.get_by_role("button", name="Laborwerte öffnen").click()
    await expect(page.get_by_role("heading")).to_have_text("Dieses Dokument ist nicht unversehrt angekommen")


async def test_wrong_pins_count_down_and_the_fifth_locks(page: Page, share: MadeShare) -> None:
    await page.goto(share.link)
    for left in ("4 Versuche", "3 Versuche", "2 Versuche", "1 Versuch"):
        await page.locator("#pin").fill("111 111")
        await page.keyboard.press("Enter")
        await expect(page.locator("#problem")).to_contain_text(f"noch {left}")
    await page.locator("#pin").fill("111111")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading")).to_have_text("Dieser Link ist gesperrt")
    await expect(page.get_by_role("link")).to_have_text("030 1234567")


async def test_a_short_pin_costs_no_try(page: Page, share: MadeShare) -> None:
    await offer_pin(page, share.link, "12")
    await expect(page.locator("#problem")).to_contain_text("6 bis 8 Ziffern")
    assert share.state.tries_left == 5


@pytest.mark.parametrize(
    ("change", "title"),
    [
        (lambda link: link[:-1], "Der Link ist nicht vollständig"),
        (lambda link: link.partition("#")[0], "Der Link ist nicht vollständig"),
        (lambda link: link[:-3] + "AAA", "Diesen Link kennen wir nicht"),
        (lambda link: link.replace("#", "%23"), "Dieser Link wurde unterwegs verändert"),
    ],
)
async def test_a_link_that_does_not_work_says_why(page: Page, share: MadeShare, change, title: str) -> None:
    await page.goto(change(share.link))
    await expect(page.get_by_role("heading")).to_have_text(title)
    assert page.url.endswith("/")


async def test_after_reloading_the_link_is_needed_again_and_another_link_works_in_the_same_tab(
    page: Page, side: PatientSide, share: MadeShare
) -> None:
    await open_share(page, share.link)
    await page.reload()
    await expect(page.get_by_role("heading")).to_have_text("Der Link ist nicht vollständig")
    await page.evaluate(f"location.hash = {share.link.partition('#')[2]!r}")
    await expect(page.locator("#pin")).to_be_visible()
    assert page.url.endswith("/")


async def test_the_keyboard_is_enough_and_the_language_can_be_switched(page: Page, share: MadeShare) -> None:
    await page.goto(share.link)
    await expect(page.locator("#pin")).to_be_focused()
    await page.keyboard.type(PIN)
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_be_focused()
    await page.get_by_role("button", name="English").press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your documents")
    assert await page.evaluate("document.documentElement.lang") == "en"
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.locator(".pdf[data-shown]").wait_for()


async def test_without_javascript_a_sentence_says_what_to_do(browser, side: PatientSide, share: MadeShare) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(share.link)
    await expect(page.get_by_role("heading")).to_have_text("So lassen sich Ihre Dokumente nicht öffnen")
    await context.close()


async def test_loading_the_page_changes_nothing(page: Page, share: MadeShare) -> None:
    """A mail scanner that runs scripts and clicks every button spends nothing (docs/threats.md, A17)."""
    await page.goto(share.link)
    await page.locator("#pin").wait_for()
    for button in await page.get_by_role("button").all():
        await button.click()
        await asyncio.sleep(0)
    assert share.state.tries_left == 5
