"""The part of a box that meets the portal: tunnel and gateway as processes of their own, a vault in this one.

The processes are the product's (outer_process.py); vault stands in this process with the box's key, the shares and a
record of what it was asked. Documents are sealed as records seals them. The page's certificate is signed by an
authority of the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.contracts.process import PROCESS, ReadMetrics
from appliance.contracts.tunnel import TUNNEL, ReadState, TunnelState
from appliance.contracts.vault import (
    VAULT,
    Box,
    Describe,
    DeviceProof,
    Opening,
    OpenShare,
    PatientView,
    ProveDevice,
    ShowShare,
    WatchOpening,
)
from appliance.core.errors import Unavailable
from appliance.core.varlink import Answers, Caller, Interface, Peer, serve
from appliance.formats.tunnel_control import proof_bytes
from tests.attacks.process_memory import descriptors
from tests.portal.simulated_box import PORTAL_NAME, SimulatedBox
from tests.simulators.gateway_vault import SimulatedVault
from tests.simulators.outer_process import socket_path
from tests.simulators.patient import Patient
from tests.simulators.patient_side import Authority, MadeShare, PatientSide, certified_page
from tests.simulators.sample_documents import Sample

START_S = 30.0
WATCH_S = 20.0
#: As in praxis-gateway.service: what is freed is overwritten.
GATEWAY_ENVIRONMENT = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=90:glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=65536",
}
#: Reconnects at once, so that an attack that ends a session does not have to wait for the next.
QUICK: dict[str, object] = {"backoff_first_s": 0.01, "backoff_cap_s": 0.02}


@dataclass
class BoxVault(SimulatedVault):
    """Also proves the device, and counts."""

    identity: SimulatedBox | None = None
    portal_address: str = ""
    portal_ca: str = ""
    #: (nonce, certificate) of every proof that was asked for.
    proofs: list[tuple[bytes, bytes]] = field(default_factory=list)
    shown: int = 0
    opened: int = 0

    async def answer_describe(self, call: Describe, caller: Caller) -> Box:
        return msgspec.structs.replace(
            await super().answer_describe(call, caller),
            portal_address=self.portal_address,
            portal_name=PORTAL_NAME,
            portal_ca=self.portal_ca,
        )

    async def answer_prove_device(self, call: ProveDevice, _: Caller) -> DeviceProof:
        assert self.identity is not None
        self.proofs.append((call.nonce, call.portal_certificate_sha256))
        proof = proof_bytes(self.identity.box, PORTAL_NAME, call.nonce, call.portal_certificate_sha256)
        signature = self.identity.key.sign(proof, ec.ECDSA(hashes.SHA256()))
        return DeviceProof(box=self.identity.box.hex(), signature=signature)

    async def answer_watch_opening(self, call: WatchOpening, _: Caller) -> Opening:
        if call.state == "open":
            await asyncio.sleep(WATCH_S)
        return Opening(state="open", why="")

    async def answer_show_share(self, call: ShowShare, caller: Caller) -> PatientView:
        self.shown += 1
        return await super().answer_show_share(call, caller)

    async def answer_open_share(self, call: OpenShare, caller: Caller) -> PatientView:
        self.opened += 1
        return await super().answer_open_share(call, caller)

    def answers(self) -> Answers:
        return {
            **super().answers(),
            ProveDevice: self.answer_prove_device,
            WatchOpening: self.answer_watch_opening,
        }


class OuterBox:
    """One running box; `processes` by name."""

    def __init__(
        self, folder: Path, identity: SimulatedBox, vault: BoxVault, authority: Authority, namespace: str = ""
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.vault = vault
        self.authority = authority
        self.authority_path = folder / "authority.pem"
        self.authority_path.write_bytes(authority.pem)
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        #: tunnel has no other network than this namespace's; gateway needs none.
        self._inside = ["ip", "netns", "exec", namespace] if namespace else []
        self._side = PatientSide(folder, vault, authority)
        self._tunnel = Peer(TUNNEL, socket_path(folder, "tunnel"))

    @property
    def host_name(self) -> str:
        return self.identity.host_name

    def share(self, *samples: Sample) -> MadeShare:
        """Make a share; its link leads to the portal's port."""
        return self._side.make_share(samples)

    def patient(self, share: MadeShare, port: int = 0, at: str = "127.0.0.1") -> Patient:
        """A patient's browser without a browser; `port`: the portal's, if it is another than the link's."""
        return Patient(share.link, self.authority_path, port=port, at=at)

    async def state(self) -> TunnelState:
        return await self._tunnel.ask(ReadState())

    async def until(self, state: str, spares: int = 0, mode: str = "") -> None:
        """Wait for the tunnel's state, and for the mode it is in if one is named."""
        async with asyncio.timeout(START_S):
            while True:
                self.assert_alive()
                with contextlib.suppress(Unavailable):
                    now = await self.state()
                    if now.state == state and now.spares >= spares and mode in ("", now.mode):
                        return
                await asyncio.sleep(0.02)

    async def metrics(self) -> str:
        """What tunnel counts, in the Prometheus text format."""
        return (await Peer(PROCESS, socket_path(self.folder, "tunnel")).ask(ReadMetrics())).text

    def said(self, process: str) -> str:
        """What a process wrote to the journal or to standard error."""
        return (self.folder / f"{process}.log").read_text()

    def assert_alive(self) -> None:
        """Fail if a process has ended or has met a bug."""
        for name, process in self.processes.items():
            assert process.returncode is None, f"{name} ended: {self.said(name)[-2000:]}"

    def descriptor_count(self, process: str) -> int:
        return len(descriptors(self.processes[process].pid))

    def memory_kib(self, process: str) -> int:
        return resident_kib(self.processes[process].pid)

    async def start(self, process: str) -> None:
        """Start one of the two processes; its socket is there when this returns."""
        path = socket_path(self.folder, process)
        path.unlink(missing_ok=True)
        environment = {**os.environ, **(GATEWAY_ENVIRONMENT if process == "gateway" else {})}
        with (self.folder / f"{process}.log").open("ab") as log:
            self.processes[process] = await asyncio.create_subprocess_exec(
                *(self._inside if process == "tunnel" else []),
                *(sys.executable, "-m", "tests.simulators.outer_process", process, str(self.folder)),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(START_S):
            while not path.exists():
                self.assert_alive()
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.terminate()
        for process in self.processes.values():
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def resident_kib(pid: int) -> int:
    """Give the memory of a process that is in RAM (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def write_settings(folder: Path, process: str, values: Mapping[str, object]) -> None:
    lines = [
        f'{name} = "{value}"\n' if isinstance(value, str) else f"{name} = {value}\n" for name, value in values.items()
    ]
    (folder / "etc" / f"{process}.toml").write_text("".join(lines))


@asynccontextmanager
async def outer_box(
    folder: Path,
    portal_port: int,
    portal_authority: Path,
    *,
    identity: SimulatedBox | None = None,
    tunnel: Mapping[str, object] = QUICK,
    gateway: Mapping[str, object] | None = None,
    authority: Authority | None = None,
    page_port: int = 0,
    portal_host: str = "127.0.0.1",
    namespace: str = "",
) -> AsyncIterator[OuterBox]:
    """Run a box whose portal is at `portal_port` of `portal_host`, in `folder`; patients come to `page_port`, if that is another."""
    for name in (
        "run/root",
        "run/tunnel",
        "run/gateway",
        "etc",
        "tunnel",
        "spool",
        "state",
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
    identity = identity or SimulatedBox(folder)
    authority = authority or Authority()
    vault = BoxVault(
        identity.box.hex(),
        identity.host_name,
        page_port or portal_port,
        time.time,
        identity=identity,
        portal_address=f"{portal_host}:{portal_port}",
        portal_ca=portal_authority.read_text(),
    )
    write_settings(folder, "tunnel", {"state": str(folder / "tunnel"), **tunnel})
    places = {
        "spool": str(folder / "spool"),
        "state": str(folder / "state"),
    }
    write_settings(folder, "gateway", {**places, **(gateway or {})})
    certified_page(identity.host_name, folder / "state", authority)
    box = OuterBox(folder, identity, vault, authority, namespace)
    async with _answering(vault, "tunnel", folder), _answering(vault, "gateway", folder):
        try:
            await box.start("gateway")
            await box.start("tunnel")
            yield box
            box.assert_alive()
        finally:
            await box.end()


@asynccontextmanager
async def _answering(vault: BoxVault, caller: str, folder: Path) -> AsyncIterator[None]:
    """Answer the verbs that this caller may ask."""
    path = folder / "run" / caller / "vault.sock"
    path.unlink(missing_ok=True)
    answers = vault.answers()
    some = Interface(VAULT.name, {verb.__name__: verb for verb in answers}, VAULT.description)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        serving = asyncio.ensure_future(serve(listener, [(some, answers)], {os.getuid(): caller}))
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.wait([serving])
