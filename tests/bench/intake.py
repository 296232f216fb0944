"""How fast documents enter: by PUT and by form, against the same web server that only writes and syncs the body.

One client, one document at a time, one TLS 1.3 connection that stays open on either side; the client is this process
and costs both sides the same. The box's part is four processes (practice, records, vault, audit), the baseline's one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from yarl import URL

from tests.bench.figures import Figure, Goal, interleaved
from tests.simulators.demo_box import ROOT, DemoBox
from tests.simulators.staff import Staff, staff_of

KIB, MIB = 1024, 1024 * 1024
GOAL = Goal(0.5)
BOUNDARY = "----bench-boundary"
TIMEOUT_S = 120


@dataclass(frozen=True)
class Size:
    """A document's size, how many enter in one measurement, and in how many rounds."""

    label: str
    size: int
    documents: int
    rounds: int


SIZES = (
    Size("64 KiB", 64 * KIB, 24, 9),
    Size("1 MiB", MIB, 16, 9),
    Size("16 MiB", 16 * MIB, 4, 7),
    Size("128 MiB", 128 * MIB, 1, 5),
)
SHORT = (Size("64 KiB", 64 * KIB, 2, 2), Size("1 MiB", MIB, 1, 2))


def connection(host: str, port: int, authority: Path, first: bytes = b"") -> http.client.HTTPSConnection:
    """Connect to 127.0.0.1 under a name, and say `first` before TLS begins; kept open for all requests."""
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    made = http.client.HTTPSConnection(host, port, context=context, timeout=TIMEOUT_S)

    def connect(_: object, timeout: float, source: object) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout)
        sock.sendall(first)
        return sock

    made._create_connection = connect
    return made


def exchange(
    client: http.client.HTTPSConnection, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes, str]:
    """Send one request and give status, body and where it leads."""
    client.request(method, path, body=body, headers=headers)
    answer = client.getresponse()
    return answer.status, answer.read(), answer.headers.get("Location", "")


@contextlib.contextmanager
def plain_server(folder: Path) -> Iterator[http.client.HTTPSConnection]:
    """Run the baseline with its files in `folder` and give a connection to it."""
    from tests.bench.plain_server import HOST

    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.bench.plain_server", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said = json.loads(process.stdout.readline())
        try:
            with contextlib.closing(connection(HOST, said["port"], Path(said["ca"]))) as client:
                yield client
        finally:
            process.stdin.close()


def document(size: int) -> bytes:
    """Random bytes behind a PDF's first ones: nothing on the way looks further."""
    return b"%PDF-1.7\n" + os.urandom(size - 9)


def form(fields: dict[str, str], content: bytes) -> bytes:
    """Write a form with one file as browsers do (RFC 7578)."""
    text = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="b.pdf"\r\nContent-Type: application/pdf\r\n\r\n'
    return (text + file).encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


FORM_HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def rate(size: Size, send: Callable[[], None]) -> float:
    """Send the size's documents one after the other and give MB/s."""
    began = time.perf_counter()
    for _ in range(size.documents):
        send()
    return size.size * size.documents / 1e6 / (time.perf_counter() - began)


class Senders:
    """The four ways: by PUT and by form, to the box and to the baseline. Each checks that the document was kept."""

    def __init__(self, box: http.client.HTTPSConnection, plain: http.client.HTTPSConnection) -> None:
        self._box, self._plain = box, plain
        self.put_headers: dict[str, str] = {}
        self.form_path = ""
        self.form_fields: dict[str, str] = {}
        self.form_headers: dict[str, str] = {}

    async def prepare(self, staff: Staff) -> None:
        """Have staff make a patient and a device token; take over their session for the form."""
        family, self.form_path = f"Bench{secrets.token_hex(4)}", ""
        patient = await staff.create_patient(family)
        page = await staff.open(patient)
        asked = page.form("file", "kind")
        self.form_path = urlsplit(asked.action).path
        self.form_fields = {**asked.fields, "kind": "finding", "title": ""}
        self.form_fields = dict(sorted(self.form_fields.items(), key=lambda item: asked.place(item[0])))
        origin = urlsplit(asked.action)
        cookies = staff.browser._session.cookie_jar.filter_cookies(URL(asked.action))
        self.form_headers = {
            **FORM_HEADERS,
            "Cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items()),
            "Origin": f"{origin.scheme}://{origin.netloc}",
            "Sec-Fetch-Site": "same-origin",
        }
        page = await staff.open("/devices")
        page = await staff.browser.send(page.form_to("/devices/new"), {"label": family})
        self.put_headers = {
            "Authorization": f"Bearer {page.by_id['device-token']}",
            "Content-Type": "application/pdf",
            "Praxis-Kind": "lab",
            "Praxis-Name": "b.pdf",
            "Praxis-Patient-Family-Name": family,
            "Praxis-Patient-Given-Name": "Erika",
            "Praxis-Patient-Birth-Date": "1964-08-12",
        }

    def put_to_box(self, content: bytes) -> None:
        headers = {**self.put_headers, "Idempotency-Key": secrets.token_hex(16)}
        status, answer, _ = exchange(self._box, "PUT", "/intake/v1/documents", content, headers)
        assert status == 201, (status, answer)

    def put_to_plain(self, content: bytes) -> None:
        assert exchange(self._plain, "PUT", "/body", content, {})[0] == 201

    def post_to_box(self, body: bytes) -> None:
        status, answer, place = exchange(self._box, "POST", self.form_path, body, self.form_headers)
        assert status == 303, (status, answer)
        assert "done=uploaded" in place, place

    def post_to_plain(self, body: bytes) -> None:
        assert exchange(self._plain, "POST", "/form", body, FORM_HEADERS)[0] == 201


@contextlib.asynccontextmanager
async def senders(box: DemoBox):
    """Everything that sends, ready; the baseline's files lie on the box's own disk."""
    port = urlsplit(box.practice_url).port
    host = str(urlsplit(box.practice_url).hostname)
    async with staff_of(box) as staff:
        with (
            contextlib.closing(connection(host, port, box.practice_ca)) as to_box,
            plain_server(box.state / "plain-server") as to_plain,
        ):
            made = Senders(to_box, to_plain)
            await made.prepare(staff)
            yield made


def measure_ways(ways: Senders, sizes: tuple[Size, ...]) -> list[Figure]:
    figures = []
    for size in sizes:
        content = document(size.size)
        sent = form(ways.form_fields, content)
        figures += [
            _figure("PUT", size, partial(ways.put_to_box, content), partial(ways.put_to_plain, content)),
            _figure("form", size, partial(ways.post_to_box, sent), partial(ways.post_to_plain, sent)),
        ]
    return figures


def _figure(way: str, size: Size, to_box: Callable[[], None], to_plain: Callable[[], None]) -> Figure:
    to_box(), to_plain()  # the first of a size warms caches and buffers
    rounds = interleaved(lambda: rate(size, to_box), lambda: rate(size, to_plain), size.rounds)
    return Figure(f"intake by {way}, {size.label}", "MB/s", rounds, GOAL)


async def measure(box: DemoBox, *, short: bool = False) -> list[Figure]:
    """Give a figure for each way and size."""
    async with senders(box) as ways:
        return measure_ways(ways, SHORT if short else SIZES)
