"""The control conversation between box and portal: frames of one size, and who may say what when.

Purpose: on the first yamux stream of the control connection the portal asks a box to prove itself, then orders
work connections; both ask each other for life. Nothing else can be said. The byte offsets and the drawing of the
states are in docs/formats/tunnel.md.

Rules it keeps: every frame is FRAME_BYTES long, unused bytes are zero; a frame of another type, out of turn, or
with other bytes in the unused part raises Invalid, and whoever reads it ends the session. Nothing is negotiated.
It holds no clock and no key: `Health` gets `now`, the signature is made by vault and checked by the portal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from appliance.core.errors import Invalid

FRAME_BYTES = 128
BOX_BYTES = 16
NONCE_BYTES = 32
TOKEN_BYTES = 16
SIGNATURE_BYTES = 64  # ECDSA P-256 as r | s, 32 bytes each, big-endian
SHA256_BYTES = 32

#: Where the control connection is upgraded: patients come by work connections, or as streams beside the first one.
CONTROL_PATH = "/control"
STREAMS_PATH = "/control/streams"

WORK_PREFIX = b"PXW1"
PROBE_PREFIX = b"PXP1"
WORK_PREFACE_BYTES = len(WORK_PREFIX) + TOKEN_BYTES
TOKEN_LIFETIME_S = 10.0
PING_INTERVAL_S = 15.0
MISSED_PINGS = 2

PROOF_CONTEXT = b"praxissafe prove device 1\0"

#: "portal over streams" is a portal on STREAMS_PATH: it orders nothing.
Speaker = Literal["portal", "portal over streams", "box"]


class Kind(IntEnum):
    """Byte 0 of a frame."""

    NONCE = 1
    PROVE = 2
    ACCEPTED = 3
    REFUSED = 4
    OPEN = 5
    PING = 6
    PONG = 7
    CHECKPOINT = 8


@dataclass(frozen=True, slots=True)
class Nonce:
    """Portal: prove yourself over these 32 bytes."""

    nonce: bytes


@dataclass(frozen=True, slots=True)
class Prove:
    """Box: I am this box, and this is my signature over `proof_bytes`."""

    box: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """Portal: the proof holds; orders follow."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Portal: no. The same bytes for an unknown box, a wrong signature and a used nonce."""


@dataclass(frozen=True, slots=True)
class Open:
    """Portal: open one work connection with this token, within TOKEN_LIFETIME_S."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Either: are you there?"""

    value: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Either: I am, as of your ping with this value."""

    value: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Box: the head of the audit log, signed by the device."""

    tree_size: int
    made_at: int
    root: bytes
    signature: bytes


Frame = Nonce | Prove | Accepted | Refused | Open | Ping | Pong | Checkpoint


def encode_frame(frame: Frame) -> bytes:
    """Give the FRAME_BYTES bytes of a frame; Invalid when a field has the wrong length."""
    match frame:
        case Nonce(nonce):
            body = bytes([Kind.NONCE]) + _exactly(nonce, NONCE_BYTES)
        case Prove(box, signature):
            body = bytes([Kind.PROVE]) + _exactly(box, BOX_BYTES) + _exactly(signature, SIGNATURE_BYTES)
        case Accepted():
            body = bytes([Kind.ACCEPTED])
        case Refused():
            body = bytes([Kind.REFUSED])
        case Open(token):
            body = bytes([Kind.OPEN]) + _exactly(token, TOKEN_BYTES)
        case Ping(value):
            body = bytes([Kind.PING]) + _number(value)
        case Pong(value):
            body = bytes([Kind.PONG]) + _number(value)
        case Checkpoint(tree_size, made_at, root, signature):
            body = bytes([Kind.CHECKPOINT]) + _number(tree_size) + _number(made_at)
            body += _exactly(root, SHA256_BYTES) + _exactly(signature, SIGNATURE_BYTES)
    return body.ljust(FRAME_BYTES, b"\0")


def decode_frame(data: bytes) -> Frame:
    """Read one frame. Raises Invalid for another length, an unknown type or bytes in the unused part."""
    _exactly(data, FRAME_BYTES)
    number = data[1:9]
    frame: Frame
    match data[0]:
        case Kind.NONCE:
            frame = Nonce(data[1:33])
        case Kind.PROVE:
            frame = Prove(data[1:17], data[17:81])
        case Kind.ACCEPTED:
            frame = Accepted()
        case Kind.REFUSED:
            frame = Refused()
        case Kind.OPEN:
            frame = Open(data[1:17])
        case Kind.PING:
            frame = Ping(int.from_bytes(number, "big"))
        case Kind.PONG:
            frame = Pong(int.from_bytes(number, "big"))
        case Kind.CHECKPOINT:
            made_at = int.from_bytes(data[9:17], "big")
            frame = Checkpoint(int.from_bytes(number, "big"), made_at, data[17:49], data[49:113])
        case _:
            raise Invalid("tunnel_frame")
    if encode_frame(frame) != data:
        raise Invalid("tunnel_frame")
    return frame


