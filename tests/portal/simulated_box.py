"""A box made by hand, that can also do what no real one does: prove with another key, replay, keep silent.

It speaks to a real portal over real TLS, by the formats alone. `SimulatedBox.serve` answers patients by a function of
the connected socket, so a test decides what stands at the end of a work connection, a wrapped one or a stream.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hashlib
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import nacl.signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from appliance.core.errors import PraxisError
from appliance.formats import tunnel_control as control
from appliance.formats.attestation import qualifying_data
from appliance.formats.device_record import DeviceRecord, make_record, sign_record
from appliance.formats.endorsement import read_endorsement
from appliance.formats.proxy_header import FIXED_BYTES, Address, decode_proxy_header
from appliance.formats.registration import Application, Asked, Proof
from appliance.formats.yamux import DataReceived, Event, Session, StreamFinished, StreamOpened, StreamReset, Writable
from provisioning.portal.pool import PooledLogin
from provisioning.portal.portal import Portal, open_portal
from provisioning.portal.settings import PortalSettings
from tests.simulators.attesting_tpm import MAKER, AttestingTpm

PORTAL_NAME = "praxis-portal.localhost"
STATION = nacl.signing.SigningKey(b"s" * 32)
STATION_KEY = base64.urlsafe_b64encode(bytes(STATION.verify_key)).rstrip(b"=").decode()

Answer = Callable[[socket.socket], Awaitable[None]]
Mode = Literal["raw", "wrapped", "streams"]


@asynccontextmanager
async def portal_in(folder: Path, **settings: object) -> AsyncIterator[Portal]:
    """Run a portal on a free port with its state in `folder`; a failure nobody foresaw fails the test."""
    bugs: list[BaseException] = []

    def take_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failure = context.get("exception")
        if isinstance(failure, Exception) and not isinstance(failure, OSError):
            bugs.append(failure)

    asyncio.get_running_loop().set_exception_handler(take_failure)
    (folder / "makers.pem").write_bytes(MAKER.pem)
    defaults = {
        "listen_port": 0,
        "station_keys": (STATION_KEY,),
        "handshake_timeout_s": 5.0,
        "tpm_makers": str(folder / "makers.pem"),
    }
    chosen = PortalSettings(
        portal_name=PORTAL_NAME,
        state_folder=str(folder / "portal"),
        **(defaults | settings),  # type: ignore[arg-type]
    )
    try:
        async with open_portal(chosen) as portal:
            yield portal
    finally:
        if bugs:
            raise bugs[0]


@dataclass(frozen=True)
class RunningPortal:
    """A portal that runs as a process of its own: what a box needs to know of it."""

    port: int
    authority_path: Path


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Give r | s."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class ControlClient:
    """The box's end of one control connection, frame by frame; what is said on other streams goes to `on_stream`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, address: tuple[str, int], *, streams: bool) -> None:
        self._socket = socket
        self.address = address
        tls = socket.get_extra_info("ssl_object")
        self.certificate_sha256 = hashlib.sha256(tls.getpeercert(binary_form=True)).digest() if tls else b""
        self.session = Session("client", max_streams=257 if streams else 1)
        self.on_stream: Callable[[Event], None] = lambda _: None
        self._stream = self.session.open_stream()
        self._received = bytearray()

    async def say(self, *frames: control.Frame) -> None:
        for frame in frames:
            self.session.send(self._stream, control.encode_frame(frame))
        await self.flush()

    async def say_bytes(self, data: bytes) -> None:
        """Say these bytes as one WebSocket message, whatever they are."""
        await self._socket.send_bytes(data)

    async def flush(self) -> None:
        while data := self.session.bytes_to_send(47 * 1024):
            await self._socket.send_bytes(data)

    async def hear(self) -> control.Frame | None:
        """Give the next frame, None when the portal has hung up."""
        while len(self._received) < control.FRAME_BYTES:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                return None
            for event in self.session.receive(message.data):
                match event:
                    case DataReceived(stream, data) if stream == self._stream:
                        self._received += data
                        self.session.consumed(stream, len(data))
                    case StreamFinished(stream) | StreamReset(stream) if stream == self._stream:
                        return None
                    case _:
                        self.on_stream(event)
            await self.flush()
        frame = control.decode_frame(bytes(self._received[: control.FRAME_BYTES]))
        del self._received[: control.FRAME_BYTES]
        return frame


@asynccontextmanager
async def control_client(
    port: int, authority: Path, path: str = control.CONTROL_PATH, name: str = PORTAL_NAME
) -> AsyncIterator[ControlClient]:
    """Dial the portal's control connection, its authority pinned."""
    context = ssl.create_default_context(cafile=str(authority))
    address = ("127.0.0.1", port)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"https://127.0.0.1:{port}{path}", ssl=context, server_hostname=name) as upgraded,
    ):
        client = ControlClient(upgraded, address, streams=path == control.STREAMS_PATH)
        await client.flush()
        yield client


