"""The way back on a replacement box: two sheets, the place, the generation, what is told while it runs and after."""

import gc
import json
import re

import pytest
from msgspec.structs import replace

from appliance.contracts.backup import AbandonRestore, Outcome, ReadGenerations, SetStore, StartRestore
from appliance.contracts.vault import DescribeKit, EndRestore
from appliance.core.errors import Refused, Unavailable
from appliance.practice.restore_step import Facts, restore_step
from tests.practice.backup_peer import DAY_S, EMPTY, earlier_share, generation, running, store_state
from tests.practice.bench import PASSWORD, PDF
from tests.practice.test_intake import HEADERS

OLD_BOX = "ab" * 16
REST = {"kind": "rest", "place": "https://sicherung.example:8000/praxis", "user": "praxis", "secret": "secret 7731"}


def step(answer) -> str:
    found = re.search(r'id="restore" data-step="([a-z]+)"', answer.text)
    return found[1] if found else ""


def numbered(words: str) -> str:
    """As a person types a sheet: numbers, four letters, three columns of lines."""
    return "\r\n".join(f"{place}. {word[:4].upper()}" for place, word in enumerate(words.split(), start=1))


async def sheets_read(browser, sheets):
    return await browser.send(
        "/restore/sheets", {"first": numbered(sheets[0]), "second": sheets[2], "password": PASSWORD}
    )


async def restoring_since(bench, browser) -> int:
    session = browser.cookies["__Host-session"].value
    return (await bench.desk.peers.vault.ask(DescribeKit(session=session))).restoring_since


async def test_an_empty_box_leads_from_its_first_page_to_the_end(bench):
    browser = await bench.claimed()
    sheets = await browser.make_kit()
    assert 'href="/restore"' in (await browser.open("/patients")).text
    assert step(await browser.open("/restore")) == "words"

    page = await sheets_read(browser, sheets)
    assert page.url.endswith("/restore")
    assert await restoring_since(bench, browser)
    assert 'action="/restore/store"' in page.text

    now = bench.clock()
    bench.backup.found = [generation(now - 2 * DAY_S), generation(now - DAY_S, tested=False, documents=1903)]
    page = await browser.send("/restore/store", REST)
    assert [type(one) for one in bench.backup.asked] == [SetStore, ReadGenerations]
    assert bench.backup.asked[0].old
    assert step(page) == "choose"
    generations = re.findall(r'name="generation" value="(\d+)" required( checked)?', page.text)
    assert generations == [(str(now - DAY_S), " checked"), (str(now - 2 * DAY_S), "")], "the newest is chosen"
    assert "1903 Dokumente" in page.text

    page = await browser.send("/restore/start", {"generation": generations[0][0]})
    assert bench.backup.asked[-1].generation == now - DAY_S
    assert step(page) == "running"
    assert 'data-step="upload"' in page.text
    assert page.headers["Refresh"] == "5; url=/restore/progress"

    await bench.desk.peers.vault.ask(EndRestore())
    bench.backup.changed(
        running=None,
        last_restore=Outcome(
            at=now, code="", documents=1901, bytes=2**33, took_s=900, box=OLD_BOX, erased=2, missing=1, shares=3
        ),
    )
    bench.earlier.shares = [earlier_share(number, "0" * 32, ["0" * 32]) for number in range(3)]
    page = await browser.open("/restore")
    assert step(page) == "done"
    assert page.by_id("old-box").replace(" ", "") == OLD_BOX
    for words in (
        "1901 Dokumente",
        "2 Dokumente waren",
        "1 Datei fehlt",
        "3 offene Freigaben",
        'href="/shares/earlier"',
    ):
        assert words in page.text
    assert "Refresh" not in page.headers or "/restore/progress" not in page.headers["Refresh"]


async def test_words_are_on_no_page_and_not_in_practice_after_the_request(bench):
    browser = await bench.claimed()
    sheets = await browser.make_kit()
    wrong = sheets[0].split()
    wrong[16] = "academic" if wrong[16] != "academic" else "acid"
    refused = await browser.send(
        "/restore/sheets", {"first": " ".join(wrong), "second": sheets[1], "password": PASSWORD}
    )
    assert refused.error in {"kit_word_wrong", "kit_words_wrong"}
    await sheets_read(browser, sheets)
    pages = [answer.text.lower() for answer in bench.answers if b"html" in answer.body]
    pairs = [pair for sheet in sheets for pair in zip(sheet.split()[2:], sheet.split()[3:], strict=False)]
    assert not [pair for pair in pairs if any(" ".join(pair) in page for page in pages)]
    assert PASSWORD not in "".join(pages)
    gc.collect()
    typed = numbered(sheets[0])
    kept = [one for one in gc.get_objects() if isinstance(one, dict | list) and _holds(one, typed)]
    assert not [one for one in kept if one is not vars().get("kept")], "no form and no visit outlives its request"


