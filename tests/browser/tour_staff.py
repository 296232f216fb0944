"""The part of the tour that staff see, from the unclaimed box to the last error page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import Page, expect

from tests.browser.practice_pages import PracticePages
from tests.browser.tour_reset import ResetTour
from tests.simulators.kit_paper import words_on

SAMPLES = Path(__file__).parents[2] / "appliance/demo/samples"
PASSWORD = "ein kurzer Satz merkt sich"
PRACTICE = {"practice_name": "Praxis am Lindenplatz", "telephone": "030 5550 1234"}
DOCUMENTS = (
    ("befund-echokardiographie.pdf", "finding", "Befund Echokardiographie"),
    ("labor.txt", "lab", "Laborbericht"),
    ("ekg-ruhe.png", "image", "EKG in Ruhe"),
    ("roentgen-thorax.jpg", "image", "Röntgen Thorax"),
)
PATIENTS = (
    ("Mustermann", "Max", "03.02.1961", "4712"),
    ("Öztürk", "Aylin", "27.11.1988", "4713"),
    ("von und zu Wolkenstein-Rodenegg", "Maximiliane Henriette", "29.02.1948", "4714"),
)
#: A copy is fetched back and compared before the page calls it good.
COPY_TIMEOUT_MS = 90_000
#: Begins like a PDF and is none: what a program that broke off leaves behind.
BROKEN_PDF = ("arztbrief-defekt.pdf", "letter", "Arztbrief, beschädigt", b"%PDF-1.7\nabgebrochen\n")
WRONG_FILE = {"name": "brief.docx", "mimeType": "application/vnd.ms-word", "buffer": b"PK\3\4" + bytes(99)}

Show = Callable[[Page, str], Awaitable[None]]
#: A printed sheet: its name and its PDF.
ShowSheet = Callable[[str, bytes], Awaitable[None]]


class StaffTour:
    """One member of staff, page after page; its steps are called in their order."""

    def __init__(self, pages: PracticePages, show: Show, show_sheet: ShowSheet) -> None:
        self._pages = pages
        self._show = show
        self._show_sheet = show_sheet
        #: The words of the emergency sheets, as the kit's papers have them.
        self.sheets: list[list[str]] = []

    async def _at(self, path: str, name: str) -> None:
        await self._pages.open(path)
        await self._show(self._pages.page, name)

    async def _refused(self, name: str) -> None:
        """Show the page once it says what was wrong."""
        await expect(self._pages.page.locator("#error")).to_be_visible()
        await self._show(self._pages.page, name)

    async def door(self, claim_code: str) -> None:
        """Claim the box; log in, in every way that fails and the one that does not."""
        pages, page = self._pages, self._pages.page
        await self._at("/", "staff-claim")
        await pages.claim("AAAAA-AAAAA-AAAAA-AAAAA", "Sabine Keller", PASSWORD, **PRACTICE)
        await self._refused("staff-claim-refused")
        await pages.claim(claim_code, "Sabine Keller", PASSWORD, **PRACTICE)
        await page.wait_for_url("**/patients?done=claimed")
        await self._show(page, "staff-claimed")
        await self._at("/restore", "staff-restore")
        await pages.log_out()
        await self._show(page, "staff-login")
        await pages.log_in("Sabine Keller", "falsch falsch")
        await self._refused("staff-login-refused")
        await ResetTour(pages, self._show).by_code(claim_code)
        await self._at("/login?why=unsaved&next=/patients", "staff-locked")
        await self._at("/nowhere", "staff-no-such-page-logged-out")
        await self._at("/invitation", "staff-invitation")
        await pages.fill(code="AAAAA-AAAAA-AAAAA-AAAAA", password=PASSWORD, password_again=PASSWORD)
        await pages.send("/invitation")
        await self._refused("staff-invitation-refused")
        await pages.log_in("Sabine Keller", PASSWORD)
        await page.wait_for_url("**/patients")

    async def patients(self) -> str:
        """Create patients, search, upload; gives the path of the one with documents."""
        pages, page = self._pages, self._pages.page
        for person in PATIENTS:
            await pages.create_patient(*person)
        await pages.open("/patients/new")
        await pages.fill(family_name="Mustermann", given_name="Erika", birth_date="31.02.1964", number="4711")
        await pages.send("/patients/new")
        await self._refused("staff-new-patient-refused")
        patient = await pages.create_patient("Mustermann", "Erika", "12.08.1964", "4711")
        await self._show(page, "staff-patient-without-documents")
        await pages.open("/patients/new")
        await pages.fill(family_name="Mustermann", given_name="Erika", birth_date="12.08.1964")
        await pages.send("/patients/new")
        await self._refused("staff-patient-exists")
        await self._at("/patients", "staff-patients")
        await self._at("/patients?text=Mustermannn&birth_date=", "staff-nobody-found")
        await self._at("/patients?text=&birth_date=31.02.1964", "staff-search-refused")
        await self._at(f"{patient}/edit", "staff-edit-patient")
        await pages.open(patient)
        for name, kind, title in DOCUMENTS:
            await pages.upload(SAMPLES / name, kind, title)
        await self._show(page, "staff-patient")
        await page.locator("#field-file").set_input_files([WRONG_FILE])
        await page.locator("form.upload button").click()
        await expect(page.locator("#error li[data-code]")).to_have_count(1)
        await self._show(page, "staff-upload-refused")
        await pages.open(patient)
        await page.locator("main form[action$='/shares'] button").click()
        await self._refused("staff-nothing-ticked")
        await self._at("/patients?text=Echokardiographie", "staff-found-in-documents")
        await self._at("/documents", "staff-search-documents")
        await self._at("/documents?text=Echokardiographie", "staff-documents-found")
        return patient

    async def share(self, patient: str) -> tuple[str, str]:
        """Share documents, both papers printed; gives link and PIN."""
        pages, page = self._pages, self._pages.page
        await pages.open(patient)
        await self._add_broken_pdf()
        share = await pages.make_share(list((await pages.documents()).values()))
        await self._show(page, "staff-link")
        link = await page.locator("#link").inner_text()
        await self._show_sheet("paper-link-sheet", await pages.fetch(f"{share}/link-sheet.pdf?language=de"))
        await pages.confirm_printed()
        await page.wait_for_url(f"**{share}/pin")
        await self._show(page, "staff-pin")
        pin = (await page.locator("#pin").inner_text()).replace(" ", "")
        await self._show_sheet("paper-pin-slip", await pages.fetch(f"{share}/pin-slip.pdf?language=de"))
        await pages.confirm_printed()
        await page.wait_for_url(f"**{patient}?done=*")
        await self._show(page, "staff-shared")
        await self._at(f"{share}/link", "staff-link-is-gone")
        await self._at(f"{share}/pin", "staff-pin-is-gone")
        return link, pin

    async def _add_broken_pdf(self) -> None:
        name, kind, title, content = BROKEN_PDF
        page, count = self._pages.page, len(DOCUMENTS)
        await page.locator("#field-kind").select_option(kind)
        await page.locator("#field-title").fill(title)
        file = {"name": name, "mimeType": "application/pdf", "buffer": content}
        await page.locator("#field-file").set_input_files([file])
        await page.locator("form.upload button").click()
        await expect(page.locator("input[name='documents']")).to_have_count(count + 1)

    async def practice(self) -> None:
        """Who may use the box, and how it is."""
        pages, page = self._pages, self._pages.page
        await pages.open("/staff")
        await pages.fill(name="Murat Demir")
        await pages.send("/staff/invite")
        await expect(page.locator("#invitation-code")).to_be_visible()
        await self._show(page, "staff-invited")
        await self._at("/staff", "staff-team")
        await page.locator("a[href$='/remove']").last.click()
        await page.wait_for_url("**/remove")
        await self._show(page, "staff-remove-member")
        await self._at("/devices", "staff-no-practice-software")
        await pages.fill(label="Praxissoftware am Empfang")
        await pages.send("/devices/new")
        await expect(page.locator("#device-token")).to_be_visible()
        await self._show(page, "staff-practice-software-token")
        await self._at("/devices", "staff-practice-software")
        await page.locator("main a[href$='/revoke']").first.click()
        await page.wait_for_url("**/revoke")
        await self._show(page, "staff-revoke-practice-software")
        await self._at("/password", "staff-password")
        await pages.fill(old_password="falsch falsch falsch", password=PASSWORD, password_again=PASSWORD)
        await pages.send("/password")
        await self._refused("staff-password-refused")
        await self._unlocking()
        await self._at("/status", "staff-status")
        await self._at("/status/internet", "staff-internet")
        await page.locator("summary").click()
        await pages.fill(address="127.0.0.1:9", user="praxis", proxy_password="geheim")
        await pages.send("/status/internet")
        await self._refused("staff-internet-refused")
        await self._at("/status/page-key", "staff-page-key")
        await pages.fill(password="falsch falsch falsch")
        await pages.send("/status/page-key/replace")
        await self._refused("staff-page-key-refused")

    async def _unlocking(self) -> None:
        """How the box opens, and the lock; the box opens by itself again in the end."""
        pages, page = self._pages, self._pages.page
        await self._at("/unlocking", "staff-unlocking")
        await self._choose("pin", pin="111111", pin_again="111111", label="Empfang")
        await self._refused("staff-unlocking-refused")
        await self._choose("computer", label="Empfang")
        await expect(page.locator("#spare-code")).to_be_visible()
        await self._show(page, "staff-spare-code")
        ending = (await page.locator("#spare-code").inner_text())[-5:]
        await pages.fill(code="UUUUU")
        await pages.send("/unlocking/accept")
        await self._refused("staff-spare-code-refused")
        await pages.fill(code=ending)
        await pages.send("/unlocking/accept")
        await page.wait_for_url("**done=unlocking_chosen")
        await self._at("/unlocking", "staff-computers")
        await page.locator("main a[href$='/remove']").first.click()
        await page.wait_for_url("**/remove")
        await self._show(page, "staff-remove-computer")
        await pages.open("/unlocking")
        await self._choose("itself")
        await page.wait_for_url("**done=unlocking_chosen")
        await self._at("/lock", "staff-lock")

    async def _choose(self, way: str, **fill: str) -> None:
        pages, page = self._pages, self._pages.page
        await page.locator(f"input[value='{way}']").check()
        await pages.fill(**fill)
        await page.locator("form[action='/unlocking'] #field-password").fill(PASSWORD)
        await pages.send("/unlocking")

    async def locked(self) -> None:
        """The box is locked, and opened again at a paired computer with its PIN."""
        pages, page = self._pages, self._pages.page
        pages.watch.expected += ["status 503", "status of 503", "status 403", "status of 403", "net::ERR_"]
        await pages.open("/unlocking")
        await self._choose("pin", pin="314159", pin_again="314159", label="Empfang")
        await pages.fill(code=(await page.locator("#spare-code").inner_text())[-5:])
        await pages.send("/unlocking/accept")
        await page.wait_for_url("**done=unlocking_chosen")
        await pages.open("/lock")
        await pages.send("/lock")
        await page.wait_for_url("**/unlock", timeout=60_000)
        await self._show(page, "staff-unlock")
        await pages.fill(pin="271828")
        await page.locator("main form button").click()
        await self._refused("staff-unlock-refused")
        await page.context.clear_cookies(name="__Secure-computer")
        await page.goto(page.url)
        await self._show(page, "staff-unlock-unpaired")

    async def reset(self, state: Path) -> None:
        """The locked box, whose state lies in this folder, is emptied; nothing can come after it."""
        await ResetTour(self._pages, self._show).by_sheets(self.sheets[1:], state)

    async def kit(self) -> None:
        """Make the emergency sheets, print all three, check one; each mistake that people make is shown."""
        pages, page = self._pages, self._pages.page
        await self._at("/unlocking", "staff-unlocking-without-emergency-sheets")
        await self._at("/backup", "staff-backup-without-emergency-sheets")
        await self._at("/kit", "staff-no-emergency-sheets")
        await pages.fill(password="falsch falsch")
        await pages.send("/kit/new")
        await self._refused("staff-emergency-sheets-refused")
        await pages.fill(password=PASSWORD)
        await pages.send("/kit/new")
        await page.wait_for_url("**/print")
        await self._show(page, "staff-print-emergency-sheet")
        words: list[str] = []
        for number in (1, 2, 3):
            pdf = await pages.fetch(f"{pages.path.removesuffix('/print')}/sheet.pdf?language=de")
            if number == 2:  # the words of the sheet before
                await pages.fill(word_7=words[6], word_16=words[15])
                await pages.send("/print")
                await self._refused("staff-print-emergency-sheet-refused")
            words = words_on(pdf)
            self.sheets.append(words)
            await pages.fill(word_7=words[6], word_16=words[15][:4])
            if number == 1:
                await self._show_sheet("paper-emergency-sheet", pdf)
            await pages.send("/print")
            await expect(page.locator("#error")).to_have_count(0)
            await page.wait_for_url("**/kit?done=kit_made" if number == 3 else "**/print")
            await expect(page.locator("#field-word_7")).to_have_count(int(number < 3))
        await self._show(page, "staff-emergency-sheets")
        await self._at("/kit/check", "staff-check-emergency-sheet")
        for sheet, name in (("2", "staff-check-emergency-sheet-refused"), ("3", "staff-emergency-sheet-checked")):
            await page.locator(f"input[name='sheet'][value='{sheet}']").check()
            await pages.fill(word_7=words[6], word_16=words[15], word_25=words[24])
            await pages.send("/kit/check")
            if sheet == "2":
                await self._refused(name)
        await page.wait_for_url("**/kit?done=kit_sheet_checked")
        await self._show(page, name)

    async def backup(self, disk: str) -> None:
        """Where copies go, a copy on a disk, and the way back on a box that has patients; the rest is in tour_backup.py."""
        pages, page = self._pages, self._pages.page
        await self._at("/backup", "staff-backup-without-place")
        await self._at("/backup/store", "staff-backup-places")
        await self._at("/backup/store?kind=sftp", "staff-backup-place-sftp")
        await self._at("/backup/store?kind=rest", "staff-backup-place")
        await pages.fill(place="nas", user="praxis", secret="geheim geheim")
        await pages.send("/backup/store")
        await self._refused("staff-backup-place-refused")
        await self._at("/backup/store?kind=disk", "staff-backup-place-disk")
        await pages.fill(place=disk)
        await pages.send("/backup/store")
        await page.wait_for_url("**/backup?done=store_set")
        await self._show(page, "staff-backup-place-chosen")
        await pages.send("/backup/start")
        copied = page.locator("#backup-health[data-standing='good_today']")
        await expect(copied).to_be_visible(timeout=COPY_TIMEOUT_MS)  # the page loads itself again until then
        await self._at("/backup", "staff-backup")
        await self._at("/backup/forget", "staff-backup-forget")
        await self._at("/restore", "staff-restore-not-empty")
        await self._at("/restore/store", "staff-restore-places")
        await self._at("/restore/abandon", "staff-restore-abandon")
        await self._at("/shares/earlier", "staff-no-earlier-shares")
        await self._at("/shares/earlier/print", "staff-no-earlier-shares-to-print")

    async def lists(self, patient: str) -> None:
        """Shares, history, and the questions before something is gone for good."""
        pages, page = self._pages, self._pages.page
        await self._at("/shares", "staff-shares")
        await page.locator("main a[href$='/revoke']").first.click()
        await page.wait_for_url("**/revoke")
        await self._show(page, "staff-revoke")
        await self._at("/history", "staff-history")
        await self._at(f"/history?patient={patient.rpartition('/')[2]}", "staff-patient-history")
        await pages.open(patient)
        await page.locator("a[href^='/documents/'][href$='/delete']").first.click()
        await page.wait_for_url("**/delete")
        await self._show(page, "staff-erase-document")
        await self._at(f"{patient}/delete", "staff-erase-patient")
        await self._at(f"/patients/{'0' * 32}", "staff-no-such-patient")
        await self._at("/nowhere", "staff-no-such-page")

    async def ended(self) -> None:
        """Shares that are over."""
        await self._show(self._pages.page, "staff-share-revoked")
        await self._at("/shares?ended=yes", "staff-ended-shares")
