"""The page about the box's way to the internet: one sentence, what to do, and the proxy whose password is never shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.core.errors import Refused, Unavailable
from appliance.practice.texts import read_catalogue
from appliance.tunnel import problems

PATH = "/status/internet"
PAGES = ("/status", PATH)
TYPED = {"address": "proxy.praxis.lan:3128", "user": "praxis", "proxy_password": "höchst geheim "}
WORDS = read_catalogue("de")


@pytest.mark.parametrize("mode", ["raw", "wrapped", "streams"])
@pytest.mark.parametrize("path", PAGES)
async def test_the_way_is_told_in_one_sentence(bench, mode, path):
    browser = await bench.claimed()
    bench.tunnel.changed(mode=mode)
    page = await browser.open(path)
    assert WORDS[f"internet.way.{mode}"] in page.text
    assert 'id="internet-problem"' not in page.text


@pytest.mark.parametrize("path", PAGES)
async def test_with_a_proxy_the_sentence_names_it(bench, path):
    browser = await bench.claimed()
    bench.tunnel.changed(mode="streams", proxy="proxy.praxis.lan:3128")
    page = await browser.open(path)
    assert "Die Box geht über den Proxy proxy.praxis.lan:3128 hinaus." in page.text
    assert WORDS["internet.way.streams"] not in page.text


def every_problem():
    """What a dial, a session and the portal's answers may end with, as the program names them."""
    of_dials = Path(problems.__file__)
    code = r'"((?:portal|proxy)_[a-z_]+|name_unknown)"'
    source = "".join(path.read_text() for path in of_dials.parent.glob("*.py"))
    return sorted({*re.findall(rf"(?:Unavailable|Refused)\({code}", source), *re.findall(code, of_dials.read_text())})


async def test_every_problem_is_told_with_what_to_do(bench):
    browser = await bench.claimed()
    known = every_problem()
    assert {"portal_certificate_expired", "proxy_refused", "portal_silent", "portal_refused"} <= set(known)
    assert "name_unknown" in known, "a code that is one of two in one line counts too"
    for code in known:
        bench.tunnel.hindered(code)
        for path in PAGES:
            page = await browser.open(path)
            assert f'data-code="{code}"' in page.text, code
            assert WORDS[f"error.{code}.what"] in page.text
            assert WORDS[f"error.{code}.todo"] in page.text
            assert page.text.count(WORDS[f"error.{code}.what"]) == 1, "said once"
            assert WORDS["status.tunnel.hindered"] in page.text


async def test_an_unknown_problem_still_says_something(bench):
    browser = await bench.claimed()
    bench.tunnel.hindered("frame_kind")
    assert WORDS["error.portal_answer.what"] in (await browser.open(PATH)).text


async def test_one_of_two_relays_is_nothing_to_worry_about(bench):
    browser = await bench.claimed()
    bench.tunnel.changed(connected=1, relays=2, problem="portal_lost")
    page = await browser.open("/status")
    assert 'id="internet-problem"' not in page.text
    assert WORDS["status.tunnel.connected"] in page.text


async def test_while_tunnel_is_away_the_pages_say_so(bench):
    browser = await bench.claimed()
    await bench.take_away("tunnel")
    for path in PAGES:
        page = await browser.open(path)
        assert page.status == 200
        assert WORDS["status.tunnel.away"] in page.text


async def test_a_proxy_is_tried_kept_and_its_password_is_on_no_page(bench):
    browser = await bench.claimed()
    await browser.open(PATH)
    page = await browser.send(PATH, TYPED)
    assert WORDS["done.proxy_set"] in page.text
    (told,) = bench.tunnel.proxies
    assert (told.address, told.user, told.password) == tuple(TYPED.values())
    assert "proxy.praxis.lan:3128" in page.text
    for path in PAGES:
        assert "geheim" not in (await browser.open(path)).text


async def test_an_empty_password_keeps_what_is_kept(bench):
    browser = await bench.claimed()
    await browser.open(PATH)
    await browser.send(PATH, {**TYPED, "proxy_password": ""})
    assert bench.tunnel.proxies[0].password is None


@pytest.mark.parametrize(
    ("failure", "field"),
    [
        (Refused("proxy_refused"), "proxy_password"),
        (Refused("proxy_forbids"), "address"),
        (Unavailable("proxy_unreachable"), "address"),
        (Unavailable("storage"), ""),
    ],
)
async def test_a_proxy_that_does_not_work_is_told_and_what_was_typed_stays(bench, failure, field):
    browser = await bench.claimed()
    bench.tunnel.fails = failure
    await browser.open(PATH)
    page = await browser.send(PATH, TYPED)
    assert page.error == failure.code
    assert 'value="proxy.praxis.lan:3128"' in page.text
    assert "geheim" not in page.text
    if field:
        assert re.search(rf'id="field-{field}"[^>]*aria-invalid="true"', page.text, re.DOTALL)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"address": ""}, "field_empty"),
        ({"address": "x"}, "proxy_address"),
        ({"address": "x" * 263}, "field_long"),
        ({"user": "a:b"}, "characters"),
        ({"proxy_password": "a\x07b"}, "characters"),
        ({"proxy_password": "x" * 257}, "field_long"),
    ],
)
async def test_what_is_no_proxy_reaches_no_other_process(bench, wrong, code):
    browser = await bench.claimed()
    await browser.open(PATH)
    page = await browser.send(PATH, {**TYPED, **wrong})
    assert page.error == code
    assert not bench.tunnel.proxies


async def test_a_proxy_is_removed_after_a_question(bench):
    browser = await bench.claimed()
    bench.tunnel.changed(proxy="proxy.praxis.lan:3128", proxy_user="praxis")
    page = await browser.open(f"{PATH}/remove")
    assert "proxy.praxis.lan:3128" in page.text
    page = await browser.send(f"{PATH}/remove", {"confirmed": "yes"})
    assert WORDS["done.proxy_removed"] in page.text
    assert not bench.tunnel.state.proxy
    assert (await browser.open(f"{PATH}/remove", follow=False)).status == 303
