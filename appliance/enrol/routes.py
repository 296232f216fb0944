"""What the station may ask: state, keys, the TPM's proof, finish. Everything else gets one constant answer.

Rules it keeps: bodies are capped, timed and decoded strictly; a failure is {family, code} and nothing else;
finishing needs the ticket of the last `POST /enrol`, so nobody slips another order in between; enrolment that is
closed ends the process, and so does a bug. Layouts: docs/formats/enrolment.md.

The Host header is not checked, on purpose. A list of allowed names defends against a web page that rebinds its own
name to this address; here there is no name to list yet (the technician types whatever address the bench gave the
box), and a browser does not get as far as HTTP, because none trusts this certificate. In case a person made one
trust it, a body must be declared as JSON, which no page may send to a stranger unasked (Fetch, CORS-safelisted).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from appliance.contracts.vault import Describe, FinishProvisioning, IdentifyTpm, ProveTpm, Provision
from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Tampered, Unavailable
from appliance.core.journal import say
from appliance.core.varlink import Peer

MAX_BODY_BYTES = 32 * 1024
BODY_TIMEOUT_S = 10.0
#: Making a device key takes a discrete TPM some seconds.
PROVISION_TIMEOUT_S = 120.0
#: A discrete TPM may need a minute to make its RSA endorsement key again.
PROVE_TIMEOUT_S = 120.0
STATUSES: dict[type[PraxisError], int] = {
    Refused: 403,
    Invalid: 400,
    Unavailable: 503,
    NotFound: 404,
    Tampered: 409,
}

#: The library's messages quote what a stranger sent; they go nowhere (docs/threats.md, A27).
_silent = logging.Logger("silent")
_silent.addHandler(logging.NullHandler())

#: How the application is to be run. An answer on its way gets `shutdown_timeout` seconds.
LIMITS: Final[dict[str, Any]] = {
    "access_log": None,
    "logger": _silent,
    "keepalive_timeout": 30.0,
    "shutdown_timeout": 10.0,
}


class NewBoxAnswer(msgspec.Struct):
    """The answer to POST /enrol: vault's, and the ticket to finish with."""

    box: str
    device_key: bytes  # as base64
    claim_code: str
    serial: str
    ticket: str


class Finish(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /finish."""

    ticket: str


Body = TypeVar("Body", Provision, ProveTpm, Finish)


class Routes:
    """Answers the station.

    `ended` is done when enrolment is closed and that answer has been sent; it fails with a bug.
    """

    def __init__(self, vault: Peer) -> None:
        self._vault = vault
        self._ticket = ""
        self._turn = asyncio.Lock()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def application(self) -> web.Application:
        """Give the application; the caller runs it under the bench's TLS, with LIMITS."""
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        application.on_response_prepare.append(_say_little)
        application.router.add_get("/state", self._answer_state, allow_head=False)
        application.router.add_post("/enrol", self._answer_enrol)
        application.router.add_get("/identity", self._answer_identity, allow_head=False)
        application.router.add_post("/proof", self._answer_proof)
        application.router.add_post("/finish", self._answer_finish)
        return application

    async def _answer_state(self, _: web.Request) -> web.StreamResponse:
        try:
            box = await self._vault.ask(Describe())
        except Unavailable as error:
            if error.code != "unprovisioned":
                raise
            return web.json_response({"state": "new"})
        return web.json_response({"state": "finished" if box.provisioned else "enrolled"})

    async def _answer_enrol(self, request: web.Request) -> web.StreamResponse:
        order = await _body(request, Provision)
        async with self._turn:
            self._ticket = ""
            made = await self._vault.ask(order, timeout_s=PROVISION_TIMEOUT_S)
            self._ticket = secrets.token_urlsafe(16)
        say("keys_made", priority="notice")
        answer = NewBoxAnswer(made.box, made.device_key, made.claim_code, made.serial, self._ticket)
        return _json(answer)

    async def _answer_identity(self, _: web.Request) -> web.StreamResponse:
        async with self._turn:
            identity = await self._vault.ask(IdentifyTpm(), timeout_s=PROVE_TIMEOUT_S)
        return _json(identity)

    async def _answer_proof(self, request: web.Request) -> web.StreamResponse:
        question = await _body(request, ProveTpm)
        async with self._turn:
            evidence = await self._vault.ask(question, timeout_s=PROVE_TIMEOUT_S)
        say("tpm_proven", priority="notice")
        return _json(evidence)

    async def _answer_finish(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request, Finish)
        async with self._turn:
            if not self._ticket or not hmac.compare_digest(body.ticket.encode(), self._ticket.encode()):
                raise Refused("ticket")
            await self._vault.ask(FinishProvisioning())
        say("enrolment_closed", priority="notice")
        answer = web.json_response({"finished": True}, headers={"Connection": "close"})
        try:
            await answer.prepare(request)
            await answer.write_eof()
        finally:
            self._end(None)
        return answer

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except PraxisError as error:
            return _failure(error)
        except web.HTTPException:
            return _failure(NotFound("page"))
        except ConnectionError:  # the station is gone; there is nobody to tell
            raise
        except Exception as error:
            self._end(error)
            raise

    def _end(self, bug: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None) if bug is None else self.ended.set_exception(bug)


async def _body(request: web.Request, kind: type[Body]) -> Body:
    """Read and decode; Invalid with the name of the field that is wrong, or "order"."""
    if request.content_type != "application/json":
        raise Invalid("content_type")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.read()
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        field = re.search(r" - at `\$\.(\w+)`\Z", str(error))
        raise Invalid(field[1] if field and field[1] in kind.__struct_fields__ else "order") from error
    except (msgspec.DecodeError, UnicodeDecodeError, web.HTTPRequestEntityTooLarge, TimeoutError) as error:
        raise Invalid("order") from error


def _json(answer: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def _failure(error: PraxisError) -> web.Response:
    body = {"family": error.family, "code": error.code}
    return web.json_response(body, status=STATUSES.get(type(error), 500))


async def _say_little(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "praxissafe-enrol"
    response.headers["Cache-Control"] = "no-store"
