"""The process as systemd runs it: its own interpreter, a passed socket, settings, a software TPM, callers by uid."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from msgspec.structs import asdict, replace

from appliance.contracts.process import PROCESS, ReadMetrics
from appliance.contracts.vault import (
    VAULT,
    Claim,
    Describe,
    FinishProvisioning,
    LogIn,
    MakeShare,
    OpenDatabase,
    OpenShare,
    ProveDevice,
    PublishShare,
    ReadPin,
    ShowShare,
)
from appliance.core.errors import Refused, Unavailable
from appliance.core.varlink import Peer
from appliance.core.varlink.message import Channel
from tests.simulators.audit_log import audit_simulator
from tests.simulators.release import booted
from tests.vault.bench import DOCUMENT, PASSWORD, PATIENT, PROVISION

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="asks as other users, which takes root")

ROOT = Path(__file__).parents[2]
USERS = {"records": 702, "audit": 703, "practice": 704, "gateway": 705, "tunnel": 706, "enrol": 713}
CALLERS = {0: "root", **{uid: process for process, uid in USERS.items()}}
#: Runs vault with a test's folder in place of the box's and the box's user numbers; nothing else of it is changed.
LAUNCHER = f"""
import functools, os, sys
from pathlib import Path
os.dup2(int(sys.argv[2]), 3)  # where systemd puts the first passed socket: sd_listen_fds(3)
os.environ["LISTEN_PID"] = str(os.getpid())
import appliance.vault.__main__ as program
folder = Path(sys.argv[1])
program.read_settings = functools.partial(program.read_settings, folder=folder)
program.Peer.of = functools.partial(program.Peer.of, folder=folder)
program.serve = functools.partial(program.serve, callers={CALLERS})
program.run(program.main)
"""


class PeerAs(Peer):
    """Asks as another process of the box: the kernel takes the uid at connect(2)."""

    def __init__(self, path: Path, process: str) -> None:
        super().__init__(VAULT, path)
        self._uid = USERS[process]

    async def _dial(self) -> Channel:
        os.seteuid(self._uid)
        try:
            return await super()._dial()
        finally:
            os.seteuid(0)


class Launched:
    """A folder to run vault in, and who asks it."""

    def __init__(self, folder: Path, tcti: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir()
        self.path = folder / "vault.sock"
        self.records, self.practice, self.gateway, self.tunnel, self.enrol = (
            PeerAs(self.path, process) for process in ("records", "practice", "gateway", "tunnel", "enrol")
        )
        self.settings = booted(folder / "boot", tcti).settings(tcti, self.state)
        self.write_settings(self.settings)

    def write_settings(self, settings):
        lines = [f'{name} = "{value}"' for name, value in asdict(settings).items()]
        (self.folder / "vault.toml").write_text("\n".join(lines) + "\n")

    @contextlib.contextmanager
    def run(self):
        with socket.socket(socket.AF_UNIX) as listener:
            self.path.unlink(missing_ok=True)
            listener.bind(str(self.path))
            listener.listen()
            self.path.chmod(0o666)
            running = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(self.folder), str(listener.fileno())],
                cwd=ROOT,
                env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "local"},
                pass_fds=[listener.fileno()],
                stderr=subprocess.DEVNULL,
            )
            try:
                yield running
            finally:
                running.kill()
                running.wait(10)


@pytest.fixture
def launched(tcti):
    with tempfile.TemporaryDirectory(prefix="praxis-vault-") as folder:
        Path(folder).chmod(0o755)
        yield Launched(Path(folder), tcti)


async def published_share(launched, proof):
    """Provision, claim, make and publish a share; give the box, the share and its PIN."""
    made = await launched.enrol.ask(PROVISION)
    await launched.enrol.ask(FinishProvisioning())
    claim = Claim(code=made.claim_code, name="Ada", password=PASSWORD, practice_name="Praxis", telephone="040 1")
    session = (await launched.practice.ask(claim)).session
    make = MakeShare(
        session=session,
        proof_verifier=hashlib.sha256(proof).digest(),
        patient=PATIENT,
        documents=[DOCUMENT],
        valid_s=3600,
    )
    share = await launched.records.ask(make)
    await launched.records.ask(PublishShare(session=session, share=share.share))
    pin = (await launched.practice.ask(ReadPin(session=session, share=share.share))).pin
    return made, share, pin


async def test_whole_life_of_a_share_over_sockets_survives_a_kill(launched):
    proof = secrets.token_bytes(32)
    async with audit_simulator(launched.folder) as audit:
        with launched.run():
            with pytest.raises(Unavailable, match="unprovisioned"):
                await launched.gateway.ask(Describe())
            made, share, pin = await published_share(launched, proof)
            wrong = f"{(int(pin) + 1) % 10**6:06}"
            calls = [launched.gateway.ask(OpenShare(proof=proof, pin=wrong)) for _ in range(3)]
            assert sorted(view.tries_left for view in await asyncio.gather(*calls)) == [2, 3, 4]
        with launched.run():
            assert (await launched.gateway.ask(ShowShare(proof=proof))).tries_left == 2
            view = await launched.gateway.ask(OpenShare(proof=proof, pin=pin))
            assert (view.r, view.tries_left, view.box) == (share.r, 2, made.box)
            await launched.practice.ask(LogIn(name="Ada", password=PASSWORD))
            await launched.tunnel.ask(ProveDevice(nonce=bytes(32), portal_certificate_sha256=bytes(32)))
        assert {process for process, _ in audit.appended} == {"vault"}
        assert audit.actions[-2:] == ["share_opened", "staff_logged_in"]


@pytest.mark.parametrize("offered", ["right", "wrong"])
async def test_a_vault_killed_between_try_and_answer_gives_no_try_back(launched, offered):
    """It dies when the entry about the comparison reaches audit: after the comparison, before the answer."""
    proof = secrets.token_bytes(32)
    async with audit_simulator(launched.folder) as audit:
        with launched.run() as running:
            made, share, pin = await published_share(launched, proof)

            def kill(_):
                running.kill()
                running.wait(10)

            audit.before_answer = kill
            with pytest.raises(Unavailable, match="peer_lost"):
                wrong = f"{(int(pin) + 1) % 10**6:06}"
                await launched.gateway.ask(OpenShare(proof=proof, pin=pin if offered == "right" else wrong))
            audit.before_answer = lambda _: None
        assert audit.actions[-1] == {"right": "share_opened", "wrong": "share_pin_wrong"}[offered]
        with launched.run():
            assert (await launched.gateway.ask(ShowShare(proof=proof))).tries_left == 4


async def test_each_process_asks_its_own_verbs_only(launched):
    with launched.run():
        for peer, call in (
            (launched.gateway, OpenDatabase()),
            (launched.gateway, PROVISION),
            (launched.tunnel, ShowShare(proof=bytes(32))),
            (launched.practice, OpenDatabase()),
            (launched.practice, OpenShare(proof=bytes(32), pin="000000")),
            (launched.records, LogIn(name="Ada", password=PASSWORD)),
            (launched.enrol, ProveDevice(nonce=bytes(32), portal_certificate_sha256=bytes(32))),
        ):
            with pytest.raises(Refused, match="caller"):
                await peer.ask(call)
        assert not list(launched.state.iterdir())


async def test_sigterm_ends_it_and_metrics_are_answered(launched):
    with launched.run() as running:
        text = (await Peer(PROCESS, launched.path).ask(ReadMetrics())).text
        assert "praxis_vault_share_openings_total" in text
        running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait, 10) == 0


async def test_without_a_tpm_it_ends(launched):
    launched.write_settings(replace(launched.settings, tcti="swtpm:path=/nowhere"))
    with launched.run() as running:
        assert await asyncio.to_thread(running.wait, 20) == 1
