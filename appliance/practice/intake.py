"""The intake for practice software: PUT one document with a device token. docs/formats/intake.md describes it.

Rules: a device's token opens this route and no other; the route takes documents and shows none; headers are read
and checked before the first byte of the body is asked for (100 Continue); a body is never buffered. What it answers
on success are two identifiers.
"""

from __future__ import annotations

import datetime
import re
from typing import get_args

import msgspec
from aiohttp import web

from appliance.contracts.records import AddDocument, AddedDocument, Person
from appliance.contracts.values import DocumentKind, MediaType
from appliance.contracts.vault import CheckSession
from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.core.metrics import Counter
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.disposition import header_text
from appliance.practice.language import choose
from appliance.practice.problems import problem
from appliance.practice.uploads import Uploads

PATH = "/intake/v1/documents"
MEDIA_TYPES: dict[str, MediaType] = {media_type: media_type for media_type in get_args(MediaType)}
MEDIA_TYPES["image/heif"] = "image/heic"  # what some programs call it
_BEARER = re.compile(r"Bearer ([A-Za-z0-9_-]{20,128})\Z", re.IGNORECASE)
_KEY = re.compile(r'(?:"([A-Za-z0-9._:~-]{1,128})"|([A-Za-z0-9._:~-]{1,128}))\Z')

_taken = Counter("intake_total", "Documents offered by practice software.", ["added", "repeated", "refused"])


class Intake:
    """Answers practice software."""

    def __init__(self, desk: Desk, uploads: Uploads) -> None:
        self._desk = desk
        self._uploads = uploads

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.put(PATH, self.put, expect_handler=_wait_for_checks),
            web.put(PATH + "/{key}", self.put, expect_handler=_wait_for_checks),
        ]

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Store a document: 201, or 200 if this key has stored the same one before."""
        language = choose(None, request.headers.get("Accept-Language", ""))
        try:
            token = await self._check_token(request)
            call = read_call(request, token, self._desk.today())
            await _ask_for_body(request)
            added = await self._uploads.receive_body(request, call)
        except PraxisError as error:
            _taken.add("refused")
            shown = Refused("token") if isinstance(error, Refused) else error
            return problem(shown, language, self._desk.pages.texts)
        _taken.add("repeated" if added.repeated else "added")
        return _answer(added)

    async def _check_token(self, request: web.Request) -> str:
        found = _BEARER.match(request.headers.get("Authorization", ""))
        if found is None:
            raise Refused("token")
        session = await self._desk.peers.vault.ask(CheckSession(session=found[1]))
        if session.kind != "device":
            raise Refused("token")
        return found[1]


def read_call(request: web.Request, token: str, today: datetime.date) -> AddDocument:
    """Read the headers; Invalid with the header's name for what is missing or wrong."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Invalid("content_encoding", field="Content-Encoding")
    media_type = MEDIA_TYPES.get(request.content_type)
    if "Content-Type" not in request.headers or media_type is None:
        raise Invalid("document_type", field="Content-Type")
    name = fields.file_name(_header(request, "Praxis-Name"))
    if not name:
        raise Invalid("header_missing", field="Praxis-Name")
    return AddDocument(
        session=token,
        kind=_kind(_header(request, "Praxis-Kind")),
        title=_title(request, name),
        name=name,
        media_type=media_type,
        match=_person(request, today),
        idempotency_key=_key(request),
    )


def _header(request: web.Request, name: str, *, required: bool = True) -> str:
    sent = request.headers.getall(name, [])
    if len(sent) > 1:
        raise Invalid("header_encoding", field=name)
    text = fields.clean(header_text(sent[0], name)) if sent else ""
    if required and not text:
        raise Invalid("header_missing", field=name)
    return text


def _kind(text: str) -> DocumentKind:
    try:
        return fields.kind(text)
    except Invalid as error:
        raise Invalid(error.code, field="Praxis-Kind") from error


def _title(request: web.Request, name: str) -> str:
    try:
        return fields.title(_header(request, "Praxis-Title", required=False), name)
    except Invalid as error:
        raise Invalid(error.code, **{**error.details, "field": "Praxis-Title"}) from error


_PERSON_HEADERS = {
    "family_name": "Praxis-Patient-Family-Name",
    "given_name": "Praxis-Patient-Given-Name",
    "birth_date": "Praxis-Patient-Birth-Date",
    "number": "Praxis-Patient-Number",
}


def _person(request: web.Request, today: datetime.date) -> Person:
    sent = {field: _header(request, header, required=field != "number") for field, header in _PERSON_HEADERS.items()}
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", sent["birth_date"]):
        raise Invalid("birth_date", field=_PERSON_HEADERS["birth_date"])
    try:
        return fields.person(sent, today)
    except Invalid as error:
        header = _PERSON_HEADERS[str(error.details.get("field"))]
        raise Invalid(error.code, **{**error.details, "field": header}) from error


def _key(request: web.Request) -> str:
    in_path, in_header = request.match_info.get("key"), request.headers.get("Idempotency-Key")
    keys = [found[1] or found[2] for key in (in_path, in_header) if key is not None and (found := _KEY.match(key))]
    if len(keys) != sum(key is not None for key in (in_path, in_header)) or not keys:
        raise Invalid("idempotency_key_missing", field="Idempotency-Key")
    if len(set(keys)) > 1:
        raise Invalid("idempotency_key_two", field="Idempotency-Key")
    return keys[0]


async def _wait_for_checks(_: web.Request) -> None:
    """Answer `Expect: 100-continue` later: when the headers are found good (RFC 9110 10.1.1)."""


async def _ask_for_body(request: web.Request) -> None:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _answer(added: AddedDocument) -> web.Response:
    body = msgspec.json.encode({"document": added.document, "patient": added.patient})
    return web.Response(status=200 if added.repeated else 201, body=body, content_type="application/json")
