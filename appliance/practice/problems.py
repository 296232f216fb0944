"""Failures for practice software: application/problem+json (RFC 9457), a stable code and words in two languages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from appliance.core.errors import PraxisError
from appliance.practice.language import LANGUAGES
from appliance.practice.pages import status_of
from appliance.practice.texts import Texts

MEDIA_TYPE = "application/problem+json"
RETRY_S = 5

#: Where a machine needs another status than a person's page (docs/formats/intake.md).
_STATUS = {
    "token": 401,
    "header_missing": 400,
    "header_encoding": 400,
    "characters": 400,
    "idempotency_key_missing": 400,
    "idempotency_key": 409,
    "idempotency_key_two": 400,
    "patient_ambiguous": 409,
    "content_encoding": 415,
    "uploads_busy": 429,
    "peer_timeout": 503,
    "birth_date": 422,
}


def problem(error: PraxisError, language: str, texts: Mapping[str, Texts]) -> web.Response:
    """Make the answer for a failure, in the language asked for and, under `texts`, in each."""
    status = _STATUS.get(error.code, status_of(error))
    words = {each: texts[each].error(error) for each in LANGUAGES}
    body = {
        "type": f"urn:praxissafe:problem:{error.code}",
        "title": words[language].what,
        "detail": words[language].todo,
        "status": status,
        "code": error.code,
        "texts": {each: f"{words[each].what} {words[each].todo}".strip() for each in LANGUAGES},
    }
    if field := error.details.get("field"):
        body["header"] = field
    answer = web.Response(status=status, body=msgspec.json.encode(body), content_type=MEDIA_TYPE)
    answer.headers["Content-Language"] = language
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="praxissafe intake"'
    if status in {429, 503}:
        answer.headers["Retry-After"] = str(error.details.get("wait_s", RETRY_S))
    return answer
