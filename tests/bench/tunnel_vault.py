"""A stub of vault for the tunnel's bench: a box's description and its proof, by a key in software.

As tests/tunnel/simulated_peers.py, without what the bench's own environment does not have (a TPM's library).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from appliance.contracts.vault import Box, Describe, DeviceProof, ProveDevice
from appliance.core.varlink import Answers, Call, Caller, Interface, Peer, serve
from appliance.core.varlink.call import ReplyType
from appliance.formats.tunnel_control import proof_bytes


@dataclass(frozen=True)
class StubVault:
    """Says where the portal is and signs as the box, by a key in software."""

    box: str
    key: ec.EllipticCurvePrivateKey
    host_name: str
    portal_address: str
    portal_name: str
    portal_ca: str

    @classmethod
    def of(cls, settings: dict[str, Any]) -> StubVault:
        key = load_pem_private_key(settings["device_key"].encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        names = ("host_name", "portal_address", "portal_name", "portal_ca")
        return cls(settings["box"], key, *(settings[name] for name in names))

    async def ask(self, call: Call[ReplyType], *, descriptor: int | None = None, timeout_s: float = 0) -> ReplyType:
        """Answer in this process, for a crowd of boxes: as Peer.ask does."""
        return await self.answers()[type(call)](call, None)  # type: ignore[arg-type]

    def answers(self) -> Answers:
        return {Describe: self.answer_describe, ProveDevice: self.answer_prove_device}

    async def answer_describe(self, _: Describe, __: Caller) -> Box:
        return Box(
            box=self.box,
            page_host=self.host_name,
            page_port=443,
            lan_host="lan.localhost",
            lan_port=443,
            portal_address=self.portal_address,
            portal_name=self.portal_name,
            portal_ca=self.portal_ca,
            provisioned=True,
            claimed=False,
            practice_name="",
            telephone="",
        )

    async def answer_prove_device(self, call: ProveDevice, _: Caller) -> DeviceProof:
        proof = proof_bytes(bytes.fromhex(self.box), self.portal_name, call.nonce, call.portal_certificate_sha256)
        return DeviceProof(box=self.box, signature=self.key.sign(proof, ec.ECDSA(hashes.SHA256())))


@asynccontextmanager
async def answering(path: Path, interface: Interface, answers: Answers) -> AsyncIterator[Peer]:
    """Answer some verbs of an interface at `path`, for this user as tunnel."""
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
