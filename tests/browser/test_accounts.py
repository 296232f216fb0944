"""Who may use the box, by browser: a second member of staff, passwords, practice software."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.browser.chromium import PHONE, visitor
from tests.browser.practice_pages import PracticePages
from tests.browser.practice_software import put_document
from tests.simulators.demo_box import DemoBox

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FIRST, SECOND = "zwölf Zeichen reichen", "noch ein anderer Satz"


async def test_a_second_member_joins_changes_the_password_logs_out_and_is_removed(
    reception: PracticePages, chromium: Browser, box: DemoBox
) -> None:
    await reception.open("/staff")
    await reception.fill(name="Murat Demir")
    await reception.send("/staff/invite")
    code = await reception.page.locator("#invitation-code").inner_text()
    await reception.open("/staff")
    assert code not in await reception.page.content(), "the code was shown once"

    async with visitor(chromium, box) as (context, watch):
        watch.expected += ["/password", "/login", "/patients", "/invitation"]
        member = PracticePages(await context.new_page(), box.practice_url, watch)
        await member.open("/invitation")
        await member.fill(code=code, password=FIRST, password_again=FIRST)
        await member.send("/invitation")
        await member.page.wait_for_url("**/patients?done=joined")

        await member.open("/password")
        await member.fill(old_password="falsch falsch falsch", password=SECOND, password_again=SECOND)
        await member.send("/password")
        assert await member.error() == "old_password"
        await member.fill(old_password=FIRST, password=SECOND, password_again=SECOND)
        await member.send("/password")
        await member.page.wait_for_url("**/password?done=password_changed")

        await member.log_out()
        await member.page.go_back()
        await member.open("/patients")
        assert member.path == "/login", "nothing opens after logging out"
        await member.log_in("Murat Demir", FIRST)
        await expect(member.page.locator("#error")).to_be_visible()
        await member.log_in("Murat Demir", SECOND)
        await member.page.wait_for_url("**/patients")
        await expect(member.page.locator(".who")).to_have_text("Murat Demir")

        await member.open("/invitation")
        await member.fill(code=code, password=FIRST, password_again=FIRST)
        await member.send("/invitation")
        assert await member.error(), "a code is good once"

        await reception.open("/staff")
        row = reception.page.locator(".rows > li", has_text="Murat Demir")
        await row.locator("a[href$='/remove']").click()
        await reception.send("/remove")
        await reception.page.wait_for_url("**/staff?done=*")
        await expect(row).to_have_count(0)
        await member.open("/patients")
        assert member.path == "/login", "a removed member's session ends at once"


async def test_practice_software_puts_documents_with_its_token_until_it_is_revoked(
    reception: PracticePages, box: DemoBox
) -> None:
    await reception.open("/devices")
    await reception.fill(label="Praxissoftware am Empfang")
    await reception.send("/devices/new")
    token = await reception.page.locator("#device-token").inner_text()
    await reception.open("/devices")
    assert token not in await reception.page.content(), "the token was shown once"

    patient = await reception.create_patient("Schnittstelle", "Ada", "10.12.1965", "S-1")
    content = b"Laborwerte\n" * 1000
    person = ("Schnittstelle", "Ada", "1965-12-10", "S-1")
    assert await put_document(box, token, content, person, key="first") == 201
    assert await put_document(box, token, content, person, key="first") == 200, "sent again, stored once"
    await reception.open(patient)
    documents = await reception.documents()
    assert list(documents) == ["Großes Blutbild"]
    assert await reception.download(documents["Großes Blutbild"]) == ("blutbild.txt", content)

    await reception.open("/devices")
    row = reception.page.locator(".rows > li", has_text="Praxissoftware am Empfang")
    await row.locator("a[href$='/revoke']").click()
    await reception.send("/revoke")
    await reception.page.wait_for_url("**/devices?done=*")
    await expect(row).to_have_count(0)
    assert await put_document(box, token, content, person, key="second") in {401, 403}


async def test_staff_may_work_in_english_and_the_browser_remembers(reception: PracticePages) -> None:
    html = reception.page.locator("html")
    await reception.open("/patients")
    await expect(html).to_have_attribute("lang", "de")
    await reception.page.locator("a.language").click()
    await expect(html).to_have_attribute("lang", "en")
    await reception.open("/shares")
    await expect(html).to_have_attribute("lang", "en")
    await reception.page.locator("a.language").click()
    await expect(html).to_have_attribute("lang", "de")


async def test_a_session_s_pages_need_a_session(chromium: Browser, box: DemoBox) -> None:
    async with visitor(chromium, box, viewport=PHONE) as (context, watch):
        stranger = PracticePages(await context.new_page(), box.practice_url, watch)
        for path in ("/patients", "/shares", "/history", "/staff", "/devices", "/password", "/status"):
            await stranger.open(path)
            assert stranger.path == "/login"
