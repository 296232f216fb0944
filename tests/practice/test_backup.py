"""The backup's page: how it stands, a copy now, and the place for the copies, whose secrets nobody is shown."""

import re

import pytest
import pytest_asyncio
from msgspec.structs import replace

from appliance.contracts.backup import (
    ForgetStore,
    Outcome,
    SetStore,
    StartBackup,
    Store,
)
from appliance.core.errors import Invalid, NotFound, Refused, Unavailable
from appliance.practice.backup_standing import last_days, standing
from tests.practice.backup_peer import DAY_S, EMPTY, LOGIN_KEY, generation, running, store_state

SECRET = "a secret of the store 7731"
REST = {"kind": "rest", "place": "https://sicherung.example:8000/praxis", "user": "praxis", "secret": SECRET}
SFTP = {"kind": "sftp", "place": "sftp://p@sicherung.example/box", "server_key": "sicherung.example ssh-ed25519 AAAA"}


@pytest_asyncio.fixture
async def browser(bench):
    browser = await bench.claimed()
    await browser.make_kit()
    return browser


def said(answer) -> str:
    found = re.search(r'data-standing="([a-z_]+)"', answer.text)
    return found[1] if found else ""


async def test_without_emergency_sheets_the_page_asks_for_them_first(bench):
    browser = await bench.claimed()
    page = await browser.open("/backup")
    assert said(page) == "no_kit"
    assert 'href="/kit"' in page.text
    assert "/backup/start" not in page.text


async def test_without_a_place_the_page_asks_for_one(bench, browser):
    page = await browser.open("/backup")
    assert said(page) == "no_store"
    assert 'href="/backup/store"' in page.text


async def test_the_rest_of_practice_goes_on_while_backup_is_away(bench, browser):
    await bench.take_away("backup")
    for path in ("/backup", "/backup/progress"):
        page = await browser.open(path)
        assert (page.status, said(page)) == (200, "away")
        assert page.headers["Refresh"] == "5; url=/backup/progress"
    refused = await browser.send("/backup/start")
    assert (refused.status, refused.error) == (503, "peer_away")
    refused = await browser.send("/backup/store", REST)
    assert refused.error == "peer_away"
    assert SECRET not in refused.text
    for path in ("/patients", "/shares", "/kit", "/status", "/history"):
        assert (await browser.open(path)).status == 200


@pytest.mark.parametrize("language", ["de", "en"])
async def test_the_sentence_the_drawing_and_the_list_say_the_same(bench, browser, language):
    bench.backup.kept(bench.clock(), failed=(2, 9))
    page = await browser.open("/backup", headers={"Accept-Language": language})
    texts = bench.desk.pages.texts[language]
    assert said(page) == "good_today"
    assert texts("backup.standing.good_today") in page.text
    assert texts("backup.days_label", number=27) in page.text
    assert [page.text.count(f'<g class="{mark}">') for mark in ("tested", "made", "none")] == [27, 1, 2]
    assert texts.count("backup.older", 23) in page.text
    assert texts("backup.keeps", days=90) in page.text
    assert texts("store.cannot") in page.text


async def test_a_failed_backup_is_told_with_what_to_do(bench, browser):
    now = bench.clock()
    bench.backup.kept(now)
    bench.backup.changed(last_backup=Outcome(at=now, code="store_away"), last_good_at=now - 4 * DAY_S)
    page = await browser.open("/backup")
    assert said(page) == "old"
    assert 'data-code="store_away"' in page.text
    assert "nicht zu erreichen" in page.text


async def test_a_copy_now_shows_how_far_it_is_and_does_not_keep_the_session_alive(bench, browser):
    bench.backup.kept(bench.clock())
    await browser.open("/backup")
    page = await browser.send("/backup/start")
    assert page.url.endswith("/backup")
    assert [type(one) for one in bench.backup.asked] == [StartBackup]
    assert f'max="{4 * 2**30}" value="{3 * 2**29}"' in page.text
    assert "1,5 GB von 4,0 GB, 412 von 1840 Dateien" in page.text
    assert page.headers["Refresh"] == "5; url=/backup/progress"
    bench.clock.now += 14 * 60
    page = await browser.open("/backup/progress")
    assert page.headers["Refresh"] == "5; url=/backup/progress"
    bench.clock.now += 60 - 3
    page = await browser.open("/backup/progress")
    assert page.headers["Refresh"].endswith("url=/locked?next=/backup/progress")
    bench.clock.now += 4
    assert (await browser.open("/backup/progress")).url.endswith("/login?why=locked&next=/backup/progress")


async def test_a_bar_has_no_end_while_nobody_knows_how_much_there_is(bench, browser):
    bench.backup.kept(bench.clock())
    bench.backup.changed(running=running("backup", "snapshot", 0, 0))
    assert re.search(r'<progress aria-label="[^"]+"></progress>', (await browser.open("/backup")).text)


async def test_each_kind_of_place_asks_for_its_own_fields_only(bench, browser):
    asked = {
        "disk": {"place"},
        "folder": {"place"},
        "sftp": {"place", "server_key"},
        "s3": {"place", "user", "secret", "authority"},
        "rest": {"place", "user", "secret", "authority"},
    }
    cards = await browser.open("/backup/store")
    for kind, names in asked.items():
        assert f'value="{kind}"' in cards.text
        page = await browser.open(f"/backup/store?kind={kind}")
        assert set(re.findall(r'name="(place|user|secret|server_key|authority)"', page.text)) == names
        assert (LOGIN_KEY in page.text) == (kind == "sftp")


async def test_a_place_is_kept_and_its_secret_shown_to_nobody(bench, browser):
    page = await browser.send("/backup/store", REST)
    assert page.url.endswith("/backup?done=store_set")
    (asked,) = bench.backup.asked
    assert asked.store == Store(**REST)
    assert not asked.old
    for path in ("/backup", "/backup/store", "/backup/store?kind=rest", "/backup/forget"):
        await browser.open(path)
    assert 'value="praxis"' in bench.answers[-2].text, "what is no secret need not be typed again"
    assert SECRET not in "".join(answer.text for answer in bench.answers if b"html" in answer.body)
    assert SECRET not in repr(asked.store)


async def test_a_certificate_keeps_its_lines(bench, browser):
    pem = "-----BEGIN CERTIFICATE-----\r\nAAAA\r\n-----END CERTIFICATE-----\r\n"
    await browser.send("/backup/store", {**REST, "authority": pem})
    assert bench.backup.asked[0].store.authority == pem.replace("\r\n", "\n").strip()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("store_place"), 422),
        (Invalid("store_server_key"), 422),
        (Unavailable("store_away"), 503),
        (Unavailable("store_refused"), 503),
        (Unavailable("store_certificate"), 503),
        (Unavailable("store_full"), 503),
        (Refused("repository_password"), 403),
        (Refused("busy"), 409),
        (NotFound("repository"), 404),
    ],
    ids=lambda value: value.code if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("language", ["de", "en"])
async def test_a_place_that_does_not_work_is_told_in_words_with_what_to_do(bench, browser, error, status, language):
    bench.backup.fails[SetStore] = error
    page = await browser.send(
        "/backup/store",
        {**SFTP, "kind": "sftp"},
        headers={"Sec-Fetch-Site": "same-origin", "Accept-Language": language},
    )
    assert (page.status, page.error) == (status, error.code)
    assert bench.desk.pages.texts[language].error(error).todo in page.text.replace("&#39;", "'")
    assert SFTP["place"] in page.text, "what was typed stays"


async def test_a_form_that_lacks_something_is_not_sent_to_backup(bench, browser):
    await browser.open("/backup/store")
    for fields, error in (
        ({}, "store_kind"),
        ({**REST, "kind": "tape"}, "store_kind"),
        ({**REST, "place": " "}, "field_empty"),
        ({**REST, "secret": ""}, "field_empty"),
        ({**SFTP, "server_key": ""}, "field_empty"),
        ({**REST, "place": "x" * 1025}, "field_long"),
        ({**REST, "authority": "a\x00b"}, "characters"),
    ):
        assert (await browser.send("/backup/store", fields)).error == error
    assert not bench.backup.asked


async def test_no_more_copies_are_made_only_after_a_question(bench, browser):
    bench.backup.kept(bench.clock())
    page = await browser.open("/backup/forget")
    assert "sicherung.example" in page.text
    assert (await browser.send("/backup/forget", {"confirmed": "yes"})).url.endswith("done=store_forgotten")
    assert [type(one) for one in bench.backup.asked] == [ForgetStore]
    assert (await browser.open("/backup/forget")).url.endswith("/backup")


def test_how_it_stands_follows_from_what_backup_says():
    now = 1_800_000_000
    store = store_state("disk", "sicherung", now)

    def key(has_kit=True, **values):
        return standing(_state(**{"store": store, **values}), has_kit=has_kit, now=now)

    assert standing(None, has_kit=True, now=now).key == "away"
    assert key(has_kit=False).key == "no_kit"
    assert key(store=None).key == "no_store"
    assert (key().key, key().tone) == ("none_yet", "attention")
    failed = Outcome(at=now, code="store_full")
    assert key(last_backup=failed).key == "never_good"
    for days, expected, tone in ((0, "today", "good"), (1, "yesterday", "good"), (2, "before_yesterday", "good")):
        one = key(last_good_at=now - days * DAY_S)
        assert (one.key, one.tone) == (f"good_{expected}", tone)
        assert key(last_good_at=now - days * DAY_S, last_backup=failed).key == f"failed_since_{expected}"
    assert (key(last_good_at=now - 3 * DAY_S).key, key(last_good_at=now - 3 * DAY_S).tone) == ("old", "bad")
    assert key(running=running("restore")).action == "restore"


def test_a_last_good_copy_that_is_still_to_come_is_said_in_red_and_never_called_good():
    now = 1_800_000_000
    for store_at, good_at in ((now, now + 2 * DAY_S), (now + 2 * DAY_S, 0)):
        state = _state(store=store_state("disk", "sicherung", store_at), last_good_at=good_at)
        one = standing(state, has_kit=True, now=now)
        assert (one.key, one.tone) == ("clock_wrong", "bad")
    mended = _state(store=store_state("disk", "sicherung", now + 2 * DAY_S), last_good_at=now)
    assert standing(mended, has_kit=True, now=now).key == "good_today"


def test_a_day_counts_as_tested_if_any_of_its_copies_was():
    now = 1_800_000_000
    days = last_days(
        [generation(now, tested=False), generation(now - 60), generation(now - DAY_S, tested=False)], now
    )
    assert len(days) == 30
    assert [day.mark for day in days[-3:]] == ["none", "made", "tested"]


def _state(**values):
    return replace(EMPTY, **values)
