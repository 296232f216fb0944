"""A bench without a container: enrol's own routes over its own TLS on a loopback port, before a vault that is simulated.

`SimulatedVault` keeps what the contract says of Provision, IdentifyTpm, ProveTpm, FinishProvisioning and Describe, and can be told to fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.contracts.vault import (
    VAULT,
    Box,
    Describe,
    FinishProvisioning,
    IdentifyTpm,
    NewBox,
    ProveTpm,
    Provision,
    TpmEvidence,
    TpmIdentity,
)
from appliance.core.accept import accept_connections
from appliance.core.errors import PraxisError, Refused, Unavailable
from appliance.core.varlink import Caller, Done, Peer, serve
from appliance.enrol.bench_certificate import BenchContext, make_bench_context
from appliance.enrol.routes import LIMITS, Routes
from appliance.formats.attestation import Question, qualifying_data
from tests.simulators.attesting_tpm import AttestingTpm

BOX = "ab" * 16
ORDER = {
    "page_host": "praxis-{box}.localhost",
    "page_port": 8444,
    "lan_host": "praxis-{box}-lan.localhost",
    "lan_port": 8443,
    "portal_address": "127.0.0.1:8444",
    "portal_name": "praxis-portal.localhost",
    "portal_ca": "-----BEGIN CERTIFICATE-----",
    "serial": "PS-0001",
}


@dataclass
class SimulatedVault:
    """Makes keys once and a fresh claim code each time."""

    box: str = BOX
    tpm: AttestingTpm = field(default_factory=AttestingTpm)
    orders: list[Provision] = field(default_factory=list)
    finished: bool = False
    #: What it says its label is; the order's, if empty.
    serial: str = ""
    #: Raised by the next FinishProvisioning.
    failure: PraxisError | None = None
    #: FinishProvisioning is done only when this is set.
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()
        self._key: ec.EllipticCurvePrivateKey | None = None

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The device key; another one is in another TPM."""
        return self._key or self.tpm.device

    @key.setter
    def key(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.tpm = AttestingTpm(device=key) if isinstance(key.curve, ec.SECP256R1) else AttestingTpm()

    @property
    def claim_code(self) -> str:
        """The last one given."""
        return f"CODE-{len(self.orders)}"

    async def answer_provision(self, call: Provision, _: Caller) -> NewBox:
        if self.finished:
            raise Refused("provisioned")
        self.orders.append(call)
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return NewBox(box=self.box, device_key=der, claim_code=self.claim_code, serial=self.serial or call.serial)

    async def answer_identify_tpm(self, _: IdentifyTpm, __: Caller) -> TpmIdentity:
        return TpmIdentity(**msgspec.structs.asdict(self.tpm.identify()))

    async def answer_prove_tpm(self, call: ProveTpm, _: Caller) -> TpmEvidence:
        question = Question(credential=call.credential, encrypted_seed=call.encrypted_seed, nonce=call.nonce)
        box, portal_name = bytes.fromhex(self.box), self.orders[-1].portal_name
        return TpmEvidence(
            **msgspec.structs.asdict(self.tpm.prove(question, qualifying_data(box, portal_name, call.nonce)))
        )

    async def answer_finish(self, _: FinishProvisioning, __: Caller) -> Done:
        if self.failure:
            failure, self.failure = self.failure, None
            raise failure
        self.finished = True
        await self.may_answer.wait()
        return Done()

    async def answer_describe(self, _: Describe, __: Caller) -> Box:
        if not self.orders:
            raise Unavailable("unprovisioned")
        told = {name: value for name, value in ORDER.items() if name != "serial"}
        told |= {name: str(told[name]).replace("{box}", self.box[:8]) for name in ("page_host", "lan_host")}
        facts = {
            "box": self.box,
            "provisioned": self.finished,
            "claimed": False,
            "practice_name": "",
            "telephone": "",
        }
        return Box(**told, **facts)  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def serve(self, path: Path) -> AsyncIterator[Peer]:
        """Answer on a Unix socket at `path`; gives the peer."""

        async def answer_nothing(*_: object) -> Done:
            raise Refused("not_simulated")

        answers = dict.fromkeys(VAULT.verbs.values(), answer_nothing) | {
            Provision: self.answer_provision,
            FinishProvisioning: self.answer_finish,
            IdentifyTpm: self.answer_identify_tpm,
            ProveTpm: self.answer_prove_tpm,
            Describe: self.answer_describe,
        }
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            serving = asyncio.create_task(serve(listener, [(VAULT, answers)], {os.getuid(): "enrol"}))
            try:
                yield Peer(VAULT, path)
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)


@dataclass
class Bench:
    """An enrol that serves, and its vault."""

    port: int
    context: BenchContext
    routes: Routes
    vault: SimulatedVault

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Give status and JSON of one request, with the certificate pinned."""
        async with (
            aiohttp.ClientSession() as client,
            client.request(
                method,
                f"https://{self.address}{path}",
                ssl=aiohttp.Fingerprint(self.context.certificate_sha256),
                **more,
            ) as answer,
        ):
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Server"] == "praxissafe-enrol"
            return answer.status, await answer.json()


@contextlib.asynccontextmanager
async def running_bench(folder: Path) -> AsyncIterator[Bench]:
    vault = SimulatedVault()
    context = make_bench_context()
    async with vault.serve(folder / "vault.sock") as peer:
        routes = Routes(peer)
        runner = web.AppRunner(routes.application(), **LIMITS)
        await runner.setup()
        assert runner.server is not None
        with socket.create_server(("127.0.0.1", 0)) as lan:
            accepting = asyncio.create_task(
                accept_connections(lan, runner.server, lambda: context, max_connections=4)
            )
            try:
                yield Bench(lan.getsockname()[1], context, routes, vault)
            finally:
                accepting.cancel()
                await asyncio.gather(accepting, return_exceptions=True)
                await runner.cleanup()
                if routes.ended.done() and not routes.ended.cancelled():
                    routes.ended.exception()  # whoever expected a bug has looked already
