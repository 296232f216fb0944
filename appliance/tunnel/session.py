"""One control session: prove this box, then follow orders until either side ends it.

Rules it keeps: the proof is vault's, over the portal's nonce and the certificate this very connection was shown; no
order is followed before the portal accepted it; anything outside docs/formats/tunnel.md ends the session. The
captured tunnel process can divert ciphertext, no more: it holds no key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from appliance.contracts.vault import DeviceProof, ProveDevice
from appliance.core.errors import Invalid, PraxisError, Refused, Unavailable
from appliance.core.varlink import Peer, PeerGone, ask_patiently
from appliance.formats import tunnel_control as control
from appliance.formats.yamux import DataReceived, PeerGoesAway, Session, StreamFinished, StreamReset
from appliance.tunnel.dial import MAX_MESSAGE_BYTES, ControlSocket
from appliance.tunnel.settings import TunnelSettings

PROOF_TIMEOUT_S = 20.0


class Conversation:
    """yamux over the control connection, and the one stream on it that carries control frames."""

    def __init__(self, socket: ControlSocket) -> None:
        self._socket = socket
        self._session = Session("client", max_streams=1, max_unread_bytes=MAX_MESSAGE_BYTES)
        self._stream = self._session.open_stream()
        self._listener = control.Listener("portal")
        self._frames: deque[control.Frame] = deque()
        self._ended = False
        self._wake = asyncio.Event()
        self._wake.set()

    def say(self, frame: control.Frame) -> None:
        """Queue a frame. Raises Unavailable when the portal does not read."""
        self._session.send(self._stream, control.encode_frame(frame))
        self._wake.set()

    async def next_frame(self) -> control.Frame:
        """Give the next thing the portal says. Raises Unavailable("portal_lost") at the end."""
        while not self._frames:
            if self._ended:
                raise Unavailable("portal_lost")
            await self._read()
        return self._frames.popleft()

    async def write(self) -> None:
        """Send what is queued, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while data := self._session.bytes_to_send():
                await self._socket.send(data)

    async def _read(self) -> None:
        message = await self._socket.receive()
        if message is None:
            self._ended = True
            return
        for event in self._session.receive(message):
            match event:
                case DataReceived(stream, data):
                    self._frames.extend(self._listener.receive(data))
                    self._session.consumed(stream, len(data))
                case StreamFinished() | StreamReset() | PeerGoesAway():
                    self._ended = True
                case _:
                    pass
        self._wake.set()


async def run_session(
    socket: ControlSocket,
    vault: Peer,
    settings: TunnelSettings,
    *,
    accepted: Callable[[], None],
    order: Callable[[bytes], None],
) -> None:
    """Prove, call `accepted`, then `order(token)` for each order; ends only by raising.

    Raises Refused("portal_refused"), Invalid when the portal breaks the protocol, Unavailable when it is lost or
    silent, and what vault answers.
    """
    conversation = Conversation(socket)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(conversation.write())
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                await _prove(conversation, socket.certificate_sha256, vault, settings)
            accepted()
            health = control.Health(asyncio.get_running_loop().time())
            group.create_task(_ask_for_life(conversation, health))
            await _follow_orders(conversation, health, order)
    except BaseExceptionGroup as failures:  # except* would wrap what is raised here in a group again
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # before Python 3.13 a TaskGroup that fails loses a cancellation
            raise asyncio.CancelledError from failures
        raise _one_of(failures) from failures


async def _prove(
    conversation: Conversation, certificate_sha256: bytes, vault: Peer, settings: TunnelSettings
) -> None:
    asked = await conversation.next_frame()
    if not isinstance(asked, control.Nonce):
        raise Invalid("tunnel_turn")
    call = ProveDevice(nonce=asked.nonce, portal_certificate_sha256=certificate_sha256)
    proof = await ask_patiently(vault, call, patience_s=settings.peer_patience_s)
    conversation.say(_prove_frame(proof))
    if isinstance(await conversation.next_frame(), control.Refused):
        raise Refused("portal_refused")


def _prove_frame(proof: DeviceProof) -> control.Prove:
    """Turn vault's DER signature into the frame's r | s."""
    r, s = decode_dss_signature(proof.signature)
    return control.Prove(bytes.fromhex(proof.box), r.to_bytes(32, "big") + s.to_bytes(32, "big"))


async def _follow_orders(conversation: Conversation, health: control.Health, order: Callable[[bytes], None]) -> None:
    while True:
        match await conversation.next_frame():
            case control.Open(token):
                order(token)
            case control.Ping(value):
                conversation.say(control.Pong(value))
            case control.Pong() as pong:
                health.heard(pong)
            case _:
                raise Invalid("tunnel_turn")


async def _ask_for_life(conversation: Conversation, health: control.Health) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(health.next_at - loop.time())
        match health.due(loop.time()):
            case control.Ping() as ping:
                conversation.say(ping)
            case "dead":
                raise Unavailable("portal_silent")


def _one_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the failure that tells the caller most: a bug as it is, then a lost peer, then why the session ended."""
    leaves = list(_leaves(failures))
    if not all(isinstance(leaf, PraxisError | TimeoutError) for leaf in leaves):
        return failures
    for kind in (PeerGone, Refused, PraxisError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return Unavailable("portal_silent")


def _leaves(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure
