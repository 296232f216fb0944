"""Shares: the link and the PIN are two papers, and each is shown until it is printed and then never again."""

import re

from tests.practice.bench import PDF

LINK = re.compile(rb"https://[a-z0-9.:-]+/#[A-Za-z0-9_-]{44}")


async def shared(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    documents = [await browser.add_document(patient, title="Befund A")]
    bench.documents.update(documents)
    documents.append(await browser.add_document(patient, title="Befund B"))
    share, page = await browser.share(patient, *documents)
    return browser, patient, share, page


async def test_no_response_holds_link_and_pin(bench):
    browser, patient, share, page = await shared(bench)
    link = page.by_id("link")
    paths = (f"/shares/{share}/link", f"/shares/{share}/link-sheet.pdf", f"/shares/{share}/pin")
    paths += (f"/shares/{share}/pin-slip.pdf", "/shares", f"/patients/{patient}", "/history")
    for path in paths:
        await browser.open(path)  # while the link waits, the PIN's pages lead back to it
    await browser.send(f"/shares/{share}/link-printed")
    for path in paths:
        await browser.open(path)
    pin = (await browser.open(f"/shares/{share}/pin")).by_id("pin")
    await browser.send(f"/shares/{share}/pin-printed")
    for path in paths:
        await browser.open(path)
    assert re.fullmatch("[0-9]{6}", pin)
    with_link = [answer for answer in bench.answers if link.partition("#")[2].encode() in answer.body]
    with_pin = [answer for answer in bench.answers if re.search(rb"(?<![0-9a-f])" + pin.encode(), answer.body)]
    assert with_link
    assert with_pin
    assert not [answer for answer in with_link if answer in with_pin]
    assert not [answer for answer in bench.answers if LINK.search(answer.body) and b'id="pin"' in answer.body]


async def test_pin_is_not_asked_for_while_the_link_waits(bench):
    browser, _, share, _ = await shared(bench)
    for path in (f"/shares/{share}/pin", f"/shares/{share}/pin-slip.pdf"):
        answer = await browser.open(path, follow=False)
        assert (answer.status, answer.headers["Location"]) == (303, f"/shares/{share}/link")


async def test_link_is_gone_after_printed(bench):
    browser, _, share, page = await shared(bench)
    link = page.by_id("link")
    assert (await browser.open(f"/shares/{share}/link")).by_id("link") == link
    assert "Schritt 2 von 2" in (await browser.send(f"/shares/{share}/link-printed")).text
    for path in (f"/shares/{share}/link", f"/shares/{share}/link-sheet.pdf"):
        answer = await browser.open(path)
        assert (answer.status, answer.error) == (404, "link")
    assert not bench.desk.links._links


async def test_link_is_gone_after_an_hour_with_the_session_and_by_revoking(bench):
    browser, patient, share, page = await shared(bench)
    for _ in range(4):
        bench.clock.now += 890
        assert (await browser.open("/patients")).status == 200
        assert (await browser.open(f"/shares/{share}/link")).status == 200
    bench.clock.now += 60
    assert (await browser.open(f"/shares/{share}/link")).error == "link"
    document = re.search(
        r'name="documents" value="([0-9a-f]{32})"', (await browser.open(f"/patients/{patient}")).text
    )[1]
    second, _ = await browser.share(patient, document)
    await browser.send(f"/shares/{second}/revoke", {"confirmed": "yes"})
    assert (await browser.open(f"/shares/{second}/link")).error == "link"
    await browser.share(patient, document)
    await browser.send("/logout")
    assert not bench.desk.links._links


async def test_link_is_shown_to_its_own_session_only(bench):
    browser, _, share, page = await shared(bench)
    same_person = await bench.browser()
    await same_person.log_in()
    answer = await same_person.open(f"/shares/{share}/link")
    assert (answer.status, answer.error) == (404, "link")


async def test_pin_is_gone_after_printed(bench):
    browser, patient, share, _ = await shared(bench)
    await browser.send(f"/shares/{share}/link-printed")
    assert "PIN noch nicht gedruckt" in (await browser.open("/shares")).text
    answer = await browser.send(f"/shares/{share}/pin-printed")
    assert answer.url.endswith(f"/patients/{patient}?done=share_made")
    for path in (f"/shares/{share}/pin", f"/shares/{share}/pin-slip.pdf"):
        answer = await browser.open(path)
        assert (answer.status, answer.error) == (403, "pin_printed")
    assert "PIN noch nicht gedruckt" not in (await browser.open("/shares")).text


async def test_sheets_are_separate_papers(bench):
    browser, _, share, _ = await shared(bench)
    sheet = await browser.open(f"/shares/{share}/link-sheet.pdf?language=en")
    assert sheet.body.startswith(b"%PDF-")
    assert "link-sheet.pdf" in sheet.headers["Content-Disposition"]
    await browser.send(f"/shares/{share}/link-printed")
    slip = await browser.open(f"/shares/{share}/pin-slip.pdf")
    assert slip.body.startswith(b"%PDF-")
    assert b"/Annots" not in sheet.body + slip.body


async def test_live_shares_are_listed_and_revoked(bench):
    browser, _, share, _ = await shared(bench)
    listed = await browser.open("/shares")
    for words in ("Mustermann, Erika", "Befund A, Befund B", "noch nicht geöffnet", "gültig bis"):
        assert words in listed.text
    assert "Mustermann, Erika" in (await browser.open(f"/shares/{share}/revoke")).text
    answer = await browser.send(f"/shares/{share}/revoke", {"confirmed": "yes"})
    assert "Keine offenen Freigaben" in answer.text
    assert "1 beendete Freigabe" in answer.text
    assert "zurückgezogen" in answer.text
    assert (await browser.open("/shares/" + "0" * 32 + "/revoke")).error == "share"


async def test_a_share_needs_ticked_documents_of_this_patient(bench):
    browser = await bench.claimed()
    patient, other = await browser.add_patient(), await browser.add_patient(given="Max")
    foreign = await browser.add_document(other, content=PDF)
    await browser.open(f"/patients/{patient}")
    assert (await browser.send(f"/patients/{patient}/shares")).error == "nothing_ticked"
    for documents, days in ((foreign, "14"), ("no id", "14"), (foreign, "0"), (foreign, "91"), (foreign, "x")):
        answer = await browser.send(f"/patients/{patient}/shares", {"documents": documents, "valid_days": days})
        assert answer.error in {"document", "valid_days"}
    assert "Keine offenen Freigaben" in (await browser.open("/shares")).text


async def test_history_tells_it_in_words(bench):
    browser, patient, share, _ = await shared(bench)
    for path in ("/history", f"/history?patient={patient}"):
        text = (await browser.open(path)).text
        for words in (
            "hat eine Freigabe erstellt",
            "hat ein Dokument abgelegt",
            "Sabine Keller",
            "Mustermann, Erika",
        ):
            assert words in text
    assert "Box eingerichtet" in (await browser.open("/history")).text


async def test_shares_are_listed_page_by_page_and_ended_ones_apart(bench, monkeypatch):
    monkeypatch.setattr("appliance.practice.share_routes.PAGE_COUNT", 2)
    browser, patient, share, _ = await shared(bench)
    shares = [share]
    for _ in range(3):
        shares.append((await browser.share(patient, bench.documents.copy().pop()))[0])
    await browser.send(f"/shares/{shares[0]}/revoke")

    async def listed(path: str) -> tuple[list[str], str]:
        text = (await browser.open(path)).text
        return re.findall(r"/shares/([0-9a-f]{32})/revoke", text), text

    first, text = await listed("/shares")
    assert len(first) == 2
    assert 'href="/shares?after=2"' in text
    assert "1 beendete Freigabe" in text
    second, text = await listed("/shares?after=2")
    assert set(first + second) == set(shares[1:])
    assert "after=" not in text
    ended, text = await listed("/shares?ended=yes")
    assert ended == []
    assert text.count('class="panel"') == 1
