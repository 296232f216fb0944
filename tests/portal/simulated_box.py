"""A box made by hand, that can also do what no real one does: prove with another key, replay, keep silent.

It speaks to a real portal over real TLS, by the formats alone. `SimulatedBox.serve` answers patients by a function of
the connected socket, so a test decides what stands at the end of a work connection.
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
from pathlib import Path
from typing import Any

import aiohttp
import nacl.signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from appliance.formats import tunnel_control as control
from appliance.formats.attestation import qualifying_data
from appliance.formats.device_record import DeviceRecord, make_record, sign_record
from appliance.formats.endorsement import read_endorsement
from appliance.formats.registration import Application, Asked, Proof
from appliance.formats.yamux import DataReceived, Session, StreamFinished, StreamReset
from provisioning.portal.portal import Portal, open_portal
from provisioning.portal.settings import PortalSettings
from tests.simulators.attesting_tpm import MAKER, AttestingTpm

PORTAL_NAME = "praxis-portal.localhost"
STATION = nacl.signing.SigningKey(b"s" * 32)
STATION_KEY = base64.urlsafe_b64encode(bytes(STATION.verify_key)).rstrip(b"=").decode()

Answer = Callable[[socket.socket], Awaitable[None]]


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


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Give r | s."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class ControlClient:
    """The box's end of one control connection, frame by frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, address: tuple[str, int]) -> None:
        self._socket = socket
        self.address = address
        tls = socket.get_extra_info("ssl_object")
        self.certificate_sha256 = hashlib.sha256(tls.getpeercert(binary_form=True)).digest()
        self._session = Session("client", max_streams=1)
        self._stream = self._session.open_stream()
        self._received = bytearray()

    async def say(self, *frames: control.Frame) -> None:
        for frame in frames:
            self._session.send(self._stream, control.encode_frame(frame))
        await self.flush()

    async def flush(self) -> None:
        while data := self._session.bytes_to_send():
            await self._socket.send_bytes(data)

    async def hear(self) -> control.Frame | None:
        """Give the next frame, None when the portal has hung up."""
        while len(self._received) < control.FRAME_BYTES:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                return None
            for event in self._session.receive(message.data):
                match event:
                    case DataReceived(stream, data):
                        self._received += data
                        self._session.consumed(stream, len(data))
                    case StreamFinished() | StreamReset():
                        return None
        frame = control.decode_frame(bytes(self._received[: control.FRAME_BYTES]))
        del self._received[: control.FRAME_BYTES]
        return frame


@asynccontextmanager
async def control_client(port: int, authority: Path) -> AsyncIterator[ControlClient]:
    """Dial the portal's control connection, its authority pinned."""
    context = ssl.create_default_context(cafile=str(authority))
    address = ("127.0.0.1", port)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"https://127.0.0.1:{port}/control", ssl=context, server_hostname=PORTAL_NAME) as upgraded,
    ):
        client = ControlClient(upgraded, address)
        await client.flush()
        yield client


class SimulatedBox:
    """One box: its id, key, host name and the authority of its page certificate."""

    def __init__(self, folder: Path) -> None:
        self.box = secrets.token_bytes(16)
        self.tpm = AttestingTpm()
        self.key = self.tpm.device
        self.host_name = f"praxis-{self.box.hex()[:8]}.localhost"
        self.certificate_path = folder / f"{self.box.hex()}.pem"
        self.orders = 0
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
    async def serve(self, portal: Portal, answer: Answer | None = None) -> AsyncIterator[None]:
        """Log in and follow orders until the block ends; waits until the spares stand."""
        async with control_client(portal.port, portal.authority_path) as client:
            assert await self.log_in(client) == control.Accepted()
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow(client, group, answer or self.tls_echo))
                login = portal.boxes.get(self.box)
                assert login is not None
                while login.spare_count < 4:
                    await asyncio.sleep(0)
                try:
                    yield
                finally:
                    following.cancel()
                    for task in self._tasks:
                        task.cancel()

    async def _follow(self, client: ControlClient, group: asyncio.TaskGroup, answer: Answer) -> None:
        while (frame := await client.hear()) is not None:
            match frame:
                case control.Open(token):
                    self.orders += 1
                    self._tasks.add(group.create_task(self._work(client.address, token, answer)))
                case control.Ping(value):
                    await client.say(control.Pong(value))

    async def _work(self, address: tuple[str, int], token: bytes, answer: Answer) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.closing(await dial_with(address, control.encode_work_preface(token))) as sock:
            ready = asyncio.Event()
            loop.add_reader(sock, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(sock)
            try:
                first = sock.recv(1, socket.MSG_PEEK)
            except OSError:
                return
            if first:
                await answer(sock)


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
