"""The portal's end of a control connection: ask for proof, check it, log the box in, listen until it ends.

Rules it keeps: one nonce per connection, used once; an unknown box, a wrong signature, a signature over another
nonce, portal or certificate all get the same frame and the same work; a box that says anything else than
docs/formats/tunnel.md allows is hung up on. A checkpoint frame is counted and not kept: this portal is no witness.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable

from aiohttp import WSMsgType, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from appliance.core.errors import Invalid, PraxisError
from appliance.formats import tunnel_control as control
from appliance.formats.yamux import DataReceived, PeerGoesAway, Session, StreamFinished, StreamOpened, StreamReset
from provisioning.portal.boxes import Boxes, Login
from provisioning.portal.counts import Counts
from provisioning.portal.known_boxes import Register
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.settings import PortalSettings

MAX_MESSAGE_BYTES = 64 * 1024
#: A point on P-256 (the generator, SEC 2 2.4.2) to check against when the box is unknown: same work, same answer.
NOBODY = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)


def proof_holds(point: bytes | None, proof: bytes, signature: bytes) -> bool:
    """Check an ECDSA P-256 SHA-256 signature (r | s) by the key `point`; False for a key that is not there."""
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point or NOBODY)
    try:
        key.verify(encode_dss_signature(r, s), proof, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return point is not None


class ControlConnection:
    """yamux over one WebSocket, and the one stream on it that carries control frames."""

    def __init__(self, socket: web.WebSocketResponse, hang_up: Callable[[], None]) -> None:
        self.hang_up = hang_up
        self._socket = socket
        self._session = Session("server", max_streams=1, max_unread_bytes=MAX_MESSAGE_BYTES)
        self._listener = control.Listener("box")
        self._frames: deque[control.Frame] = deque()
        self._stream = 0
        self._ended = False
        self._wake = asyncio.Event()

    def say(self, frame: control.Frame) -> None:
        """Queue a frame; a box that does not read its orders is hung up on."""
        try:
            self._session.send(self._stream, control.encode_frame(frame))
        except PraxisError:  # Unavailable over the cap; NotFound, Refused when the box ended the stream
            self.hang_up()
        self._wake.set()

    async def opened(self) -> None:
        """Wait until the box has opened the control stream, or is gone."""
        while not self._stream and not self._ended:
            await self._read()

    async def next_frame(self) -> control.Frame | None:
        """Give the next thing the box says; None when it ended the stream or the connection."""
        while not self._frames and not self._ended:
            await self._read()
        return self._frames.popleft() if self._frames else None

    async def write(self) -> None:
        """Send what is queued, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Send what is queued now."""
        while data := self._session.bytes_to_send():
            await self._socket.send_bytes(data)

    async def _read(self) -> None:
        message = await self._socket.receive()
        if message.type is not WSMsgType.BINARY:
            self._ended = True
            return
        for event in self._session.receive(message.data):
            match event:
                case StreamOpened(stream):
                    self._stream = stream
                case DataReceived(stream, data):
                    self._frames.extend(self._listener.receive(data))
                    self._session.consumed(stream, len(data))
                case StreamFinished() | StreamReset() | PeerGoesAway():
                    self._ended = True
                case _:
                    pass
        self._wake.set()


class Control:
    """Answers `GET /control`."""

    def __init__(
        self, settings: PortalSettings, registry: Register, boxes: Boxes, own: OwnConnections, counts: Counts
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._boxes = boxes
        self._own = own
        self._counts = counts
        self._unproved = 0

    async def serve(self, request: web.Request, certificate_sha256: bytes) -> web.StreamResponse:
        """Run one control connection; `certificate_sha256` is that of the certificate it was shown."""
        if self._unproved >= self._settings.max_unproved:
            self._counts.over_limit += 1
            return web.Response(status=503, headers={"Retry-After": "5"})

        def hang_up() -> None:
            transport = request.transport  # None once the connection is lost
            if transport is not None and not transport.is_closing():
                transport.abort()

        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False, timeout=1.0)
        await socket.prepare(request)
        connection = ControlConnection(socket, hang_up)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(connection.write())
                await self._converse(connection, request, certificate_sha256)
                writer.cancel()
            await connection.flush()
        except* (Invalid, ConnectionError, TimeoutError) as failures:
            self._count(failures)
        await socket.close()
        return socket

    def _count(self, failures: BaseExceptionGroup[BaseException]) -> None:
        if failures.subgroup(Invalid):
            self._counts.malformed += 1
        elif failures.subgroup(ConnectionError):
            self._counts.broken_connections += 1
        else:
            self._counts.timeouts += 1

    async def _converse(self, connection: ControlConnection, request: web.Request, certificate_sha256: bytes) -> None:
        login = await self._prove(connection, certificate_sha256)
        if login is None:
            return
        self._own.keep(request.transport)
        try:
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(self._ask_for_life(connection, login))
                await self._listen(connection, login)
                asking.cancel()
        finally:
            self._boxes.logout(login)

    async def _prove(self, connection: ControlConnection, certificate_sha256: bytes) -> Login | None:
        """Ask for proof within the handshake time; log the box in, or say Refused."""
        self._unproved += 1
        try:
            async with asyncio.timeout(self._settings.handshake_timeout_s):
                await connection.opened()
                nonce = secrets.token_bytes(control.NONCE_BYTES)
                connection.say(control.Nonce(nonce))
                frame = await connection.next_frame()
        finally:
            self._unproved -= 1
        if not isinstance(frame, control.Prove):  # it left; anything else said is Invalid already
            return None
        return self._judge(connection, frame, nonce, certificate_sha256)

    def _judge(
        self, connection: ControlConnection, prove: control.Prove, nonce: bytes, certificate_sha256: bytes
    ) -> Login | None:
        proof = control.proof_bytes(prove.box, self._settings.portal_name, nonce, certificate_sha256)
        if not proof_holds(self._registry.device_point(prove.box), proof, prove.signature):
            self._counts.proofs_refused += 1
            connection.say(control.Refused())
            return None
        self._counts.proofs_accepted += 1
        connection.say(control.Accepted())
        now = asyncio.get_running_loop().time()
        return self._boxes.login(prove.box, connection.say, connection.hang_up, now)

    async def _listen(self, connection: ControlConnection, login: Login) -> None:
        """Listen to a logged-in box until it ends."""
        login.tidy(asyncio.get_running_loop().time())
        while (frame := await connection.next_frame()) is not None:
            match frame:
                case control.Ping(value):
                    connection.say(control.Pong(value))
                case control.Pong():
                    login.health.heard(frame)
                case control.Checkpoint():
                    self._counts.checkpoints += 1
                case _:
                    raise Invalid("tunnel_turn")

    async def _ask_for_life(self, connection: ControlConnection, login: Login) -> None:
        """Ping a logged-in box; hang up on one that is silent (tunnel_control.Health)."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(login.health.next_at - loop.time())
            match login.health.due(loop.time()):
                case control.Ping() as ping:
                    connection.say(ping)
                case "dead":
                    connection.hang_up()
                    return
