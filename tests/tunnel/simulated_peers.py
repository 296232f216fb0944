"""vault and gateway as tunnel sees them: real local calls, a real key, TLS ended on the descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.contracts.gateway import TakeConnection
from appliance.contracts.vault import Box, Describe, DeviceProof, ProveDevice
from appliance.core.errors import Unavailable
from appliance.core.varlink import Answers, Caller, Done, Interface, Peer, serve
from appliance.formats.tunnel_control import proof_bytes
from tests.portal.simulated_box import PORTAL_NAME, SimulatedBox, read_proxy_header


@asynccontextmanager
async def answering(folder: Path, process: str, interface: Interface, answers: Answers) -> AsyncIterator[Peer]:
    """Answer some verbs of an interface on `<folder>/<process>.sock`, for this user as tunnel."""
    path = folder / f"{process}.sock"
    path.unlink(missing_ok=True)
    some = Interface(interface.name, {verb.__name__: verb for verb in answers}, "")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        serving = asyncio.ensure_future(serve(listener, [(some, answers)], {os.getuid(): "tunnel"}))
        try:
            yield Peer(interface, path)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            path.unlink(missing_ok=True)


class SimulatedVault:
    """Holds the key of one simulated box and says where its portal is."""

    def __init__(self, box: SimulatedBox, port: int, authority: Path) -> None:
        self.box = box
        self.port = port
        self.authority = authority.read_text()
        self.proofs = 0
        self.host = "127.0.0.1"

    def answers(self) -> Answers:
        return {Describe: self.answer_describe, ProveDevice: self.answer_prove_device}

    async def answer_describe(self, _: Describe, __: Caller) -> Box:
        return Box(
            box=self.box.box.hex(),
            page_host=self.box.host_name,
            page_port=443,
            lan_host="lan.localhost",
            lan_port=443,
            portal_address=f"{self.host}:{self.port}",
            portal_name=PORTAL_NAME,
            portal_ca=self.authority,
            provisioned=True,
            claimed=False,
            practice_name="",
            telephone="",
        )

    async def answer_prove_device(self, call: ProveDevice, _: Caller) -> DeviceProof:
        self.proofs += 1
        proof = proof_bytes(self.box.box, PORTAL_NAME, call.nonce, call.portal_certificate_sha256)
        signature = self.box.key.sign(proof, ec.ECDSA(hashes.SHA256()))
        return DeviceProof(box=self.box.box.hex(), signature=signature)


class SimulatedGateway:
    """Ends the patients' TLS on the descriptors it is given, says the host name, echoes; or is full.

    `sources` are the patients' addresses, as the PROXY header before their bytes names them.
    """

    def __init__(self, box: SimulatedBox) -> None:
        self.box = box
        self.taken = 0
        self.full = False
        self.sources: list[str] = []
        self._serving: set[asyncio.Task[None]] = set()

    def answers(self) -> Answers:
        return {TakeConnection: self.answer_take_connection}

    async def answer_take_connection(self, _: TakeConnection, __: Caller, descriptor: int) -> Done:
        sock = socket.socket(fileno=descriptor)
        if self.full:
            sock.close()
            raise Unavailable("full")
        self.taken += 1
        task = asyncio.ensure_future(self._serve(sock))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return Done()

    async def _serve(self, sock: socket.socket) -> None:
        with contextlib.closing(sock), contextlib.suppress(ConnectionError):
            source = await read_proxy_header(sock)
            self.sources.append(str(source[0]) if source else "")
            await self.box.tls_echo(sock)