def _exactly(value: bytes, length: int) -> bytes:
    if len(value) != length:
        raise Invalid("tunnel_frame")
    return value


def _number(value: int) -> bytes:
    if not 0 <= value < 1 << 64:
        raise Invalid("tunnel_frame")
    return value.to_bytes(8, "big")


class Listener:
    """Turns the bytes that one side says into frames, and refuses what it may not say now (TURNS)."""

    def __init__(self, speaker: Speaker) -> None:
        self._turns = TURNS[speaker]
        self._state = "start"
        self._received = bytearray()

    def receive(self, data: bytes) -> list[Frame]:
        """Take bytes of the control stream. Raises Invalid for a frame that is malformed or out of turn."""
        self._received += data
        frames: list[Frame] = []
        while len(self._received) >= FRAME_BYTES:
            frame = decode_frame(bytes(self._received[:FRAME_BYTES]))
            del self._received[:FRAME_BYTES]
            following = self._turns[self._state].get(type(frame))
            if following is None:
                raise Invalid("tunnel_turn")
            self._state = following
            frames.append(frame)
        return frames


class Health:
    """When to ask the other side for life, and when it counts as dead: MISSED_PINGS without an answer."""

    def __init__(self, now: float, interval_s: float = PING_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._next_at = now + interval_s
        self._value = 0
        self._unanswered = 0

    @property
    def next_at(self) -> float:
        """When `due` has something to say again."""
        return self._next_at

    def due(self, now: float) -> Ping | Literal["dead"] | None:
        """Give the ping to send now, "dead", or None before `next_at`."""
        if now < self._next_at:
            return None
        if self._unanswered >= MISSED_PINGS:
            return "dead"
        self._unanswered += 1
        self._value += 1
        self._next_at = now + self._interval_s
        return Ping(self._value)

    def heard(self, pong: Pong) -> None:
        """Take an answer. Raises Invalid for one to a ping never sent."""
        if not 0 < pong.value <= self._value:
            raise Invalid("tunnel_turn")
        self._unanswered = min(self._unanswered, self._value - pong.value)


def proof_bytes(box: bytes, portal_name: str, nonce: bytes, certificate_sha256: bytes) -> bytes:
    """Give what the device signs (ECDSA P-256, SHA-256): box, portal, nonce and the certificate it was shown.

    The certificate in it is what leaves a man in the middle, who shows another one, with a proof nobody takes.
    """
    return (
        PROOF_CONTEXT
        + _exactly(box, BOX_BYTES)
        + hashlib.sha256(portal_name.encode()).digest()
        + _exactly(nonce, NONCE_BYTES)
        + _exactly(certificate_sha256, SHA256_BYTES)
    )


@dataclass(frozen=True, slots=True)
class WorkPreface:
    """The first bytes of a work connection: the token, and whether it only asks if such connections get through.

    A probe is answered with a PROXY protocol header (LOCAL, formats/proxy_header.py) and closed; its token is spent.
    """

    token: bytes
    probe: bool = False


def encode_work_preface(token: bytes, *, probe: bool = False) -> bytes:
    """Give the first bytes of a work connection."""
    return (PROBE_PREFIX if probe else WORK_PREFIX) + _exactly(token, TOKEN_BYTES)


def decode_work_preface(data: bytes) -> WorkPreface | None:
    """Read a work connection's first bytes; None when more are needed. Invalid as soon as it cannot be one."""
    prefix, token = data[: len(WORK_PREFIX)], data[len(WORK_PREFIX) : WORK_PREFACE_BYTES]
    if not (WORK_PREFIX.startswith(prefix) or PROBE_PREFIX.startswith(prefix)):
        raise Invalid("work_preface")
    return WorkPreface(token, prefix == PROBE_PREFIX) if len(data) >= WORK_PREFACE_BYTES else None


#: Who may say what, by state: speaker -> state -> frame -> next state. Drawn in docs/formats/tunnel.md.
TURNS: dict[Speaker, dict[str, dict[type[Frame], str]]] = {
    "portal": {
        "start": {Nonce: "asked"},
        "asked": {Accepted: "accepted", Refused: "over"},
        "accepted": {Open: "accepted", Ping: "accepted", Pong: "accepted"},
        "over": {},
    },
    "portal over streams": {
        "start": {Nonce: "asked"},
        "asked": {Accepted: "accepted", Refused: "over"},
        "accepted": {Ping: "accepted", Pong: "accepted"},
        "over": {},
    },
    "box": {
        "start": {Prove: "proved"},
        "proved": {Ping: "proved", Pong: "proved", Checkpoint: "proved"},
    },
}
