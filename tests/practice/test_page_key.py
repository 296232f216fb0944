"""The page about the patients' page: the banner, the certificate, the watch, and the one button for a new key."""

from __future__ import annotations

import re
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.formats.share_link import derive, parse_secret
from appliance.practice import alarm
from appliance.practice.certificate_standing import standing
from appliance.practice.fields import typed_moment
from appliance.vault.page_key_answers import with_page_key
from tests.practice.bench import PASSWORD
from tests.practice.page_peers import ACCOUNT, certificate_state, source

PATH = "/status/page-key"


async def make_key(bench):
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    await bench.opened_vault.change(lambda state, now: with_page_key(state, spki, now))


async def shared(browser, family):
    """Give a share with its link and PIN, printed."""
    patient = await browser.add_patient(family)
    document = await browser.add_document(patient, title=f"Befund {family}")
    browser.bench.documents.add(document)
    share, _ = await browser.share(patient, document)
    link = (await browser.open(f"/shares/{share}/link")).by_id("link")
    page = await browser.send(f"/shares/{share}/link-printed")
    pin = "".join(page.by_id("pin").split())
    await browser.send(f"/shares/{share}/pin-printed")
    return share, link, pin


async def tried(bench, link, pin):
    from appliance.contracts.vault import OpenShare

    keys = derive(parse_secret(link.split("#")[1]))
    return await bench.vault[OpenShare](OpenShare(proof=keys.proof, pin=pin), None)


def button(browser, **more):
    fields = {"since": typed_moment(time.time() - 86_400), "scope": "requested", "password": PASSWORD, **more}
    return browser.send(f"{PATH}/replace", fields)


async def test_a_finding_stands_on_every_page_until_staff_have_taken_care_of_it(bench):
    browser = await bench.claimed()
    finding = bench.watch.found()
    await alarm.look(bench.desk.peers.watcher, bench.desk.pages)
    for path in ("/patients", "/shares", "/status", "/password"):
        page = await browser.open(path)
        assert 'id="alarm"' in page.text, path
        assert f'href="{PATH}"' in page.text
    page = await browser.open(PATH)
    assert 'data-kind="foreign_certificate"' in page.text
    assert "Some &lt;b&gt;Authority&lt;/b&gt;" in page.text
    assert re.search(r'value="every" required checked', page.text), "who was led astray is not recorded here"
    page = await browser.send(f"{PATH}/acknowledge", {"finding": finding.finding})
    assert 'id="alarm"' not in page.text
    assert 'data-kind="foreign_certificate"' not in page.text
    assert "früherer Fund" in page.text
    assert (await browser.send(f"{PATH}/acknowledge", {"finding": "f" * 32})).error == "finding"


async def test_nobody_outside_a_session_is_told_of_a_finding(bench):
    bench.watch.found()
    await alarm.look(bench.desk.peers.watcher, bench.desk.pages)
    browser = await bench.claimed()
    await browser.send("/logout")
    assert 'id="alarm"' not in (await browser.open("/login")).text


async def test_the_banner_stays_while_watch_is_away(bench):
    browser = await bench.claimed()
    bench.watch.found("log_forked")
    await alarm.look(bench.desk.peers.watcher, bench.desk.pages)
    await bench.take_away("watch")
    await alarm.look(bench.desk.peers.watcher, bench.desk.pages)
    page = await browser.open(PATH)
    assert 'data-alarm="log"' in page.text
    assert "Keine Auskunft" in page.text


async def test_shares_that_were_requested_are_revoked_and_listed_and_the_key_replaced(bench):
    browser = await bench.claimed()
    bench.earlier.real = True
    await make_key(bench)
    (_, opened_link, opened_pin), (_, tried_link, tried_pin), (_, other_link, other_pin) = [
        await shared(browser, family) for family in ("Mustermann", "Öztürk", "Wolke")
    ]
    assert (await tried(bench, opened_link, opened_pin)).r
    assert not (await tried(bench, tried_link, str((int(tried_pin) + 1) % 10**6).zfill(6))).r
    page = await button(browser)
    assert page.url.endswith("/shares/earlier?done=key_replaced")
    assert bench.certificate.replaced == 1
    assert "Mustermann, Erika" in page.text
    assert "Öztürk, Erika" in page.text
    assert "Wolke" not in page.text
    for link, pin in ((opened_link, opened_pin), (tried_link, tried_pin)):
        assert (await tried(bench, link, pin)).state == "revoked"
    assert (await tried(bench, other_link, other_pin)).r
    page = await browser.open(PATH)
    assert 'data-standing="replacing"' in page.text


