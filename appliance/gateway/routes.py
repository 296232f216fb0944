"""What a patient's browser may ask: seven fixed questions, and one constant answer to everything else.

docs/formats/gateway-http.md describes each. Rules: paths are constants and carry nothing; no question lists; what
is absent, revoked, malformed or foreign gets the same bytes; /api answers leave on the time grid; a PIN is passed
to vault and kept nowhere. What vault answers is copied field by field, never as a whole (docs/threats.md, A2).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from appliance.contracts.values import Pin
from appliance.contracts.vault import OpenShare, PatientView, ShowShare
from appliance.core.errors import Invalid, NotFound, PraxisError
from appliance.core.metrics import Counter
from appliance.core.varlink import Peer, WatchedPeer
from appliance.gateway import headers
from appliance.gateway.byte_range import parse_range
from appliance.gateway.page_files import PageFile
from appliance.gateway.spool import SealedFile, Spool, Withdrawn
from appliance.gateway.time_grid import pause_s

MAX_BODY_BYTES = 512
BODY_TIMEOUT_S = 10.0
WRITTEN_BYTES = 64 * 1024
JSON = "application/json"
BYTES = "application/octet-stream"
UNKNOWN = b'{"state":"unknown"}'
AWAY = b'{"state":"unavailable"}'
#: The fragment's "#", encoded by a mail program or scanner: the secret became part of the path.
LEAKED = "/%23"

_asked = Counter("patient_requests_total", "Patients' requests by kind.", ["page", "state", "open", "share", "other"])
_opened = Counter("patient_openings_total", "PINs offered, by what vault said.", ["right", "wrong", "not_open"])
_delivered = Counter(
    "patient_deliveries_total", "Documents delivered, by how it ended.", ["complete", "withdrawn", "broken"]
)
_leaked = Counter("leaked_links_total", "Links whose secret reached gateway as part of the path.", ["seen"])

Proof = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Question = TypeVar("Question", bound=msgspec.Struct)


class StateQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/state."""

    proof: Proof


class OpenQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/open."""

    proof: Proof
    pin: Pin


@dataclass(frozen=True)
class Host:
    """Where patients reach this box; a request for any other name is foreign."""

    name: str
    port: int

    def accepts(self, request: web.BaseRequest) -> bool:
        """Check Host, and Origin where the browser sends it (A4; against other sites' scripts)."""
        host = request.headers.getall("Host", [])
        if len(host) != 1 or host[0].lower() not in {self.name, f"{self.name}:{self.port}"}:
            return False
        origin = request.headers.get("Origin")
        viewer_asks = request.method == "GET" and origin == "null"  # for its modules, from its opaque origin
        return origin is None or viewer_asks or origin == f"https://{host[0].lower()}"


class Routes:
    """Answers requests; holds no state of any patient."""

    def __init__(
        self,
        host: Host,
        files: Mapping[str, PageFile],
        spool: Spool,
        vault: Peer | WatchedPeer,
        *,
        vault_timeout_s: float,
        stall_timeout_s: float,
    ) -> None:
        self._host = host
        self._files = files
        self._spool = spool
        self._vault = vault
        self._vault_timeout_s = vault_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._is_locked = False
        self._giving: set[asyncio.Task[object]] = set()
        self._table: Mapping[tuple[str, str], Answer] = {
            **{("GET", path): self._answer_file for path in files},
            ("POST", "/api/state"): self._answer_state,
            ("POST", "/api/open"): self._answer_open,
            ("GET", "/share/manifest"): self._unless_locked(self._answer_manifest),
            ("GET", "/share/document"): self._unless_locked(self._answer_document),
        }

    def lock(self) -> None:
        """Give nothing of any share from now on, and break off what is being given."""
        self._is_locked = True
        for task in self._giving:
            task.cancel()

    def unlock(self) -> None:
        """Give again."""
        self._is_locked = False

    def _unless_locked(self, give: Answer) -> Answer:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            if self._is_locked:
                return away()
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("answered outside a task")
            self._giving.add(task)
            try:
                return await give(request)
            finally:
                self._giving.discard(task)

        return answer

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; raises only for a bug or a connection that is gone."""
        path = "/" if request.raw_path.startswith("/?") else request.raw_path  # messengers add "?…" to links
        question = self._table.get((request.method, path))
        if not self._host.accepts(request):
            question = None
        elif request.method == "GET" and path.startswith(LEAKED):
            _leaked.add("seen")
            return file_answer(request, self._files["/"])
        if question is None:
            _asked.add("other")
            return unknown()
        return await question(request)

    async def _answer_file(self, request: web.BaseRequest) -> web.StreamResponse:
        _asked.add("page")
        return file_answer(request, self._files[request.raw_path.partition("?")[0]])

    async def _answer_state(self, request: web.BaseRequest) -> web.StreamResponse:
        _asked.add("state")

        async def ask() -> web.Response:
            question = await read_body(request, StateQuestion)
            return state_answer(await self._ask_vault(ShowShare(proof=proof_bytes(question.proof))))

        return await self._on_grid(ask)

    async def _answer_open(self, request: web.BaseRequest) -> web.StreamResponse:
        _asked.add("open")

        async def ask() -> web.Response:
            question = await read_body(request, OpenQuestion)
            view = await self._ask_vault(OpenShare(proof=proof_bytes(question.proof), pin=question.pin))
            if view.r is None:
                _opened.add("wrong" if view.state == "open" else "not_open")
                return state_answer(view)
            _opened.add("right")
            return json_answer({"r": base64url(view.r), "box": view.box, "expires_at": view.expires_at})

        return await self._on_grid(ask)

    async def _answer_manifest(self, request: web.BaseRequest) -> web.StreamResponse:
        _asked.add("share")
        try:
            sealed = await self._spool.read_manifest(request.headers.get("Praxis-Locator", ""))
        except NotFound:
            return unknown()
        return web.Response(body=sealed, content_type=BYTES, headers=headers.EVERY_ANSWER)

    async def _answer_document(self, request: web.BaseRequest) -> web.StreamResponse:
        _asked.add("share")
        locator, name = (request.headers.get(header, "") for header in ("Praxis-Locator", "Praxis-File"))
        try:
            file = await self._spool.open_document(locator, name)
        except NotFound:
            return unknown()
        try:
            asked = request.headers.get("Range")
            start, end = (0, file.length) if asked is None else parse_range(asked, file.length)
            return await self._deliver(request, file, start, end, partial=asked is not None)
        except Invalid:
            return unknown()
        finally:
            file.close()

    async def _deliver(
        self, request: web.BaseRequest, file: SealedFile, start: int, end: int, *, partial: bool
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=206 if partial else 200, headers=headers.EVERY_ANSWER)
        answer.content_type = BYTES
        answer.content_length = end - start
        answer.headers["Accept-Ranges"] = "bytes"
        if partial:
            answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.length}"
        outcome = "broken"
        try:
            await answer.prepare(request)
            async for piece in file.pieces(start, end):
                async with asyncio.timeout(self._stall_timeout_s):
                    for at in range(0, len(piece), WRITTEN_BYTES):  # TLS keeps a buffer as large as the largest write
                        await answer.write(piece[at : at + WRITTEN_BYTES])
            await answer.write_eof()
            outcome = "complete"
        except Withdrawn:
            outcome = "withdrawn"
            raise ConnectionResetError from None
        except TimeoutError:
            raise ConnectionResetError from None
        finally:
            _delivered.add(outcome)
            if outcome != "complete" and request.transport is not None:
                request.transport.abort()  # the promised length is not reached: the browser sees a broken transfer
        return answer

    async def _ask_vault(self, call: ShowShare | OpenShare) -> PatientView:
        view: PatientView = await self._vault.ask(call, timeout_s=self._vault_timeout_s)
        return view

    async def _on_grid(self, ask: Callable[[], Awaitable[web.Response]]) -> web.Response:
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        try:
            answer = await ask()
        except (NotFound, Invalid):
            answer = unknown()
        except PraxisError:  # vault cannot answer now, or refuses gateway: the patient can only try later
            answer = away()
        await asyncio.sleep(pause_s(asked_at, clock()))
        return answer


def unknown() -> web.Response:
    """Give the constant answer to what is absent, revoked, malformed or foreign."""
    return web.Response(status=404, body=UNKNOWN, content_type=JSON, headers=headers.EVERY_ANSWER)


def away() -> web.Response:
    """Give the constant answer of a box that gives nothing now."""
    return web.Response(status=503, body=AWAY, content_type=JSON, headers=headers.EVERY_ANSWER)


def file_answer(request: web.BaseRequest, file: PageFile) -> web.Response:
    """Give a file of the page, compressed where the browser takes it."""
    answer = web.Response(headers={**file.headers, "Content-Type": file.content_type, "Vary": "Accept-Encoding"})
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        answer.headers["Content-Encoding"] = "gzip"
        answer.body = file.compressed
    else:
        answer.body = file.body
    return answer


def json_answer(values: Mapping[str, str | int]) -> web.Response:
    """Give a JSON answer."""
    return web.Response(body=msgspec.json.encode(values), content_type=JSON, headers=headers.EVERY_ANSWER)


def state_answer(view: PatientView) -> web.Response:
    """Say what the holder of a link may know; `r` is never among it."""
    return json_answer(
        {
            "state": view.state,
            "tries_left": view.tries_left,
            "telephone": view.telephone,
            "practice": view.practice_name,
        }
    )


def base64url(value: bytes) -> str:
    """Spell bytes as base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def proof_bytes(text: str) -> bytes:
    """Read a proof; Invalid("proof") for a second spelling of the same bytes."""
    try:
        proof = base64.urlsafe_b64decode(text + "=")
    except binascii.Error as error:
        raise Invalid("proof") from error
    if base64url(proof) != text:
        raise Invalid("proof")
    return proof


async def read_body(request: web.BaseRequest, kind: type[Question]) -> Question:
    """Read a small JSON body; Invalid("body") for anything else."""
    if request.content_type != JSON or not 0 < (request.content_length or 0) <= MAX_BODY_BYTES:
        raise Invalid("body")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, TimeoutError, web.RequestPayloadError) as error:
        raise Invalid("body") from error
