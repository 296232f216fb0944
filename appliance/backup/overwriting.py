"""Asks a store whether what lies there can be changed or removed with the credentials that this box has.

rest: removing a snapshot that does not exist is forbidden (403) where only appending is allowed, and says that there
is none (404) otherwise; rest-server and rclone look at the right first. s3: a bucket whose object lock keeps every
version for a time by default (GetObjectLockConfiguration; AWS Signature Version 4). A disk, a folder, an SFTP server:
always. Whatever is not known to be safe counts as overwritable.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from appliance.contracts.backup import Store

TIMEOUT_S = 8.0
MAX_ANSWER_BYTES = 64 * 1024
NO_SNAPSHOT = "0" * 64
REGION = "us-east-1"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def is_overwritable(store: Store, now: datetime) -> bool:
    """Ask the store; blocking."""
    if store.kind not in ("rest", "s3"):
        return True
    try:
        return not (_forbids_removal(store) if store.kind == "rest" else _locks_objects(store, now))
    except (OSError, http.client.HTTPException, ValueError):
        return True


def _forbids_removal(store: Store) -> bool:
    login = base64.b64encode(f"{store.user}:{store.secret}".encode()).decode()
    path = f"{urlsplit(store.place).path.rstrip('/')}/snapshots/{NO_SNAPSHOT}"
    status, _, _ = _ask(store, "DELETE", path, {"Authorization": f"Basic {login}"} if store.user else {})
    return status in (403, 405)


def _locks_objects(store: Store, now: datetime) -> bool:
    region = REGION
    for _ in range(2):  # a store of another region names it
        parts = urlsplit(store.place)
        path = "/" + parts.path.split("/")[1]
        headers = signed_headers(parts.netloc, path, "object-lock=", region, store.user, store.secret, now)
        status, answer, named = _ask(store, "GET", f"{path}?object-lock=", headers)
        if status == 200 or not named or named == region:
            break
        region = named
    return status == 200 and b"<ObjectLockEnabled>Enabled<" in answer and b"<DefaultRetention>" in answer


def signed_headers(
    host: str, path: str, query: str, region: str, user: str, secret: str, now: datetime
) -> dict[str, str]:
    """Sign a GET without a body (AWS Signature Version 4, "Create a signed AWS API request")."""
    at = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{region}/s3/aws4_request"
    signed = {"host": host, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": at}
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    request = f"GET\n{quote(path)}\n{query}\n{lines}\n{names}\n{EMPTY_SHA256}"
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    login = f"AWS4-HMAC-SHA256 Credential={user}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {name: value for name, value in signed.items() if name != "host"} | {"Authorization": login}


def _ask(store: Store, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
    """Give status, answer and the region that the store names."""
    parts = urlsplit(store.place)
    context = ssl.create_default_context(cadata=store.authority or None)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=TIMEOUT_S, context=context
    )
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES), answer.headers.get("x-amz-bucket-region", "")
    finally:
        connection.close()
