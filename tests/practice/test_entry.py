"""Claim, log in, invitation, password: a form that failed keeps what was typed, never passwords or codes."""

from tests.practice.bench import NAME, PASSWORD, PRACTICE_NAME, TELEPHONE

CLAIM = {
    "practice_name": PRACTICE_NAME,
    "telephone": TELEPHONE,
    "name": NAME,
    "password": PASSWORD,
    "password_again": PASSWORD,
}


async def test_first_visit_leads_to_the_claim(bench):
    browser = await bench.browser()
    for path in ("/", "/login", "/claim"):
        assert (await browser.open(path)).url.endswith("/claim")
    await browser.claim()
    for path in ("/", "/claim"):
        assert not (await browser.open(path)).url.endswith("/claim")
    assert PRACTICE_NAME.replace("&", "&amp;") in (await browser.open("/patients")).text


async def test_failed_claim_keeps_what_was_typed_but_no_secret(bench):
    browser = await bench.browser()
    for change, error in (
        ({"code": "WRONG-WRONG-WRONG"}, "claim_code"),
        ({"code": ""}, "field_empty"),
        ({"practice_name": " "}, "field_empty"),
        ({"telephone": "call me"}, "telephone"),
        ({"name": "x" * 121}, "field_long"),
        ({"password": "short", "password_again": "short"}, "password_short"),
        ({"password_again": "something else entirely"}, "password_repeat"),
    ):
        answer = await browser.send("/claim", {"code": bench.claim_code, **CLAIM, **change})
        assert answer.error == error
        assert PASSWORD not in answer.text
        assert bench.claim_code not in answer.text
        assert "practice_name" in change or PRACTICE_NAME.replace("&", "&amp;") in answer.text
        assert "telephone" in change or f'value="{TELEPHONE}"' in answer.text
    await browser.claim()


async def test_a_claimed_box_cannot_be_claimed_again(bench):
    await bench.claimed()
    answer = await (await bench.browser()).send("/claim", {"code": bench.claim_code, **CLAIM})
    assert (answer.status, answer.error) == (403, "claimed")


async def test_log_in_fails_alike_for_name_and_password(bench):
    await bench.claimed()
    browser = await bench.browser()
    wrong = [await browser.log_in(name="Nobody"), await browser.log_in(password="not this one at all")]
    assert {(answer.status, answer.error) for answer in wrong} == {(403, "login")}
    assert 'value="Nobody"' in wrong[0].text
    assert "not this one" not in wrong[1].text
    assert (await browser.log_in()).url.endswith("/patients")


async def test_second_member_joins_by_invitation(bench):
    browser, colleague = await bench.claimed(), await bench.browser()
    await browser.open("/staff")
    invited = await browser.send("/staff/invite", {"name": "Tom Beck"})
    code = invited.by_id("invitation-code")
    assert code not in (await browser.open("/staff")).text
    wrong = await colleague.send(
        "/invitation", {"code": "AAAAA-AAAAA", "password": PASSWORD, "password_again": PASSWORD}
    )
    assert wrong.error == "invitation"
    answer = await colleague.send("/invitation", {"code": code, "password": PASSWORD, "password_again": PASSWORD})
    assert "Willkommen im Team" in answer.text
    again = await bench.browser()
    assert (
        await again.send("/invitation", {"code": code, "password": PASSWORD, "password_again": PASSWORD})
    ).error == "invitation"
    staff = await browser.open("/staff")
    assert "Tom Beck" in staff.text
    assert (await browser.send("/staff/invite", {"name": "Tom Beck"})).error == "name_taken"


async def test_removed_member_is_out_at_once(bench):
    browser, colleague = await bench.claimed(), await bench.browser()
    await browser.open("/staff")
    code = (await browser.send("/staff/invite", {"name": "Tom Beck"})).by_id("invitation-code")
    await colleague.send("/invitation", {"code": code, "password": PASSWORD, "password_again": PASSWORD})
    staff = await browser.open("/staff")
    paths = [line.split('"')[0] for line in staff.text.split('href="') if "/remove" in line.split('"')[0]]
    for path in paths:
        asked = await browser.open(path)
        if "Tom Beck" in asked.text:
            await browser.send(path, {"confirmed": "yes"})
        else:
            own = path
    assert "/login" in (await colleague.open("/patients")).url
    assert (await browser.send(own)).error == "last_member"


async def test_password_change_ends_other_sessions(bench):
    browser, other = await bench.claimed(), await bench.browser()
    await other.log_in()
    await browser.open("/password")
    new = "another horse, same battery"
    wrong = await browser.send(
        "/password", {"old_password": "not this one at all", "password": new, "password_again": new}
    )
    assert wrong.error == "old_password"
    answer = await browser.send("/password", {"old_password": PASSWORD, "password": new, "password_again": new})
    assert "Ihr Passwort ist geändert" in answer.text
    assert "/login" in (await other.open("/patients")).url
    assert (await other.log_in(password=new)).status == 200


async def test_language_is_the_browsers_until_chosen(bench):
    browser = await bench.browser()
    assert 'lang="de"' in (await browser.open("/claim")).text
    assert (
        'lang="en"' in (await browser.open("/claim", headers={"Accept-Language": "fr, en-GB;q=0.8, de;q=0.7"})).text
    )
    answer = await browser.open("/language/en?next=/claim")
    assert answer.url.endswith("/claim")
    assert 'lang="en"' in (await browser.open("/claim", headers={"Accept-Language": "de"})).text
    assert (await browser.open("/language/fr")).status == 404
