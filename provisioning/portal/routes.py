"""What the portal answers on its own name: control connections, device records, and whether it is up.

    GET  /control   WebSocket; control.py
    POST /devices   a device record as JSON (docs/formats/device-record.md) -> 201 new, 200 there already,
                    400 malformed, 403 not signed by a listed station for this portal, 409 with {"error": code}
    GET  /health    200 once the portal serves

Nothing here is for browsers or patients, and no answer says which boxes there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered
from appliance.formats.device_record import MAX_RECORD_BYTES, decode_record
from provisioning.portal.authority import PortalContext
from provisioning.portal.control import Control
from provisioning.portal.counts import Counts
from provisioning.portal.registry import Registry

CONFLICTS = frozenset({"box_taken", "device_key_taken", "host_name_taken", "record_superseded"})


def make_application(registry: Registry, control: Control, counts: Counts) -> web.Application:
    """Give the application; the caller runs it under the portal's TLS."""

    async def answer_control(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        context = cast(PortalContext, transport.get_extra_info("sslcontext"))
        return await control.serve(request, context.certificate_sha256)

    async def answer_devices(request: web.Request) -> web.Response:
        try:
            new = registry.register(decode_record(await request.read()))
        except PraxisError as error:
            counts.devices_refused += 1
            return _refusal(error)
        counts.devices_registered += new
        return web.json_response({"registered": True}, status=201 if new else 200)

    async def answer_health(_: web.Request) -> web.Response:
        return web.json_response({"state": "ready"})

    async def say_little(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "praxissafe-portal"
        response.headers["Cache-Control"] = "no-store"

    application = web.Application(client_max_size=MAX_RECORD_BYTES, middlewares=[_report_bug])
    application.on_response_prepare.append(say_little)
    application.router.add_get("/control", answer_control)
    application.router.add_post("/devices", answer_devices)
    application.router.add_get("/health", answer_health)
    return application


@web.middleware
async def _report_bug(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give a failure nobody foresaw to the loop, whose owner ends the process; aiohttp alone would go on."""
    try:
        return await handler(request)
    except (web.HTTPException, OSError):
        raise
    except Exception as error:
        asyncio.get_running_loop().call_exception_handler({"message": "", "exception": error})
        raise


def _refusal(error: PraxisError) -> web.Response:
    if isinstance(error, Refused) and error.code in CONFLICTS:
        return web.json_response({"error": error.code}, status=409)
    if isinstance(error, Refused | Tampered):  # one answer: whose key is listed is nobody's business
        return web.json_response({"error": "station"}, status=403)
    if isinstance(error, Invalid):
        return web.json_response({"error": error.code}, status=400)
    raise error