class StreamPatients:
    """The box's end of patients' streams: each is one end of a socket pair, as the tunnel hands it to gateway."""

    def __init__(self, client: ControlClient, group: asyncio.TaskGroup, answer: Answer) -> None:
        self._client = client
        self._group = group
        self._answer = answer
        self._inbound: dict[int, asyncio.Queue[bytes]] = {}
        self._room: dict[int, asyncio.Event] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        client.on_stream = self.take

    def take(self, event: Event) -> None:
        match event:
            case StreamOpened(stream):
                self._inbound[stream] = asyncio.Queue()
                self._room[stream] = asyncio.Event()
                self.tasks.add(self._group.create_task(self._carry(stream)))
            case DataReceived(stream, data):
                self._inbound[stream].put_nowait(data)
            case StreamFinished(stream):
                self._inbound[stream].put_nowait(b"")
            case StreamReset(stream):
                self._inbound[stream].put_nowait(b"")
                self._room[stream].set()
            case Writable(stream) if stream in self._room:
                self._room[stream].set()

    async def _carry(self, stream: int) -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)

        async def inward() -> None:
            with contextlib.suppress(OSError):
                while data := await self._inbound[stream].get():
                    await loop.sock_sendall(near, data)
                    self._client.session.consumed(stream, len(data))
                    await self._client.flush()
                near.shutdown(socket.SHUT_WR)

        async def outward() -> None:
            while True:
                room = self._client.session.room(stream)
                if not room:
                    self._room[stream].clear()
                    await self._room[stream].wait()
                    if not self._client.session.room(stream):  # the portal reset it
                        near.shutdown(socket.SHUT_RDWR)
                        return
                    continue
                try:
                    data = await loop.sock_recv(near, min(room, 65536))
                except ConnectionError:  # the answer left bytes unread
                    data = b""
                with contextlib.suppress(PraxisError):  # the portal reset it meanwhile
                    if data:
                        self._client.session.send(stream, data)
                    else:
                        self._client.session.finish(stream)
                await self._client.flush()
                if not data:
                    return

        with contextlib.closing(near), contextlib.closing(far):
            async with asyncio.TaskGroup() as group:
                group.create_task(inward())
                group.create_task(outward())
                with contextlib.closing(far):
                    await self._answer(far)


class SimulatedBox:
    """One box: its id, key, host name and the authority of its page certificate."""

    def __init__(self, folder: Path) -> None:
        self.box = secrets.token_bytes(16)
        self.tpm = AttestingTpm()
        self.key = self.tpm.device
        self.host_name = f"praxis-{self.box.hex()[:8]}.localhost"
        self.certificate_path = folder / f"{self.box.hex()}.pem"
        self.orders = 0
        #: Who the portal said each patient was.
        self.sources: list[tuple[Address, int] | None] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._page_context: ssl.SSLContext | None = None

    @property
    def public_key_info(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def endorsement(self) -> bytes:
        return read_endorsement(self.tpm.certificate).fingerprint

    def application(self, **changes: object) -> Application:
        return Application(record=self.record(**changes), identity=self.tpm.identify())

    def answer(self, asked: Asked) -> Proof:
        qualifying = qualifying_data(self.box, PORTAL_NAME, asked.question.nonce)
        return Proof(challenge=asked.challenge, evidence=self.tpm.prove(asked.question, qualifying))

    def record(self, **changes: object) -> DeviceRecord:
        fields: dict[str, object] = {
            "box": self.box,
            "device_key": self.public_key_info,
            "endorsement": self.endorsement,
            "host_name": self.host_name,
            "portal_name": PORTAL_NAME,
            "issued_at": 1_800_000_000,
        }
        return sign_record(make_record(**(fields | changes)), STATION)  # type: ignore[arg-type]

    def prove(self, nonce: bytes, certificate_sha256: bytes) -> control.Prove:
        proof = control.proof_bytes(self.box, PORTAL_NAME, nonce, certificate_sha256)
        return control.Prove(self.box, sign(self.key, proof))

    async def log_in(self, client: ControlClient) -> control.Frame | None:
        """Prove, and give the portal's answer."""
        asked = await client.hear()
        assert isinstance(asked, control.Nonce)
        await client.say(self.prove(asked.nonce, client.certificate_sha256))
        return await client.hear()

    def page_context(self) -> ssl.SSLContext:
        """Give the TLS context of this box's page; its self-signed certificate lies at `certificate_path`."""
        if self._page_context is None:
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.host_name)])
            now = datetime.datetime.now(datetime.UTC)
            certificate = (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.SubjectAlternativeName([x509.DNSName(self.host_name)]), critical=False)
                .sign(key, hashes.SHA256())
            )
            self.certificate_path.write_bytes(certificate.public_bytes(Encoding.PEM))
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            key_path = self.certificate_path.with_suffix(".key")
            key_path.write_bytes(pem)
            self._page_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._page_context.load_cert_chain(self.certificate_path, key_path)
        return self._page_context

    async def tls_echo(self, sock: socket.socket) -> None:
        """Answer one patient: end the TLS here, say the host name, then every byte back."""
        done = asyncio.Event()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(self.host_name.encode() + b"\n")
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            writer.close()
            done.set()

        def make_protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(), echo)

        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(make_protocol, sock.dup(), ssl=self.page_context())
        except OSError:
            return
        await done.wait()

    @asynccontextmanager
    async def serve(
        self, portal: Portal | RunningPortal, answer: Answer | None = None, mode: Mode = "raw"
    ) -> AsyncIterator[None]:
        """Log in and follow orders until the block ends; waits until the spares stand."""
        path = control.STREAMS_PATH if mode == "streams" else control.CONTROL_PATH
        async with control_client(portal.port, portal.authority_path, path) as client:
            assert await self.log_in(client) == control.Accepted()
            async with asyncio.TaskGroup() as group:
                greeted = self._greeted(answer or self.tls_echo)
                patients = StreamPatients(client, group, greeted)
                following = group.create_task(self._follow(client, group, greeted, portal, mode))
                login = portal.boxes.get(self.box) if isinstance(portal, Portal) else None
                while isinstance(login, PooledLogin) and login.spare_count < 4:
                    await asyncio.sleep(0)
                try:
                    yield
                finally:
                    following.cancel()
                    for task in self._tasks | patients.tasks:
                        task.cancel()

    async def _follow(
        self,
        client: ControlClient,
        group: asyncio.TaskGroup,
        answer: Answer,
        portal: Portal | RunningPortal,
        mode: Mode,
    ) -> None:
        while (frame := await client.hear()) is not None:
            match frame:
                case control.Open(token) if mode == "wrapped":
                    self.orders += 1
                    self._tasks.add(group.create_task(self._wrapped_work(portal, token, answer)))
                case control.Open(token):
                    self.orders += 1
                    self._tasks.add(group.create_task(self._work(client.address, token, answer)))
                case control.Ping(value):
                    await client.say(control.Pong(value))

    def _greeted(self, answer: Answer) -> Answer:
        """Read the portal's header first, as gateway does."""

        async def greet(sock: socket.socket) -> None:
            try:
                self.sources.append(await read_proxy_header(sock))
            except ConnectionError:  # a spare that was never used
                return
            await answer(sock)

        return greet

    async def _work(self, address: tuple[str, int], token: bytes, answer: Answer) -> None:
        try:
            sock = await dial_with(address, control.encode_work_preface(token))
        except ConnectionError:  # a portal that has ended meanwhile
            return
        with contextlib.closing(sock):
            await answer(sock)

    async def _wrapped_work(self, portal: Portal | RunningPortal, token: bytes, answer: Answer) -> None:
        """The same inside the portal's TLS; what stands at its end sees one end of a socket pair."""
        reader, writer = await dial_wrapped(portal, control.encode_work_preface(token))
        near, far = socket.socketpair()
        for each in (near, far):
            each.setblocking(False)
        with contextlib.closing(near), contextlib.closing(far), contextlib.closing(writer):
            async with asyncio.TaskGroup() as group:
                group.create_task(pour(reader, near))
                returning = group.create_task(drain(near, writer))
                with contextlib.closing(far):
                    await answer(far)
                await returning
                writer.close()


