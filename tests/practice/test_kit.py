"""Making, printing and checking the recovery kit, as a member of staff meets it."""

import re
import shutil
import subprocess

import pytest

from appliance.contracts.vault import BeginRestore
from appliance.practice.kit_paper import KitSheet, draw_kit_sheet
from appliance.practice.texts import read_texts
from tests.practice.bench import PASSWORD, PRACTICE_NAME, TELEPHONE
from tests.simulators.kit_paper import words_on

TEXTS = read_texts()
WORDS = " ".join(f"academic{'' if number % 2 else 'x'}" for number in range(33))


async def begun(browser) -> str:
    answer = await browser.open("/kit")
    assert "kit-health" not in answer.text
    answer = await browser.send("/kit/new", {"password": PASSWORD})
    found = re.search(r"/kit/([0-9a-f]{32})/print$", answer.url)
    assert found, answer.text
    return found[1]


async def printed(browser, kit: str, sheets: int = 3) -> list[list[str]]:
    """Print sheets and type their words back; gives the words of each."""
    papers = []
    for _ in range(sheets):
        pdf = await browser.open(f"/kit/{kit}/sheet.pdf?language=de")
        papers.append(words_on(pdf.body))
        typed = {"word_7": papers[-1][6].upper(), "word_16": papers[-1][15][:4]}
        answer = await browser.send(f"/kit/{kit}/print", typed)
        assert not answer.error, answer.text
    return papers


async def test_three_sheets_are_printed_one_after_the_other_and_then_gone(bench):
    browser = await bench.claimed()
    assert "kit-health" in (await browser.open("/status")).text
    kit = await begun(browser)
    papers = await printed(browser, kit)
    answer = bench.answers[-1]
    assert answer.url.endswith("/kit?done=kit_made")
    assert " ".join(papers[0][:2]) in answer.text
    assert len({tuple(words) for words in papers}) == 3
    for path in (f"/kit/{kit}/sheet.pdf", f"/kit/{kit}/print"):
        gone = await browser.open(path)
        assert (gone.status, gone.error) == (404, "kit")
    assert "kit-health" not in (await browser.open("/status")).text
    pages = [one.text for one in bench.answers if one.headers.get("Content-Type", "").startswith("text/html")]
    for words in papers:  # beyond the name of the kit, no page says a word of a sheet
        assert not any(" ".join(words[place : place + 2]) in page for page in pages for place in range(2, 31))
    restore = BeginRestore(
        session=browser.cookies["__Host-session"].value,
        password=PASSWORD,
        first=" ".join(papers[2]),
        second="\n".join(papers[0]),
    )
    begun_restore = await bench.desk.peers.vault.ask(restore)
    assert begun_restore.name == " ".join(papers[0][:2])


async def test_words_of_another_sheet_do_not_go_on(bench):
    browser = await bench.claimed()
    kit = await begun(browser)
    (first,) = await printed(browser, kit, 1)
    answer = await browser.send(f"/kit/{kit}/print", {"word_7": first[6], "word_16": first[15]})
    assert (answer.status, answer.error) == (403, "kit_words")
    answer = await browser.send(f"/kit/{kit}/print", {"word_7": "praxis", "word_16": first[15]})
    assert (answer.status, answer.error) == (422, "kit_word_misspelt")
    assert "field-word_7" in answer.text
    answer = await browser.send(f"/kit/{kit}/print", {"word_7": "", "word_16": first[15]})
    assert answer.error == "field_empty"
    assert "kit-health" in (await browser.open("/status")).text


async def test_a_kit_needs_the_right_password(bench):
    browser = await bench.claimed()
    answer = await browser.send("/kit/new", {"password": "some other password"})
    assert (answer.status, answer.error) == (403, "own_password")


async def test_another_session_sees_no_sheet(bench):
    browser = await bench.claimed()
    kit = await begun(browser)
    other = await bench.browser()
    await other.log_in()
    assert (await other.open(f"/kit/{kit}/sheet.pdf")).status == 404
    await browser.send("/logout")
    await browser.log_in()
    assert (await browser.open(f"/kit/{kit}/sheet.pdf")).status == 404


async def test_a_check_says_what_is_wrong_and_what_to_do(bench):
    browser = await bench.claimed()
    assert (await browser.open("/kit/check")).url.endswith("/kit")
    papers = await printed(browser, await begun(browser))

    async def check(sheet: str, words: list[str]):
        fields = {f"word_{place}": words[place - 1] for place in (7, 16, 25)}
        return await browser.send("/kit/check", {"sheet": sheet, **fields})

    assert "Blatt 2" in (await browser.open("/kit/check")).text
    assert (await check("1", papers[1])).error == "kit_other_sheet"
    assert (await check("", papers[1])).error == "kit_which_sheet"
    assert (await check("2", papers[1])).url.endswith("/kit?done=kit_sheet_checked")
    assert TEXTS["de"]("action.kit_sheet_checked") in (await browser.open("/history")).text


@pytest.mark.parametrize("language", ["de", "en"])
def test_a_sheet_fits_one_page_with_the_longest_words_and_names(language):
    sheet = KitSheet("Gemeinschaftspraxis " * 6, 2, "academic academic", WORDS, [7, 16, 25], "25.11.2026")
    pdf = draw_kit_sheet(sheet, TEXTS[language])
    assert "academicx" not in repr(sheet)
    if shutil.which("pdftotext"):
        done = subprocess.run(["pdftotext", "-bbox", "-", "-"], input=pdf, capture_output=True, check=True)
        (height,) = re.findall(rb'<page width="[0-9.]+" height="([0-9.]+)"', done.stdout)
        lowest = max(float(y) for y in re.findall(rb'yMax="([0-9.]+)"', done.stdout))
        assert lowest < float(height) - 30


def test_a_sheet_names_the_practice_and_no_telephone():
    sheet = KitSheet(PRACTICE_NAME, 1, "academic acid", WORDS, [7, 16, 25], "25.11.2026")
    done = subprocess.run(["pdftotext", "-", "-"], input=draw_kit_sheet(sheet, TEXTS["de"]), capture_output=True)
    text = done.stdout.decode()
    assert PRACTICE_NAME in text
    assert TELEPHONE not in text