def _holds(one, typed: str) -> bool:
    values = one.values() if isinstance(one, dict) else one
    return any(type(value) is str and value == typed for value in values)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        (lambda words: words[:-1], "kit_word_count", "first"),
        (lambda words: [*words[:4], "praxis", *words[5:]], "kit_word_unknown", "first"),
        (lambda words: [], "field_empty", "first"),
        (lambda words: words * 20, "field_long", "first"),
    ],
    ids=["count", "unknown", "empty", "long"],
)
async def test_a_wrong_sheet_is_named_with_the_word_and_its_field_is_marked(bench, change, code, field):
    browser = await bench.claimed()
    sheets = await browser.make_kit()
    changed = " ".join(change(sheets[0].split()))
    page = await browser.send("/restore/sheets", {"first": changed, "second": sheets[1], "password": PASSWORD})
    assert page.error == code
    assert step(page) == "words"
    assert re.search(rf'class="field invalid words">\s*<label for="field-{field}"', page.text)
    if code == "kit_word_unknown":
        assert "Beim 1. Blatt gibt es das Wort Nummer 5 nicht" in page.text
    assert not await restoring_since(bench, browser)


async def test_the_password_and_the_second_sheet_are_named_too(bench):
    browser = await bench.claimed()
    sheets = await browser.make_kit()
    page = await browser.send("/restore/sheets", {"first": sheets[0], "second": sheets[1], "password": "wrong wrong"})
    assert (page.status, page.error) == (403, "own_password")
    page = await browser.send("/restore/sheets", {"first": sheets[0], "second": "acid", "password": PASSWORD})
    assert "Beim 2. Blatt sind es 1 Wörter" in page.text
    assert re.search(r'class="field invalid words">\s*<label for="field-second"', page.text)
    page = await browser.send("/restore/sheets", {"first": sheets[0], "second": sheets[0], "password": PASSWORD})
    assert page.error == "kit_same_sheet"


async def test_every_page_leads_to_the_progress_while_a_restore_runs(bench):
    browser = await bench.claimed()
    patient, document = "0" * 32, "1" * 32
    await browser.open("/patients")
    bench.earlier.restoring = True
    bench.backup.changed(running=running("restore", "adopt"), store=store_state("rest", "https://x.example", 1))
    gets = ["/", "/patients", "/patients?text=muster", f"/patients/{patient}", f"/patients/{patient}/edit"]
    gets += [f"/patients/{patient}/delete", "/documents?text=befund", f"/documents/{document}/open", "/shares"]
    gets += [f"/documents/{document}/download", f"/documents/{document}/delete", "/shares/earlier", "/history"]
    gets += [f"/shares/{document}/revoke", f"/shares/{document}/pin"]
    for path in gets:
        page = await browser.open(path)
        assert step(page) == "running", path
        assert page.status == 200
    person = {"family_name": "A", "given_name": "B", "birth_date": "1.1.1970", "number": ""}
    for path, fields in (
        ("/patients/new", person),
        (f"/patients/{patient}/shares", {"documents": document}),
        (f"/patients/{patient}/edit", person),
        (f"/documents/{document}/delete", {"reason": "duplicate"}),
        ("/shares/earlier", {"shares": document}),
    ):
        page = await browser.send(path, fields)
        assert page.url.endswith("/restore?why=unsaved"), path
        assert "wurde nicht gespeichert" in page.text
    for path in ("/staff", "/devices", "/kit", "/status", "/backup", "/password", "/unlocking"):
        assert (await browser.open(path)).url.endswith(path)
    stranger = await bench.browser()
    assert (await stranger.open("/restore")).url.endswith("/login?next=/restore")


async def test_practice_software_is_told_to_come_again_while_a_restore_runs(bench):
    browser = await bench.claimed()
    await browser.open("/devices")
    sent = {**HEADERS, "Authorization": f"Bearer {await browser.device_token()}"}
    bench.earlier.restoring = True
    answer = await browser.put(sent, PDF)
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "restoring")
    assert answer.headers["Retry-After"]
    assert "Es wurde nichts gespeichert" in json.loads(answer.body)["texts"]["de"]