async def dial_wrapped(
    portal: Portal | RunningPortal, first_bytes: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Give a TLS connection to the portal's own name that has said `first_bytes`."""
    context = ssl.create_default_context(cafile=str(portal.authority_path))
    reader, writer = await asyncio.open_connection("127.0.0.1", portal.port, ssl=context, server_hostname=PORTAL_NAME)
    writer.write(first_bytes)
    return reader, writer


async def pour(reader: asyncio.StreamReader, sock: socket.socket) -> None:
    """Bring every byte of a stream to a socket."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            await loop.sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)


async def drain(sock: socket.socket, writer: asyncio.StreamWriter) -> None:
    """Bring every byte of a socket to a stream."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(sock, 65536):
            writer.write(data)
            await writer.drain()


async def read_proxy_header(sock: socket.socket) -> tuple[Address, int] | None:
    """Take the header off a connection and give the source it names. Raises ConnectionError at its end."""
    loop = asyncio.get_running_loop()
    received = b""
    while (header := decode_proxy_header(received)) is None:
        wanted = FIXED_BYTES if len(received) < FIXED_BYTES else FIXED_BYTES + int.from_bytes(received[14:16], "big")
        data = await loop.sock_recv(sock, wanted - len(received))
        if not data:
            raise ConnectionError
        received += data
    return header.source


async def dial_with(address: tuple[str, int], first_bytes: bytes) -> socket.socket:
    """Give a non-blocking socket that has said `first_bytes`."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, address)
    await loop.sock_sendall(sock, first_bytes)
    return sock


async def read_to_end(sock: socket.socket) -> bytes:
    """Give everything until the other side ends; a reset counts as an end."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := await loop.sock_recv(sock, 1 << 20):
            received += data
    return bytes(received)


def client_hello(server_name: str | None) -> bytes:
    """Give the ClientHello that OpenSSL would send for this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name).do_handshake()
    return outgoing.read()


async def patient_tls(
    port: int, box: SimulatedBox, server_name: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as a patient's browser does, trusting this box's certificate only."""
    box.page_context()
    context = ssl.create_default_context(cafile=str(box.certificate_path))
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name or box.host_name)
