"""Finding, keeping and erasing patients and documents by browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.practice_pages import PracticePages

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def found(pages: PracticePages, text: str = "", birth_date: str = "") -> list[str]:
    """Search as staff do, and give the patients' paths."""
    await pages.open("/patients")
    await pages.fill(text=text, birth_date=birth_date)
    await pages.page.locator("form[role='search'] button").click()
    await pages.page.wait_for_url("**/patients?text=*")
    rows = await pages.page.locator("main a.row").all()
    return [await row.get_attribute("href") or "" for row in rows]


async def test_a_patient_is_found_by_name_and_by_birth_date(reception: PracticePages) -> None:
    first = await reception.create_patient("Suchmann", "Ägidius", "29.02.1948")
    second = await reception.create_patient("Suchmann", "Beate", "01.07.1990")
    assert await found(reception, "suchm") == [first, second]
    assert await found(reception, "agidius SUCHMANN") == [first]
    assert await found(reception, birth_date="29.2.1948") == [first]
    assert await found(reception, "Suchmann", "1990-07-01") == [second]
    assert await found(reception, "Unauffindbar") == []
    await expect(reception.page.locator("main a[href^='/patients/new?family_name=Unauffindbar']")).to_be_visible()


async def test_documents_are_shown_by_kind(reception: PracticePages, files: dict[str, Path]) -> None:
    patient = await reception.create_patient("Artmann", "Karl", "12.08.1964")
    await reception.upload([files["finding"], files["image"]], "finding")
    await reception.upload(files["lab"], "lab")
    assert sorted(await reception.documents()) == ["befund", "labor", "röntgen"]
    await reception.page.locator(".chips a[href$='kind=lab']").click()
    await expect(reception.page.locator(".documents > li")).to_have_count(1)
    assert list(await reception.documents()) == ["labor"]
    await reception.page.locator(f".chips a[href='{patient}']").click()
    await expect(reception.page.locator(".documents > li")).to_have_count(3)


async def test_what_is_no_document_is_refused_by_name_and_the_others_are_kept(
    reception: PracticePages, files: dict[str, Path], tmp_path: Path
) -> None:
    await reception.create_patient("Falschdatei", "Uwe", "12.08.1964")
    program, empty = tmp_path / "programm.pdf", tmp_path / "leer.txt"
    program.write_bytes(b"\x7fELF" + bytes(100))
    empty.write_bytes(b"")
    reception.watch.expected += ["/documents"]
    await reception.page.locator("#field-file").set_input_files([program, files["lab"], empty])
    await reception.page.locator("form.upload button").click()
    refusals = reception.page.locator("#error li[data-code]")
    await expect(refusals).to_have_count(2)
    assert [await one.get_attribute("data-code") for one in await refusals.all()] == [
        "document_type",
        "document_empty",
    ]
    assert "programm.pdf" in await refusals.first.inner_text()
    assert list(await reception.documents()) == ["labor"]
    await reception.upload(files["finding"], "finding")
    assert len(await reception.documents()) == 2, "the form works again after a failure"


async def test_a_patient_of_the_same_name_and_birth_date_is_asked_about_first(reception: PracticePages) -> None:
    patient = await reception.create_patient("Doppelt", "Anna", "1.1.1950")
    reception.watch.expected += ["/patients/new"]
    await reception.open("/patients/new")
    await reception.fill(family_name="Doppelt", given_name="Anna", birth_date="01.01.1950")
    await reception.send("/patients/new")
    assert await reception.error() == "patient_exists"
    await expect(reception.page.locator(f"main a.button[href='{patient}']")).to_be_visible()
    await reception.page.locator("#same-name").check()
    await reception.send("/patients/new")
    await reception.page.wait_for_url("**/patients/*?done=patient_made")
    assert reception.path != patient


async def test_a_wrong_birth_date_is_said_at_its_field_and_nothing_typed_is_lost(reception: PracticePages) -> None:
    reception.watch.expected += ["/patients/new"]
    await reception.open("/patients/new")
    await reception.fill(family_name="Kalender", given_name="Ida", birth_date="31.02.1970")
    await reception.send("/patients/new")
    assert await reception.error() == "birth_date"
    await expect(reception.page.locator("#field-birth_date")).to_be_focused()
    await expect(reception.page.locator("#field-birth_date")).to_have_value("31.02.1970")
    await expect(reception.page.locator("#field-family_name")).to_have_value("Kalender")


async def test_erasing_asks_first_and_then_the_document_and_the_patient_are_gone(
    reception: PracticePages, files: dict[str, Path]
) -> None:
    patient = await reception.create_patient("Löschmann", "Otto", "12.08.1964")
    await reception.upload([files["finding"], files["lab"]], "finding")
    [erased, kept] = list((await reception.documents()).values())
    await reception.page.locator(f"a[href='/documents/{erased}/delete']").click()
    await reception.page.locator(f"main a[href='{patient}']").click()
    assert len(await reception.documents()) == 2, "cancelled"
    await reception.page.locator(f"a[href='/documents/{erased}/delete']").click()
    await reception.page.locator("input[name=reason][value=no_record]").check()
    await reception.send("/delete")
    await reception.page.wait_for_url(f"**{patient}?done=*")
    assert list((await reception.documents()).values()) == [kept]
    await reception.open(f"{patient}/delete")
    await reception.page.locator("input[name=reason][value=no_record]").check()
    await reception.send("/delete")
    await reception.page.wait_for_url("**/patients?done=*")
    assert await found(reception, "Löschmann") == []
    reception.watch.expected += [patient, kept]
    for path in (patient, f"/documents/{kept}/open"):
        await reception.open(path)
        assert await reception.error()