async def test_a_restore_that_was_interrupted_goes_on_and_asks_for_the_words_only_if_vault_forgot(bench):
    browser = await bench.claimed()
    sheets = await browser.make_kit()
    now = bench.clock()
    bench.backup.changed(
        store=store_state("rest", REST["place"], now),
        generations=[generation(now - DAY_S)],
        last_restore=Outcome(at=now, code="store_away"),
    )
    bench.earlier.restoring = True
    page = await browser.open("/patients")
    assert step(page) == "words"
    assert 'id="restore-half"' in page.text
    assert 'data-code="store_away"' in page.text
    page = await sheets_read(browser, sheets)
    assert step(page) == "choose"
    assert bench.desk.pages.texts["de"]("restore.go_on") in page.text
    page = await browser.send("/restore/start", {"generation": str(now - DAY_S)})
    assert step(page) == "running"
    await bench.take_away("backup")
    page = await browser.open("/restore")
    assert step(page) == "away"
    assert "Danach geht es hier weiter" in page.text


async def test_giving_up_is_asked_first_and_has_vault_forget(bench):
    browser = await bench.claimed()
    sheets = await browser.make_kit()
    await sheets_read(browser, sheets)
    assert "/restore/abandon" in (await browser.open("/restore")).text
    await browser.open("/restore/abandon")
    assert await restoring_since(bench, browser)
    page = await browser.send("/restore/abandon", {"confirmed": "yes"})
    assert page.url.endswith("/restore?done=restore_abandoned")
    assert [type(one) for one in bench.backup.asked] == [AbandonRestore]
    assert not await restoring_since(bench, browser)


async def test_what_backup_refuses_is_told_where_it_was_asked(bench):
    browser = await bench.claimed()
    await sheets_read(browser, await browser.make_kit())
    bench.backup.fails[SetStore] = Refused("repository_password")
    page = await browser.send("/restore/store", REST)
    assert (page.error, REST["secret"] in page.text) == ("repository_password", False)
    bench.backup.fails[ReadGenerations] = Unavailable("store_away")
    assert (await browser.send("/restore/store", REST)).error == "store_away"
    assert "an diesem ort liegt keine sicherung" in (await browser.open("/restore")).text.lower()
    bench.backup.found = [generation(bench.clock())]
    assert step(await browser.send("/restore/generations")) == "choose"
    for sent in ({}, {"generation": "x"}, {"generation": "0"}):
        assert (await browser.send("/restore/start", sent)).error == "generation"
    bench.backup.fails[StartRestore] = Refused("not_empty")
    page = await browser.send("/restore/start", {"generation": "7"})
    assert (page.status, page.error) == (409, "not_empty")


async def test_a_backup_that_runs_says_nothing_about_patients(bench):
    browser = await bench.claimed()
    bench.backup.changed(running=running("backup"))
    assert step(await browser.open("/restore")) == "words"


async def test_a_box_with_patients_restores_nothing(bench):
    browser = await bench.claimed()
    await browser.add_patient()
    page = await browser.open("/restore")
    assert step(page) == "full"
    assert "<textarea" not in page.text


@pytest.mark.parametrize("path", ["sheets", "store", "generations", "start", "abandon"])
async def test_nothing_of_a_restore_goes_without_session_and_token(bench, path):
    browser = await bench.claimed()
    browser.csrf = "wrong"
    assert (await browser.send(f"/restore/{path}")).error == "csrf"
    stranger = await bench.browser()
    assert "/login" in (await stranger.send(f"/restore/{path}")).url
    assert not bench.backup.asked


def test_each_step_follows_from_what_the_processes_say():
    state, store = EMPTY, store_state("disk", "a", 1)

    def at(is_empty=True, **values):
        return restore_step(
            Facts(**{"state": state, "has_sheets": False, "is_half": False, **values}, is_empty=is_empty)
        )

    assert at(state=None) == "away"
    assert at() == "words"
    assert at(has_sheets=True) == "store"
    assert at(is_empty=False) == "full"
    assert at(is_empty=False, is_half=True) == "words"

    def changed(**values):
        return replace(state, **values)

    assert at(state=changed(store=store), has_sheets=True) == "choose"
    assert at(state=changed(store=store), has_sheets=True, is_half=True, is_empty=False) == "choose"
    assert at(state=changed(running=running("restore")), is_empty=False) == "running"
    ended = changed(last_restore=Outcome(at=1, code=""))
    assert at(state=ended, is_empty=False) == "done"
    assert at(state=ended, is_empty=False, is_half=True) == "words"
    assert at(state=changed(last_restore=Outcome(at=1, code="copy_files"))) == "words"
