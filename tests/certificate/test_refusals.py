"""What an authority may say instead of yes: a small one that refuses, limits, and offers profiles.

It checks no signature: what vault signs is tried against pebble. Only the answers that pebble cannot give are here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from appliance.certificate import keeper as keeper_module
from appliance.certificate.answers import make_answers
from appliance.certificate.keeper import Keeper
from appliance.certificate.order import Ordering
from appliance.certificate.settings import CertificateSettings
from appliance.certificate.status import Status
from appliance.contracts import page_key
from appliance.contracts.certificate import ReadState, Renew
from appliance.contracts.gateway import GATEWAY, PageRequest, ReadPageRequest
from appliance.contracts.page_key import PAGE_KEY, SignedRequest
from appliance.contracts.tunnel import TUNNEL
from appliance.contracts.tunnel import ReadState as ReadTunnel
from appliance.contracts.vault import VAULT, Opening, WatchOpening
from appliance.core.errors import Invalid, PraxisError, Unavailable
from appliance.core.varlink import Caller
from appliance.demo.authority import lay_https_certificate
from appliance.vault.acme import Account
from tests.simulators.acme_side import answering, connected

PAGE = PageRequest(request=b"request", needed=True, not_before=0, not_after=0, replaced=b"")
CALLER = Caller("practice")
Handler = Callable[[web.Request], Any]


class Authority:
    """Answers as `answers` says, by the last word of the path; `orders` are the payloads of newOrder."""

    def __init__(self) -> None:
        self.base = ""
        self.meta: dict[str, Any] = {}
        self.answers: dict[str, web.Response] = {}
        self.orders: list[dict[str, Any]] = []
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        what = request.path.lstrip("/")
        self.asked.append(what)
        if what == "dir" and what not in self.answers:
            places = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order", "revokeCert": "revoke"}
            return web.json_response({key: self.base + place for key, place in places.items()} | {"meta": self.meta})
        if what == "account" and what not in self.answers:
            return said({}, 201, Location=self.base + "me")
        if what == "order":
            payload = json.loads(await request.read())["payload"]
            self.orders.append(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
        kept = self.answers.get(what) or said({}, 200)  # an answer can be sent once
        return web.Response(body=kept.body, status=kept.status, headers=kept.headers)


def said(content: Any, status: int, **headers: str) -> web.Response:
    return web.json_response(content, status=status, headers={"Replay-Nonce": "n", **headers})


def problem(name: str, status: int, **headers: str) -> web.Response:
    return said({"type": f"urn:ietf:params:acme:error:{name}"}, status, **headers)


class Side:
    def __init__(self, authority: Authority, ordering: Ordering, keeper: Keeper, status: Status) -> None:
        self.authority, self.ordering, self.keeper, self.status = authority, ordering, keeper, status

    async def failed(self) -> PraxisError:
        with pytest.raises(PraxisError) as failed:
            await self.ordering.obtain(PAGE)
        return failed.value


@asynccontextmanager
async def refusing(folder: Path, **settings: Any) -> AsyncIterator[Side]:
    authority = Authority()
    lay_https_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "https.pem", folder / "https.key")
    runner = web.ServerRunner(web.Server(authority.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    authority.base = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    own = {"directory": authority.base + "dir", "directory_ca": str(folder / "https.pem"), "order_timeout_s": 0.5}
    chosen = CertificateSettings(**(own | settings))
    account = Account(bytes(32), authority.base)

    async def sign(call: Any, _: Caller) -> SignedRequest:
        payload: dict[str, Any] = {}
        if isinstance(call, page_key.SignAcmeOrder) and call.profile:
            payload = {"profile": call.profile}
        return SignedRequest(body=account.sign(call.url, call.nonce, payload, getattr(call, "account", None)))

    async def read(_: ReadPageRequest, __: Caller) -> PageRequest:
        return PAGE

    async def is_open(call: WatchOpening, _: Caller) -> Opening:
        return Opening(state="open", why="")

    signing = {verb: sign for name, verb in PAGE_KEY.verbs.items() if name.startswith("Sign")}
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        by = "certificate"
        vault = await stack.enter_async_context(answering(folder, "page_key", PAGE_KEY, signing, by))
        opening = await stack.enter_async_context(answering(folder, "vault", VAULT, {WatchOpening: is_open}, by))
        gateway = await stack.enter_async_context(answering(folder, "gateway", GATEWAY, {ReadPageRequest: read}, by))
        tunnel = await stack.enter_async_context(answering(folder, "tunnel", TUNNEL, {ReadTunnel: connected}, by))
        status = Status(chosen.directory)
        ordering = Ordering(vault, gateway, chosen, status)
        yield Side(authority, ordering, Keeper(ordering, opening, gateway, tunnel, chosen, status), status)


@pytest.mark.parametrize(
    ("place", "answer", "code", "wait_s"),
    [
        ("order", problem("rateLimited", 429, **{"Retry-After": "7200"}), "rate_limited", 7200),
        ("order", problem("rateLimited", 403), "rate_limited", 3600),
        ("order", said({}, 503, **{"Retry-After": "30"}), "authority_busy", 30),
        ("order", problem("caa", 403), "caa", 0),
        ("order", problem("rejectedIdentifier", 400), "order_refused", 0),
        ("order", said({}, 302, Location="https://elsewhere.example/"), "authority_failed", 0),
        ("order", said([], 201, Location="https://127.0.0.1/o"), "authority_failed", 0),
        ("order", web.Response(body=b"x" * 300_000), "authority_failed", 0),
        ("account", problem("userActionRequired", 403), "account_refused", 0),
        ("account", said({}, 201), "authority_failed", 0),
        ("dir", web.Response(text="<html>"), "authority_failed", 0),
        ("dir", web.json_response({"newNonce": "https://elsewhere.example/n"}), "authority_failed", 0),
    ],
    ids=["limited", "limited for long", "busy", "caa", "name", "redirect", "no order", "too much", "terms",
         "no account", "no directory", "half a directory"],
)  # fmt: skip
async def test_a_refusal_is_named_and_its_wait_is_kept(
    tmp_path: Path, place: str, answer: web.Response, code: str, wait_s: int
) -> None:
    async with refusing(tmp_path) as side:
        side.authority.answers[place] = answer
        failed = await side.failed()
        assert (failed.code, failed.details.get("wait_s", 0)) == (code, wait_s)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"directory": "https://127.0.0.1:1/dir"}, "authority_unreachable"),
        ({"directory_ca": ""}, "authority_certificate"),
        ({"directory_ca": "/nowhere"}, "settings"),
        ({"directory": "http://127.0.0.1/dir"}, "settings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_authority_that_cannot_be_asked_is_named(tmp_path: Path, change: dict[str, str], code: str) -> None:
    async with refusing(tmp_path, **change) as side:
        assert (await side.failed()).code == code


async def test_another_origin_is_not_asked(tmp_path: Path) -> None:
    async with refusing(tmp_path) as side:
        order = {
            "status": "pending",
            "finalize": "https://127.0.0.1:9/f",
            "authorizations": ["https://127.0.0.1:9/a"],
        }
        side.authority.answers["order"] = said(order, 201, Location=side.authority.base + "o")
        assert (await side.failed()).code in ("authority_failed", "url")


async def test_a_profile_of_short_lives_is_asked_for_where_it_is_offered(tmp_path: Path) -> None:
    async with refusing(tmp_path) as side:
        side.authority.answers["order"] = problem("malformed", 400)
        await side.failed()
        side.authority.meta = {"profiles": {"classic": "90 days", "shortlived": "6 days"}}
        await side.failed()
        assert side.authority.orders == [{}, {"profile": "shortlived"}]


async def test_a_profile_that_this_account_may_not_have_is_left_out(tmp_path: Path) -> None:
    async with refusing(tmp_path) as side:
        side.authority.meta = {"profiles": {"shortlived": "6 days"}}
        side.authority.answers["order"] = problem("invalidProfile", 400)
        await side.failed()
        assert side.authority.orders == [{"profile": "shortlived"}, {}]


async def test_a_wait_is_kept_to_its_end_however_often_the_clock_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "LOOK_S", 0.001)
    async with refusing(tmp_path, refused_first_s=1.0) as side:
        side.authority.answers["order"] = problem("caa", 403)
        running = asyncio.ensure_future(side.keeper.run())
        try:
            loop = asyncio.get_running_loop()
            failed_at: list[float] = []
            async with asyncio.timeout(10):
                while len(failed_at) < 2:
                    if side.keeper._failures > len(failed_at):
                        failed_at.append(loop.time())
                    await asyncio.sleep(0.001)
            assert failed_at[1] - failed_at[0] >= 0.4  # of a wait of at least 0.5 s
            assert side.authority.asked.count("order") == 2
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_a_limited_authority_is_left_alone_whoever_asks(tmp_path: Path) -> None:
    async with refusing(tmp_path) as side:
        side.authority.answers["order"] = problem("rateLimited", 429, **{"Retry-After": "7200"})
        running = asyncio.ensure_future(side.keeper.run())
        try:
            answers = make_answers(side.keeper, side.status)
            async with asyncio.timeout(10):
                while not (state := await answers[ReadState](ReadState(), CALLER)).last_problem:
                    await asyncio.sleep(0.01)
            assert state.last_problem == "rate_limited"
            assert state.next_attempt_at >= state.last_problem_at + 7200
            asked = len(side.authority.asked)
            with pytest.raises(Unavailable) as refused:
                await answers[Renew](Renew(), CALLER)
            assert refused.value.code == "rate_limited"
            side.keeper._wake.set()  # as a new key would
            async with asyncio.timeout(10):
                while side.keeper._failures < 2:
                    await asyncio.sleep(0.01)
            assert len(side.authority.asked) == asked
        finally:
            running.cancel()
            await asyncio.wait([running])


def test_an_origin_is_https_and_has_one_spelling() -> None:
    from appliance.formats.acme import origin_of

    assert origin_of("https://CA.Example:443/a/b?c") == origin_of("https://ca.example/") == "https://ca.example"
    assert origin_of("https://ca.example:14000/dir") == "https://ca.example:14000"
    for bad in ("http://ca.example/", "https://", "https://a@b/", "https://a:0/", "https://a:99999/", "https://a/\n",
                "https://a /", "https://ä.example/", "https://a/#f", "ftp://a/"):  # fmt: skip
        with pytest.raises(Invalid):
            origin_of(bad)
