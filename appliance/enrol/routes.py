"""What the technician's station may ask: state, keys, finish. Everything else gets one constant answer.

The Host header is not checked: a box without an identity has no name yet, and vault makes keys only once. Layouts:
docs/formats/enrolment.md.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from aiohttp import web

from appliance.contracts.values import HostName
from appliance.contracts.vault import Describe, FinishProvisioning, Provision
from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Unavailable
from appliance.core.journal import say
from appliance.core.varlink import Peer

MAX_BODY_BYTES = 32 * 1024
#: Making a device key takes a discrete TPM some seconds.
PROVISION_TIMEOUT_S = 120.0
STATUSES: dict[type[PraxisError], int] = {Refused: 403, Invalid: 400, Unavailable: 503, NotFound: 404}


class Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /enrol: where the box will be reached, and its portal."""

    page_host: str
    page_port: int
    lan_host: str
    lan_port: int
    portal_address: str
    portal_name: HostName
    portal_ca: Annotated[str, msgspec.Meta(max_length=16384)]
    serial: str


class Routes:
    """Answers the station; `finished` is set when enrolment is closed and that answer has been sent."""

    def __init__(self, vault: Peer) -> None:
        self._vault = vault
        self.finished = asyncio.Event()

    def application(self) -> web.Application:
        """Give the application; the caller runs it under the bench's TLS."""
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        application.router.add_get("/state", self._answer_state, allow_head=False)
        application.router.add_post("/enrol", self._answer_enrol)
        application.router.add_post("/finish", self._answer_finish)
        return application

    async def _answer_state(self, _: web.Request) -> web.StreamResponse:
        try:
            box = await self._vault.ask(Describe())
        except Unavailable as error:
            if error.code != "unprovisioned":
                raise
            return web.json_response({"keys": False, "box": ""})
        return web.json_response({"keys": True, "box": box.box})

    async def _answer_enrol(self, request: web.Request) -> web.StreamResponse:
        try:
            order = msgspec.json.decode(await request.read(), type=Order)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid("order") from error
        made = await self._vault.ask(Provision(**msgspec.structs.asdict(order)), timeout_s=PROVISION_TIMEOUT_S)
        say("keys_made", priority="notice")
        answer = {
            "box": made.box,
            "device_key": base64.b64encode(made.device_key).decode(),
            "claim_code": made.claim_code,
            "serial": made.serial,
        }
        return web.json_response(answer)

    async def _answer_finish(self, request: web.Request) -> web.StreamResponse:
        await self._vault.ask(FinishProvisioning())
        say("enrolment_closed", priority="notice")
        answer = web.json_response({"finished": True}, headers={"Connection": "close"})
        try:
            await answer.prepare(request)
            await answer.write_eof()
        finally:
            self.finished.set()
        return answer

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except PraxisError as error:
            body = {"family": error.family, "code": error.code}
            return web.json_response(body, status=STATUSES.get(type(error), 500))
        except web.HTTPException:
            return web.json_response({"family": "NotFound", "code": "page"}, status=404)
