"""The portal's talk on a control connection: ask for proof, check it, log the box in, answer until it ends.

Rules it keeps: one nonce per connection, used once; an unknown box, a wrong signature, a signature over another
nonce, portal or certificate all get the same frame and the same work. A checkpoint frame is counted and not kept:
this portal is no witness.
"""

from __future__ import annotations

import asyncio
import secrets

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from appliance.core.errors import Invalid
from appliance.formats import tunnel_control as control
from provisioning.portal.boxes import Boxes
from provisioning.portal.connection import ControlConnection
from provisioning.portal.counts import Counts
from provisioning.portal.limits import Turns
from provisioning.portal.login import Login
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.registry import Registry
from provisioning.portal.settings import PortalSettings
from provisioning.portal.streams import StreamsLogin
from provisioning.portal.websocket import accept_upgrade

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


class Control:
    """Answers `GET /control` and `GET /control/streams`."""

    def __init__(
        self, settings: PortalSettings, registry: Registry, boxes: Boxes, own: OwnConnections, counts: Counts
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.boxes = boxes
        self.own = own
        self.counts = counts
        self.unproved = 0
        #: Set when the portal drains: boxes are sent elsewhere.
        self.draining = False
        self._turns = Turns(settings.max_logins_per_s)

    async def serve(
        self, request: web.Request, certificate_sha256: bytes, *, over_streams: bool = False
    ) -> web.StreamResponse:
        """Upgrade a request; `certificate_sha256` is that of the certificate it was shown."""
        if self.unproved >= self.settings.max_unproved or self.draining:
            self.counts.over_limit += 1
            return web.Response(status=503, headers={"Retry-After": "1" if self.draining else "5"})
        if wait_s := self._turns.wait_s(asyncio.get_running_loop().time()):
            self.counts.over_limit += 1
            return web.Response(status=429, headers={"Retry-After": str(wait_s)})
        try:
            upgraded = web.StreamResponse(status=101, headers=accept_upgrade(request.headers))
        except Invalid:
            return web.Response(status=400)
        await upgraded.prepare(request)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        conversation = _Conversation(self, transport, certificate_sha256)
        max_streams = self.settings.max_connections_per_box if over_streams else 0
        ControlConnection(transport, conversation, max_streams)
        request.protocol.transport = None  # it has another protocol now; aiohttp lets go of all it held for it
        request.protocol.connection_lost(None)
        return upgraded


class _Conversation:
    """The talk on one connection (connection.Conversation)."""

    __slots__ = ("_certificate_sha256", "_control", "_login", "_nonce", "_transport", "_unproved")

    def __init__(self, control_: Control, transport: asyncio.Transport, certificate_sha256: bytes) -> None:
        self._control = control_
        self._transport = transport
        self._certificate_sha256 = certificate_sha256
        self._nonce = b""
        self._login: Login | None = None
        self._unproved = True
        control_.unproved += 1

    def opened(self, connection: ControlConnection) -> None:
        """Ask for proof."""
        self._nonce = secrets.token_bytes(control.NONCE_BYTES)
        connection.say(control.Nonce(self._nonce))

    def heard(self, connection: ControlConnection, frame: control.Frame) -> None:
        """Take what a box says; Invalid for what it may not say."""
        match frame:
            case control.Prove():
                self._judge(connection, frame)
            case control.Ping(value):
                connection.say(control.Pong(value))
            case control.Pong() if self._login is not None:
                self._login.heard(frame)
            case control.Checkpoint() if self._login is not None:
                self._control.counts.checkpoints += 1
            case _:
                raise Invalid("tunnel_turn")

    def broken(self) -> None:
        """Count it."""
        self._control.counts.malformed += 1

    def lost(self, connection: ControlConnection) -> None:
        """Log the box out."""
        self._settled()
        self._control.own.keep(self._transport)
        if self._login is not None:
            self._control.boxes.logout(self._login)

    def _settled(self) -> None:
        if self._unproved:
            self._unproved = False
            self._control.unproved -= 1

    def _judge(self, connection: ControlConnection, prove: control.Prove) -> None:
        self._settled()
        service = self._control
        proof = control.proof_bytes(prove.box, service.settings.portal_name, self._nonce, self._certificate_sha256)
        if not proof_holds(service.registry.device_point(prove.box), proof, prove.signature):
            service.counts.proofs_refused += 1
            connection.say(control.Refused())
            connection.close()
            return
        service.counts.proofs_accepted += 1
        service.own.keep(self._transport)
        if service.draining:
            connection.close()
            return
        connection.say(control.Accepted())
        now = asyncio.get_running_loop().time()
        if connection.over_streams:
            limit = service.settings.max_connections_per_box
            self._login = StreamsLogin(prove.box, limit, connection, now)
            service.boxes.enter(self._login, now)
        else:
            self._login = service.boxes.login(prove.box, connection, now)