async def test_every_open_share_is_revoked_if_that_is_asked(bench):
    browser = await bench.claimed()
    bench.earlier.real = True
    _, link, pin = await shared(browser, "Mustermann")
    page = await button(browser, scope="every")
    assert "Mustermann, Erika" in page.text
    assert (await tried(bench, link, pin)).state == "revoked"


async def test_nothing_happens_without_the_password(bench):
    browser = await bench.claimed()
    _, link, pin = await shared(browser, "Mustermann")
    page = await button(browser, scope="every", password="a wrong password")
    assert page.error == "own_password"
    assert bench.certificate.replaced == 0
    assert (await tried(bench, link, pin)).r
    assert "a wrong password" not in page.text


async def test_shares_end_although_the_key_cannot_be_replaced_yet_and_the_page_says_so(bench):
    browser = await bench.claimed()
    bench.earlier.real = True
    _, link, pin = await shared(browser, "Mustermann")
    await bench.take_away("certificate")
    page = await button(browser, scope="every")
    assert page.error == "key_not_replaced"
    assert (await tried(bench, link, pin)).state == "revoked"
    assert "Mustermann" in (await browser.open("/shares/earlier")).text


async def test_the_key_is_replaced_although_the_list_cannot_be_made_yet(bench):
    browser = await bench.claimed()
    _, link, pin = await shared(browser, "Mustermann")
    await bench.take_away("records")
    page = await button(browser, scope="every")
    assert page.error == "key_list_away"
    assert bench.certificate.replaced == 1
    assert (await tried(bench, link, pin)).state == "revoked"


@pytest.mark.parametrize("since", ["", "gestern", "2026-13-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59"])
async def test_a_time_that_is_none_changes_nothing(bench, since):
    browser = await bench.claimed()
    assert (await button(browser, since=since)).error == "moment"
    assert bench.certificate.replaced == 0


async def test_the_page_shows_certificate_fingerprint_account_and_who_watches(bench):
    browser = await bench.claimed()
    assert 'id="key-words"' not in (await browser.open(PATH)).text, "no key, no fingerprint"
    await make_key(bench)
    now = int(time.time())
    bench.certificate.state = certificate_state(now, last_problem="authority_unreachable", last_problem_at=now - 60)
    bench.watch.sources = [source("log.example", now), source("monitor.example", now, "blind", kind="monitor")]
    page = await browser.open(PATH)
    assert len(page.by_id("key-words").split()) == 8
    digits = page.by_id("key-digits").replace(" ", "")
    assert len(digits) == 22
    assert page.by_id("key-whole").replace(" ", "").startswith(digits)
    assert ACCOUNT.rpartition("/")[2] in page.text
    assert "nicht erreichbar" in page.text
    assert "kennt das eigene Zertifikat dieser Box nicht" in page.text
    assert 'data-standing="valid"' in page.text
    before = page.by_id("key-words")
    await make_key(bench)
    assert (await browser.open(PATH)).by_id("key-words") != before


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({}, "valid"),
        ({"not_after": 1_800_000_000 + 7200}, "late"),
        ({"state": "none", "not_before": 0, "not_after": 0}, "none"),
        ({"state": "expired"}, "expired"),
        ({"replacing": True, "revoking": True}, "replacing"),
        ({"revoking": True}, "revoking"),
    ],
)
def test_the_certificates_standing_is_one_sentence(more, key):
    assert standing(certificate_state(1_800_000_000, **more), 1_800_000_000).key == key
    assert standing(None, 1_800_000_000).key == "away"
