"""What the portal answers on its own name: control connections, device records, and whether it is up.

    GET  /control           WebSocket; control.py
    GET  /control/streams   the same, and patients come on it too
    POST /devices   a device record and the TPM's identity as JSON -> 200 there already, 202 a question to the TPM
    POST /proofs    the TPM's answer -> 201 registered
    POST /revocations   a station takes a box back for good -> 200
    GET  /health    200 once the portal serves

    Refusals are {"error": code}: 400 malformed, 403 not signed by a listed station for this portal, 409 there is
    another, 410 no such question, 422 the TPM or its boot is not taken, 503 later (docs/formats/attestation.md).

Nothing here is for browsers or patients, and no answer says which boxes there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered
from appliance.formats.registration import MAX_APPLICATION_BYTES, Application, Proof
from appliance.formats.revocation import Revocation
from appliance.formats.tunnel_control import CONTROL_PATH, STREAMS_PATH
from provisioning.portal.control import Control
from provisioning.portal.registration import Registration

STATUSES = {
    **dict.fromkeys(
        ("box_taken", "device_key_taken", "endorsement_taken", "host_name_taken", "record_superseded", "revoked"), 409
    ),
    **dict.fromkeys(
        (
            "endorsement_certificate",
            "tpm_key",
            "attestation",
            "quoted_parameters",
            "quoted_nothing",
            "quoted_image",
        ),
        422,
    ),
    "box_unknown": 404,
    "challenge": 410,
    "portal_busy": 503,
}


def make_application(
    registration: Registration,
    control: Control,
    revoke: Callable[[Revocation], None],
    shown_certificate: Callable[[asyncio.Transport], bytes | None],
) -> web.Application:
    """Give the application; the caller runs it under the portal's TLS. `revoke` takes a box out of the register.

    `shown_certificate` gives the SHA-256 of the certificate that the other end of a connection was shown.
    """

    async def answer_control(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        certificate_sha256 = shown_certificate(transport)
        if certificate_sha256 is None:
            return web.Response(status=503, headers={"Retry-After": "30"})
        return await control.serve(request, certificate_sha256, over_streams=request.path == STREAMS_PATH)

    async def answer_devices(request: web.Request) -> web.Response:
        try:
            asked = registration.apply(_decoded(await request.read(), Application, "device_record"))
        except PraxisError as error:
            return _refusal(error)
        if asked is None:
            return web.json_response({"registered": True})
        return web.Response(body=msgspec.json.encode(asked), content_type="application/json", status=202)

    async def answer_proofs(request: web.Request) -> web.Response:
        try:
            registration.prove(_decoded(await request.read(), Proof, "proof"))
        except PraxisError as error:
            return _refusal(error)
        return web.json_response({"registered": True}, status=201)

    async def answer_revocations(request: web.Request) -> web.Response:
        try:
            revoke(_decoded(await request.read(), Revocation, "revocation"))
        except PraxisError as error:
            return _refusal(error)
        return web.json_response({"revoked": True})

    async def answer_health(_: web.Request) -> web.Response:
        return web.json_response({"state": "ready"})

    async def say_little(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "praxissafe-portal"
        response.headers["Cache-Control"] = "no-store"

    application = web.Application(client_max_size=MAX_APPLICATION_BYTES, middlewares=[_report_bug])
    application.on_response_prepare.append(say_little)
    application.router.add_get(CONTROL_PATH, answer_control)
    application.router.add_get(STREAMS_PATH, answer_control)
    application.router.add_post("/devices", answer_devices)
    application.router.add_post("/proofs", answer_proofs)
    application.router.add_post("/revocations", answer_revocations)
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


Body = TypeVar("Body", Application, Proof, Revocation)


def _decoded(data: bytes, kind: type[Body], code: str) -> Body:
    try:
        return msgspec.json.decode(data, type=kind, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(code) from error


def _refusal(error: PraxisError) -> web.Response:
    status = STATUSES.get(error.code)
    if status is not None:
        return web.json_response({"error": error.code}, status=status)
    if isinstance(error, Refused | Tampered):  # one answer: whose key is listed is nobody's business
        return web.json_response({"error": "station"}, status=403)
    if isinstance(error, Invalid):
        return web.json_response({"error": error.code}, status=400)
    raise error
