"""Bad requests from good ones: a seeded generator over every route of practice and gateway. Pure.

Each attempt is a real request (right host, session, CSRF token, identifiers that exist) of which nothing, a value, a
header, the framing or any byte was damaged. Destroying requests (remove a member, revoke, delete) name what the
campaign made itself. docs/formats/practice-http.md and gateway-http.md list the routes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote_from_bytes

from tests.fuzz.mutation import AWKWARD, mutated

PDF = b"%PDF-1.7\n% a document\n"
METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW", b"get")
#: File names that people, programs and attackers send.
NAMES = (
    b"befund.pdf", b"../../../../etc/passwd", b"..\\..\\windows\\system32\\a.pdf", b"/etc/shadow", b"a\0b.pdf", b"n" * 300 + b".pdf",
    "rechnung\u202efdp.exe".encode(), "Ä\u0301\u200b.txt".encode(), b"CON", b"NUL.txt", b"LPT1:", b"aux.pdf", b".", b"..", b" ",
    b"", b"-rf", b"a;b|c$(id)`id`.pdf", b"<script>alert(1)</script>.pdf", b"\xff\xfe.pdf", b"\xed\xa0\x80.pdf", b"a\r\nb.pdf",
    b"%2e%2e%2fa.pdf", b"{{7*7}}.pdf", b"'; DROP TABLE document; --.pdf", b"C:\\a.pdf", b"\\\\host\\share\\a.pdf", b"a" * 5000,
)  # fmt: skip
VALUES = (
    *NAMES,
    *AWKWARD,
    b"0",
    b"-1",
    b"1e400",
    b"99999999999999999999",
    b"true",
    b"null",
    b"[]",
    b"{}",
    b"31.02.2020",
    b"x" * 2000,
)
RANGES = (
    b"bytes=0-", b"bytes=5-", b"bytes=-5", b"bytes=5-1", b"bytes=0-0,2-3", b"bytes=99999999999999-", b"bytes=a-b", b"lines=1-2",
    b"bytes=0-18446744073709551616", b"bytes=\xb2-", b"bytes= 0 - 1",
)  # fmt: skip
ODD_HEADERS = (
    (b"Accept-Language", b"en;q=1.0000000, de;q=x, *" + b",a" * 500), (b"Accept-Language", b"\xff\xfe"), (b"Accept-Encoding", b"gzip;q=NaN"),
    (b"If-None-Match", b'W/"x"'), (b"If-Modified-Since", b"Thu, 99 Foo 2026"), (b"If-Range", b'"x"'), (b"If-Match", b"*"),
    (b"Content-Type", b"multipart/form-data"), (b"Content-Type", b"multipart/form-data; boundary=" + b"b" * 300),
    (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-7"), (b"Content-Type", b"text/plain; charset=no-such"),
    (b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip"), (b"Content-Encoding", b"br, deflate"),
    (b"Expect", b"100-continue"), (b"Expect", b"the unexpected"), (b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"),
    (b"Connection", b"Upgrade, HTTP2-Settings"), (b"Connection", b"close"), (b"Host", b"evil.example"), (b"Host", b""),
    (b"Origin", b"https://evil.example"), (b"Sec-Fetch-Site", b"cross-site"), (b"Cookie", b"a=" + b"b" * 3000),
    (b"Cookie", b"__Host-session=\x01\x02; =; ;;;"), (b"Cookie", b"__Host-language=xx; $Version=1"), (b"X-HTTP-Method-Override", b"DELETE"),
    (b"X-Forwarded-For", b"127.0.0.1"), (b"Transfer-Encoding", b"gzip, chunked"), (b"Transfer-Encoding", b"identity"),
    (b"TE", b"trailers"), (b"Authorization", b"Basic \xff\xff"), (b"Authorization", b"Bearer " + b"a" * 4000), (b"Referer", b"\0"),
    (b"Date", b"x"), (b"Bad Name", b"x"), (b"", b"x"), (b"Praxis-Locator", b"../" * 10 + b"0" * 2), (b"Praxis-File", b"manifest"),
)  # fmt: skip

Header = tuple[bytes, bytes]
Body = Sequence[tuple[str, bytes | tuple[bytes, bytes]]]


@dataclass
class Known:
    """What whoever asks knows of this box: addresses, one session, one device, one link, identifiers."""

    practice_host: bytes
    page_host: bytes
    session: bytes = b""
    csrf: bytes = b""
    device: bytes = b""
    locator: bytes = b""
    proof: bytes = b""
    sealed: list[bytes] = field(default_factory=list)
    patients: list[bytes] = field(default_factory=list)
    documents: list[bytes] = field(default_factory=list)
    shares: list[bytes] = field(default_factory=list)


@dataclass
class Request:
    """A request before it is bytes."""

    route: str
    method: bytes
    target: bytes
    headers: list[Header]
    body: bytes = b""
    chunked: bool = False
    length: bytes | None = None


@dataclass(frozen=True)
class Attempt:
    """The bytes of one request; `whole` says that HTTP owes it an answer, `slow` that pauses stand between the pieces."""

    route: str
    damage: str
    pieces: tuple[bytes, ...]
    whole: bool
    slow: bool = False


PRACTICE_GET = (
    "/", "/claim", "/login?next=/{v}&why={v}", "/invitation", "/locked?next={v}", "/language/de?next={v}", "/language/{v}", "/lan-ca.crt",
    "/patients?text={v}&birth_date={v}&after={n}", "/patients/new?family_name={v}", "/patients/{patient}?kind={v}", "/patients/{patient}/edit",
    "/patients/{patient}/delete", "/documents?text={v}&before={n}", "/documents/{document}/open", "/documents/{document}/download",
    "/documents/{document}/delete", "/shares?after={n}&ended={v}", "/shares/{share}/link?language={v}", "/shares/{share}/link-sheet.pdf?language={v}",
    "/shares/{share}/pin", "/shares/{share}/pin-slip.pdf", "/shares/{share}/revoke", "/staff", "/staff/{other}/remove",
    "/devices", "/devices/{other}/revoke", "/password", "/history?before={n}&patient={patient}", "/history?before={v}&patient={v}",
    "/status", "/static/{v}", "/static/style.css", "/favicon.ico", "/{v}", "/patients/{v}", "/documents/{v}/open", "/shares/{v}/pin", "/intake/v1/documents",
)  # fmt: skip
PRACTICE_POST: tuple[tuple[str, tuple[tuple[str, bytes], ...]], ...] = (
    ("/claim", (("code", b"x"), ("practice_name", b"P"), ("telephone", b"030 1"), ("name", b"N"), ("password", b"p" * 12), ("password_again", b"p" * 12))),
    ("/login", (("name", b"Nobody"), ("password", b"p" * 12), ("next", b"/patients"))),
    ("/invitation", (("code", b"ABCD-EFGH"), ("password", b"p" * 12), ("password_again", b"p" * 12))),
    ("/patients/new", (("family_name", b"Fuzz"), ("given_name", b"F"), ("birth_date", b"1.2.1970"), ("number", b""), ("same_name", b"yes"))),
    ("/patients/{patient}/edit", (("family_name", b"Fuzz"), ("given_name", b"F"), ("birth_date", b"1.2.1970"), ("number", b""))),
    ("/patients/{other}/delete", (("confirmed", b"yes"), ("reason", b"no_record"))),
    ("/patients/{patient}/documents", (("kind", b"finding"), ("title", b"T"), ("file", b""))),
    ("/patients/{patient}/documents", (("kind", b"finding"), ("title", b""), ("file", b""), ("file", b""))),
    ("/patients/{patient}/shares", (("documents", b"{document}"), ("valid_days", b"14"))),
    ("/documents/{other}/delete", (("confirmed", b"yes"), ("reason", b"no_record"))),
    ("/shares/{share}/link-printed", ()),
    ("/shares/{other}/pin-printed", ()),
    ("/shares/{other}/revoke", (("confirmed", b"yes"),)),
    ("/staff/{other}/remove", (("confirmed", b"yes"),)),
    ("/devices/{other}/revoke", (("confirmed", b"yes"),)),
    ("/staff/invite", (("name", b""),)),
    ("/devices/new", (("label", b""),)),
    ("/password", (("old_password", b"wrong"), ("password", b"p" * 12), ("password_again", b"p" * 12))),
    ("/language/de", ()),
    ("/{v}", (("a", b"b"),)),
)  # fmt: skip
GATEWAY_GET = (
    "/",
    "/?{v}",
    "/%23{v}",
    "/page.js",
    "/style.css",
    "/service-worker.js",
    "/viewer.html",
    "/{v}",
    "/share/{v}",
    "/api/state",
)


class Generator:
    """Gives one attempt after another; the same seed and the same Known give the same ones."""

    def __init__(self, seed: int | str, known: Known) -> None:
        self._random = Random(seed)
        self.known = known

    def practice(self) -> Attempt:
        """Give a request to practice."""
        chance = self._random.random()
        if chance < 0.45:
            return self._damage(self._practice_get())
        if chance < 0.75:
            return self._damage(self._practice_post())
        return self._damage(self._intake())

    def gateway(self) -> Attempt:
        """Give a request to gateway."""
        pick, known, random = self._random.choice, self.known, self._random
        headers = [(b"Host", known.page_host)]
        chance = random.random()
        if chance < 0.4:
            return self._damage(Request("page", b"GET", self._target(pick(GATEWAY_GET)), headers))
        if chance < 0.7:
            name = pick([b"manifest", b"document"])
            file = pick([*known.sealed, b"0f" * 16, b"manifest", pick(VALUES)])
            locator = pick([known.locator, known.locator, b"0e" * 16, pick(VALUES)])
            headers += [(b"Praxis-Locator", clean(locator)), (b"Praxis-File", clean(file))]
            if random.random() < 0.5:
                headers.append((b"Range", pick(RANGES)))
            return self._damage(Request("share", b"GET", b"/share/" + name, headers))
        question: dict[str, object] = {"proof": pick([known.proof.decode(), "A" * 43, "x", 7, None])}
        path = pick([b"/api/state", b"/api/state", b"/api/open"])
        if path == b"/api/open":  # never a real proof with a wrong PIN: tries are for life
            question = {
                "proof": pick(["B" * 42 + "A", "A" * 43, 7]),
                "pin": pick(["000000", "x", 123456, None, "1" * 500]),
            }
        headers += [(b"Content-Type", b"application/json"), (b"Origin", b"https://" + known.page_host)]
        return self._damage(Request("api", b"POST", path, headers, json.dumps(question).encode()))

    def _practice_get(self) -> Request:
        headers = self._staff_headers()
        if self._random.random() < 0.2:
            headers.append((b"Range", self._random.choice(RANGES)))
        route = self._random.choice(PRACTICE_GET)
        return Request("GET " + route, b"GET", self._target(route), headers)

    def _practice_post(self) -> Request:
        random = self._random
        route, controls = random.choice(PRACTICE_POST)
        fields = [(name, self._fill(name, value)) for name, value in controls]
        headers = [*self._staff_headers(), (b"Sec-Fetch-Site", b"same-origin"), (b"Origin", b"null")]
        fields.insert(0, ("csrf", self.known.csrf if random.random() < 0.95 else random.choice(VALUES)))
        if "file" in dict(controls) or random.random() < 0.05:
            boundary = random.choice([b"XyZ", b"-" * 20 + b"7", b"b" * 70])
            headers.append((b"Content-Type", b"multipart/form-data; boundary=" + boundary))
            body = multipart(
                boundary,
                [
                    (n, (random.choice(NAMES), random.choice([PDF, b"text", b""])) if n == "file" else v)
                    for n, v in fields
                ],
            )
        else:
            headers.append((b"Content-Type", b"application/x-www-form-urlencoded"))
            body = b"&".join(name.encode() + b"=" + quote_from_bytes(value).encode() for name, value in fields)
        return Request("POST " + route, b"POST", self._target(route), headers, body, chunked=random.random() < 0.2)

    def _intake(self) -> Request:
        random, known = self._random, self.known
        name = quote_from_bytes(random.choice(NAMES)).encode()[: random.choice([200, 3500])]
        key = b"k%d" % random.randrange(10**9)
        headers = [
            (b"Host", known.practice_host), (b"Authorization", b"Bearer " + known.device), (b"Praxis-Kind", b"finding"),
            (b"Content-Type", random.choice([b"application/pdf", b"text/plain", b"image/png"])), (b"Praxis-Name", name),
            (b"Praxis-Patient-Family-Name", b"Mustermann"), (b"Praxis-Patient-Given-Name", b"Erika"),
            (b"Praxis-Patient-Birth-Date", b"1964-08-12"), (b"Idempotency-Key", key),
        ]  # fmt: skip
        if random.random() < 0.4:
            at = random.randrange(2, len(headers))
            headers[at] = (headers[at][0], clean(random.choice(VALUES))[:3000])
        target = b"/intake/v1/documents" + (
            b"/" + quote_from_bytes(random.choice(VALUES)[:200]).encode() if random.random() < 0.1 else b""
        )
        return Request(
            "PUT intake",
            b"PUT",
            target,
            headers,
            random.choice([PDF, PDF, b"text", b"", PDF * 3000]),
            chunked=random.random() < 0.3,
        )

    def _staff_headers(self) -> list[Header]:
        return [(b"Host", self.known.practice_host), (b"Cookie", b"__Host-session=" + self.known.session)]

    def _fill(self, name: str, value: bytes) -> bytes:
        if value == b"{document}":
            return self._random.choice([*self.known.documents, b"0d" * 16])
        if name in ("family_name", "given_name", "name", "label") and self._random.random() < 0.5:
            return b"Fuzz " + self._random.choice(VALUES)[:400]
        return self._random.choice(VALUES) if self._random.random() < 0.15 else value

    def _target(self, route: str) -> bytes:
        random, known = self._random, self.known
        target = route.encode()
        for word, values in (
            (b"{patient}", known.patients), (b"{document}", known.documents), (b"{share}", known.shares),
            (b"{other}", [random.randbytes(16).hex().encode()]), (b"{n}", [b"0", b"50", b"-1", b"9" * 30, b"x"]),
        ):  # fmt: skip
            target = target.replace(word, random.choice(values or [b"0a" * 16]))
        while b"{v}" in target:
            target = target.replace(
                b"{v}", quote_from_bytes(random.choice(VALUES)[: random.choice([60, 900])]).encode(), 1
            )
        return target

    def _damage(self, request: Request) -> Attempt:
        random = self._random
        damage = random.choices(
            ("none", "header", "method", "bytes", "truncated", "length", "chunks", "bomb", "oversize", "slow"),
            (40, 20, 6, 14, 5, 6, 4, 2, 2, 0.5),
        )[0]
        route = request.route
        if damage == "header":
            for _ in range(random.randint(1, 3)):
                header = random.choice(ODD_HEADERS)
                if random.random() < 0.5:
                    request.headers = [each for each in request.headers if each[0] != header[0]]
                request.headers.insert(random.randint(0, len(request.headers)), header)
        elif damage == "method":
            request.method = random.choice(METHODS)
        elif damage == "bomb":
            request.headers += random.choice(
                [[(b"X-%d" % n, b"y") for n in range(200)], [(b"X", b"y" * 20_000)], [(b"Cookie", b"a=b; " * 1500)]]
            )
        elif damage == "oversize":
            request.body = random.choice(
                [b"a=" + b"b" * 70_000, b"&".join(b"%d=" % n for n in range(400)), b"\0" * 300_000]
            )
        elif damage == "length":
            request.chunked = False
            size = len(request.body)
            request.length = random.choice(
                [
                    b"%d" % (size + 7),
                    b"%d" % max(0, size - 3),
                    b"-1",
                    b"1e3",
                    b"+5",
                    b"9" * 30,
                    b"3, 3",
                    b"\xb2",
                    b"0x10",
                ]
            )
        elif damage == "chunks":
            request.chunked = True
        raw = encode(request)
        if damage == "chunks":
            head, _, body = raw.partition(b"\r\n\r\n")
            raw = head + b"\r\n\r\n" + mutated(random, body)
        if damage == "bytes":
            raw = mutated(random, raw)
        if damage == "truncated":
            return Attempt(route, damage, (raw[: random.randrange(1, len(raw))],), whole=False)
        if damage == "slow" and len(raw) > 30:
            third = len(raw) // 3
            return Attempt(
                route, damage, (raw[:third], raw[third : 2 * third], raw[2 * third :]), whole=True, slow=True
            )
        return Attempt(
            route, damage, (raw,), whole=damage in ("none", "method") and request.method not in (b"CONNECT", b"get")
        )


def encode(request: Request) -> bytes:
    """Give the request's bytes."""
    lines = [
        b"%s %s HTTP/1.1" % (request.method, request.target),
        *(b"%s: %s" % header for header in request.headers),
    ]
    if request.chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif request.body or request.length or request.method in (b"POST", b"PUT"):
        lines.append(b"Content-Length: " + (request.length or b"%d" % len(request.body)))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (chunks(request.body) if request.chunked else request.body)


def chunks(body: bytes) -> bytes:
    """Give a body in chunks of 40 bytes, large ones of 4000."""
    size = 40 if len(body) < 2000 else 4000
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def multipart(boundary: bytes, fields: Body) -> bytes:
    """Give a form's body as browsers write it, a file's name unquoted as it is."""
    parts = b""
    for name, value in fields:
        file = b"" if isinstance(value, bytes) else b'; filename="' + value[0].replace(b'"', b"%22") + b'"'
        content = value if isinstance(value, bytes) else value[1]
        parts += b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
            boundary,
            name.encode(),
            file,
            content,
        )
    return parts + b"--%s--\r\n" % boundary


def clean(value: bytes) -> bytes:
    """Take out what would end a header's line."""
    return value.translate(None, b"\r\n\0")
