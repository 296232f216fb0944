"""The patient's side of a box in one process: gateway's own parts, a simulated vault, and a TCP listener as tunnel.

`python -m tests.simulators.patient_side FOLDER PORT` serves until it is ended and prints one JSON line first: for
looking at the page and for driving it by a browser. Shares are sealed by the formats that records uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import hashlib
import json
import os
import secrets
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from appliance.contracts.vault import VAULT, Describe, OpenShare, ShowShare
from appliance.core.varlink import Interface, Peer, serve
from appliance.formats.envelope import DocumentSealer
from appliance.formats.proxy_header import encode_proxy_header
from appliance.formats.share_link import derive, format_link, manifest_key
from appliance.formats.share_manifest import Manifest, ManifestDocument, format_key, seal_manifest
from appliance.gateway.connections import Connections
from appliance.gateway.page_certificate import PageCertificate
from appliance.gateway.page_files import read_page_files
from appliance.gateway.routes import Host, Routes
from appliance.gateway.spool import Spool
from tests.simulators.gateway_vault import SimulatedShare, SimulatedVault
from tests.simulators.sample_documents import Sample, sample_documents

HOST = "praxis-test.localhost"
PIN = "271828"
CARRIED_BYTES = 256 * 1024


@dataclass(frozen=True)
class MadeShare:
    """What the practice holds after making a share."""

    link: str
    pin: str
    secret: bytes
    locator: str
    proof: bytes
    documents: tuple[ManifestDocument, ...]
    folder: Path
    state: SimulatedShare


_KEY_USAGE_AUTHORITY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_KEY_USAGE_AUTHORITY, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, request: bytes, *, host: str | None = None, days: int = 1, revoked: str = "") -> bytes:
        """Sign gateway's request (DER) and give the chain."""
        asked = x509.load_der_x509_csr(request)
        name = host or asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value[0].value
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=3))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if revoked:
            where = [x509.UniformResourceIdentifier(revoked)]
            point = x509.DistributionPoint(where, relative_name=None, reasons=None, crl_issuer=None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        leaf = builder.sign(self._key, hashes.SHA256())
        return leaf.public_bytes(serialization.Encoding.PEM) + self.pem


class PatientSide:
    """Everything a patient can reach, and the practice's hand to make shares."""

    def __init__(self, folder: Path, vault: SimulatedVault, authority: Authority) -> None:
        self.folder = folder
        self.vault = vault
        self.authority = authority
        self.port = vault.port
        self.spool = folder / "spool"
        self.connections: Connections

    def make_share(self, samples: Iterable[Sample], *, valid_s: int = 14 * 86400, pin: str = PIN) -> MadeShare:
        box = bytes.fromhex(self.vault.box)
        secret, r = secrets.token_bytes(32), secrets.token_bytes(32)
        keys = derive(secret)
        folder = self.spool / keys.locator
        folder.mkdir()
        documents = tuple(self._seal(sample, box, folder) for sample in samples)
        expires_at = int(self.vault.now()) + valid_s
        sealed = seal_manifest(
            Manifest(version=1, documents=documents),
            manifest_key(keys.wrap_key, r),
            secrets.token_bytes(12),
            box,
            keys.locator,
            expires_at,
        )
        (folder / "manifest").write_bytes(sealed)
        folder.chmod(0o710)
        state = SimulatedShare(r, pin, expires_at)
        self.vault.add(keys.proof, state)
        link = format_link(f"{self.vault.host}:{self.port}", secret)
        return MadeShare(link, pin, secret, keys.locator, keys.proof, documents, folder, state)

    def _seal(self, sample: Sample, box: bytes, folder: Path) -> ManifestDocument:
        key, document, file = secrets.token_bytes(32), secrets.token_bytes(16), secrets.token_hex(16)
        salt, nonce_prefix = secrets.token_bytes(32), secrets.token_bytes(7)
        bound = bytes.fromhex(sample.box) or box
        sealer = DocumentSealer(key, bound, document, sample.name, sample.media_type, salt, nonce_prefix)
        digest, length = hashlib.sha256(), 0

        def keep(piece: bytes) -> None:
            nonlocal length
            digest.update(piece)
            length += target.write(piece)

        with (folder / file).open("wb") as target:
            keep(sealer.header())
            for piece in sample.pieces:
                keep(sealer.seal(piece))
            for piece in sealer.finish():
                keep(piece)
        return ManifestDocument(
            id=document.hex(),
            file=file,
            key=format_key(key),
            name=sample.name,
            title=sample.title,
            kind=sample.kind,
            media_type=sample.media_type,
            length=sealer.content_length,
            sealed_length=length,
            sha256=digest.hexdigest(),
            box=sample.box or None,
        )

    def break_connections(self) -> None:
        """Break every connection, as a network does."""
        for protocol in self.connections._server.connections:
            if protocol.transport is not None:
                protocol.transport.abort()

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        context.set_alpn_protocols(["http/1.1"])
        return context


def certified_page(host: str, state: Path, authority: Authority) -> PageCertificate:
    """Have a certificate for `host` in gateway's state folder, as certificate would have brought it."""
    now = datetime.datetime.now(datetime.UTC)
    page = PageCertificate(host, state, now)
    page.take(authority.sign(page.request()), now)
    return page


#: Read once a test run.
page_files = functools.cache(read_page_files)


@asynccontextmanager
async def run_patient_side(
    folder: Path,
    *,
    port: int = 0,
    max_connections: int = 64,
    max_connections_per_address: int = 64,
    idle_timeout_s: float = 30.0,
    handshake_timeout_s: float = 5.0,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[PatientSide]:
    """Run it on 127.0.0.1 in `folder`, which the caller removes."""
    with socket.socket() as listener, ThreadPoolExecutor(2) as executor:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        listener.setblocking(False)
        vault = SimulatedVault(secrets.token_hex(16), HOST, listener.getsockname()[1], now)
        side = PatientSide(folder, vault, Authority())
        for name in ("spool", "state"):
            (folder / name).mkdir(exist_ok=True)
        certificate = certified_page(HOST, folder / "state", side.authority)
        with socket.socket(socket.AF_UNIX) as local:
            (folder / "vault.sock").unlink(missing_ok=True)
            local.bind(str(folder / "vault.sock"))
            local.listen()
            interface = Interface(
                VAULT.name, {verb.__name__: verb for verb in (Describe, ShowShare, OpenShare)}, VAULT.description
            )
            routes = Routes(
                Host(HOST, side.port),
                page_files(),
                Spool(side.spool, executor),
                Peer(VAULT, folder / "vault.sock"),
                vault_timeout_s=10,
                stall_timeout_s=30,
            )
            side.connections = Connections(
                routes,
                certificate.context,
                max_connections=max_connections,
                max_connections_per_address=max_connections_per_address,
                idle_timeout_s=idle_timeout_s,
                handshake_timeout_s=handshake_timeout_s,
            )
            tasks = [
                asyncio.create_task(serve(local, [(interface, vault.answers())], {os.getuid(): "gateway"})),
                asyncio.create_task(_pass_connections(listener, side.connections)),
                asyncio.create_task(_fail_with(side.connections.bug)),
            ]
            try:
                yield side
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await side.connections.close()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _fail_with(failure: asyncio.Future[None]) -> None:
    await failure


async def _pass_connections(listener: socket.socket, connections: Connections) -> None:
    """What tunnel and the relay do: pass a stream that begins with the patient's address, and carry the bytes."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as carriers:
        while True:
            patient, address = await loop.sock_accept(listener)
            near, far = socket.socketpair()
            near.setblocking(False)
            near.send(encode_proxy_header(address[:2]))
            try:
                connections.take(far.detach())
            except Exception as error:  # the listener stands for tunnel, which only counts
                print(f"refused: {error}", file=sys.stderr)
                patient.close()
                near.close()
            else:
                carriers.create_task(_carry(patient, near))


async def _carry(patient: socket.socket, near: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    loop = asyncio.get_running_loop()

    async def copy(source: socket.socket, target: socket.socket) -> None:
        while data := await loop.sock_recv(source, CARRIED_BYTES):
            await loop.sock_sendall(target, data)
        raise ConnectionAbortedError

    with patient, near, contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as both:
            both.create_task(copy(patient, near))
            both.create_task(copy(near, patient))


def zeros_and_more(length: int) -> Iterable[bytes]:
    """Give `length` bytes that no two places share."""
    for offset in range(0, length, 1 << 20):
        block = hashlib.sha256(offset.to_bytes(8, "big")).digest() * (1 << 15)
        yield block[: min(1 << 20, length - offset)]


async def main(folder: Path, port: int) -> None:
    async with run_patient_side(folder, port=port) as side:
        share = side.make_share(sample_documents())
        large = (
            side.make_share(
                [Sample("aufnahme.pdf", "Große Aufnahme", "image", "application/pdf", zeros_and_more(512 << 20))]
            )
            if "--large" in sys.argv
            else None
        )
        (folder / "authority.pem").write_bytes(side.authority.pem)
        print(
            json.dumps(
                {
                    "link": share.link,
                    "pin": share.pin,
                    "large": large and large.link,
                    "authority": str(folder / "authority.pem"),
                    "locator": share.locator,
                }
            ),
            flush=True,
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
