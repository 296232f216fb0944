"""How fast a patient downloads: through portal and tunnel, against the same gateway reached directly.

Direct means: the client's own TCP connection, accepted here and passed to gateway as tunnel passes one. Everything else
is the same on both sides: client, TLS that ends in gateway, the share, the sealed bytes. Both stay connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from appliance.contracts.gateway import GATEWAY, TakeConnection
from appliance.core.varlink import Peer
from appliance.formats.proxy_header import encode_proxy_header
from tests.bench.figures import Figure, Goal, interleaved
from tests.bench.intake import MIB, Size, connection, document
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient
from tests.simulators.staff import staff_of

GOAL = Goal(0.7)
SIZES = (Size("1 MiB", MIB, 16, 9), Size("32 MiB", 32 * MIB, 2, 7))
SHORT = (Size("1 MiB", MIB, 1, 2),)
PIECE_BYTES = 1024 * 1024


def pass_on(client: socket.socket, box: DemoBox) -> None:
    """Pass a connected socket to gateway as tunnel's user does; tunnel itself is not asked."""
    child = os.fork()
    if not child:
        try:
            # The box's files, then the user: gateway takes connections from tunnel only (SO_PEERCRED). The numbers are the box's.
            os.chdir(f"/proc/{box.pid('tunnel')}/root/run/praxissafe")
            lines = Path(f"/proc/{box.pid('tunnel')}/status").read_text().splitlines()
            user = int(next(line for line in lines if line.startswith("Uid:")).split()[1])
            groups = [int(word) for line in lines if line.startswith("Groups:") for word in line.split()[1:]]
            os.setgroups(groups)
            os.setresuid(user, user, user)
            peer = Peer(GATEWAY, Path("gateway.sock"))
            asyncio.new_event_loop().run_until_complete(peer.ask(TakeConnection(), descriptor=client.fileno()))
            os._exit(0)
        except BaseException as error:
            print(f"the connection was not passed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "gateway did not take the connection"


@contextlib.contextmanager
def direct_door(box: DemoBox) -> Iterator[int]:
    """Listen on a port whose every connection goes to gateway at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):  # the listener is closed at the end
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        pass_on(client, box)

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def download(client: http.client.HTTPSConnection, headers: dict[str, str], buffer: memoryview) -> int:
    """Take a sealed document to its end and give its size."""
    client.request("GET", "/share/document", headers=headers)
    answer = client.getresponse()
    assert answer.status == 200, answer.status
    length = 0
    while count := answer.readinto(buffer):
        length += count
    return length


async def measure(box: DemoBox, *, short: bool = False) -> list[Figure]:
    """Give a figure for each size."""
    figures = []
    async with staff_of(box) as staff:
        with contextlib.ExitStack() as stack:
            port = stack.enter_context(direct_door(box))
            for size in SHORT if short else SIZES:
                patient = await staff.create_patient(f"Bezug{secrets.token_hex(4)}")
                await staff.upload(patient, document(size.size), name="b.pdf", media_type="application/pdf")
                link, pin = await staff.share(patient)
                async with Patient(link, box.portal_ca) as holder:
                    ((found, _),) = await holder.open_documents(pin)
                    headers = {"Praxis-Locator": holder.keys.locator, "Praxis-File": found.file}
                parts = urlsplit(link)
                host = str(parts.hostname)
                portal = stack.enter_context(contextlib.closing(connection(host, parts.port or 443, box.portal_ca)))
                first = encode_proxy_header(
                    ("127.0.0.1", 1)
                )  # as the portal says it; gateway wants to know who comes
                direct = stack.enter_context(contextlib.closing(connection(host, port, box.portal_ca, first)))
                figures.append(_figure(size, portal, direct, {**headers, "Host": parts.netloc}))
    return figures


def _figure(
    size: Size, portal: http.client.HTTPSConnection, direct: http.client.HTTPSConnection, headers: dict[str, str]
) -> Figure:
    buffer = memoryview(bytearray(PIECE_BYTES))

    def rate(client: http.client.HTTPSConnection) -> float:
        began = time.perf_counter()
        sealed = sum(download(client, headers, buffer) for _ in range(size.documents))
        return sealed / 1e6 / (time.perf_counter() - began)

    rate(portal), rate(direct)
    rounds = interleaved(lambda: rate(portal), lambda: rate(direct), size.rounds)
    return Figure(f"download through portal and tunnel, {size.label}", "MB/s", rounds, GOAL)
