"""The page's key is replaced on a running box, as staff ask for it: the real processes, in their sandbox."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509

from appliance.demo.processes import inside
from tests.simulators.demo_box import DemoBox

#: Asks certificate as practice's user does, and waits until all of it is done.
PROGRAM = """
import asyncio, json, sys
sys.path.insert(0, "/usr/lib/praxissafe")
import msgspec
from appliance.contracts.certificate import CERTIFICATE, ReadState, ReplaceKey
from appliance.core.varlink import Peer

async def main():
    certificate = Peer.of(CERTIFICATE, "certificate")
    await certificate.ask(ReplaceKey())
    async with asyncio.timeout(60):
        while True:
            state = await certificate.ask(ReadState())
            if state.last_problem or not (state.replacing or state.revoking or state.step != "none"):
                print(msgspec.json.encode(state).decode())
                return
            await asyncio.sleep(0.1)

asyncio.run(main())
"""
AS_PRACTICE = ("setpriv", "--reuid=704", "--regid=704", "--groups=720", "--")
PYTHON = ("/usr/lib/praxissafe/.venv/bin/python", "-EsB", "-c", PROGRAM)


def replace_key(box: DemoBox) -> dict[str, Any]:
    said = subprocess.run(
        [*inside(box.state), *AS_PRACTICE, *PYTHON], check=True, capture_output=True, text=True, timeout=90
    )
    return dict(json.loads(said.stdout))


def connect(box: DemoBox) -> ssl.SSLSocket:
    host, port = box.portal_address.split(":")
    context = ssl.create_default_context(cafile=str(box.portal_ca))
    return context.wrap_socket(socket.create_connection((host, int(port)), 20), server_hostname=box.said["page_host"])


def shown(connection: ssl.SSLSocket) -> x509.Certificate:
    return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def asks_for_the_page(box: DemoBox, connection: ssl.SSLSocket) -> bytes:
    host = f"{box.said['page_host']}:{box.portal_address.split(':')[1]}"
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return connection.recv(15)


def test_a_new_key_is_served_and_the_old_connection_goes_on(box: DemoBox) -> None:
    with connect(box) as before:
        assert asks_for_the_page(box, before) == b"HTTP/1.1 200 OK"
        state = replace_key(box)
        assert (state["state"], state["last_problem"]) == ("valid", "")
        assert state["account"].startswith("https://127.0.0.1:")
        with connect(box) as after:
            assert shown(after).public_key() != shown(before).public_key()
            assert asks_for_the_page(box, after) == b"HTTP/1.1 200 OK"
    assert {path.name for path in Path(box.state / "box/gateway").iterdir()} == {"page.pem", "replaced.pem"}
    assert Path(box.state / "box/gateway/replaced.pem").read_bytes() == b""
