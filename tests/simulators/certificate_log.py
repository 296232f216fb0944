"""A certificate log and a monitor as they stand in others' houses: RFC 6962 over real TLS, with a real tree and key.

The tree is computed as RFC 6962 2.1 defines it, recursively, apart from the box's way of growing it by its edge.
What a log may do wrong is a switch here: see `Misbehaviour`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hashlib
import ipaddress
import json
import ssl
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def spki_of(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_digest(key: Key) -> str:
    return hashlib.sha256(spki_of(key)).hexdigest()


def make_certificate(
    names: Sequence[str],
    key: Key | None = None,
    *,
    not_before: int | None = None,
    issuer: str = "Test Authority",
    common_name: str = "",
) -> x509.Certificate:
    """Make a certificate of an authority that exists for this one."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    begin = datetime.datetime.fromtimestamp(int(time.time()) if not_before is None else not_before, datetime.UTC)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=7))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def x509_leaf(content: bytes) -> bytes:
    """MerkleTreeLeaf of a certificate (RFC 6962 3.4)."""
    return struct.pack(">BBQH", 0, 0, 1_700_000_000_000, 0) + len(content).to_bytes(3, "big") + content + b"\0\0"


def precert_leaf(certificate: x509.Certificate) -> bytes:
    """MerkleTreeLeaf of a precertificate: the hash of its issuer's key, then its inner part."""
    tbs = certificate.tbs_certificate_bytes
    head = struct.pack(">BBQH", 0, 0, 1_700_000_000_000, 1) + b"\x11" * 32
    return head + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """MTH (RFC 6962 2.1)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = _half(len(leaves))
    return hashlib.sha256(b"\1" + tree_root(leaves[:half]) + tree_root(leaves[half:])).digest()


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH (RFC 6962 2.1.1)."""
    if len(leaves) == 1:
        return []
    half = _half(len(leaves))
    if index < half:
        return [*inclusion_proof(index, leaves[:half]), tree_root(leaves[half:])]
    return [*inclusion_proof(index - half, leaves[half:]), tree_root(leaves[:half])]


def consistency_proof(size: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF and SUBPROOF (RFC 6962 2.1.2)."""
    if size == len(leaves):
        return [] if whole else [tree_root(leaves)]
    half = _half(len(leaves))
    if size <= half:
        return [*consistency_proof(size, leaves[:half], whole=whole), tree_root(leaves[half:])]
    return [*consistency_proof(size - half, leaves[half:], whole=False), tree_root(leaves[:half])]


def _half(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


@dataclass
class Misbehaviour:
    """What the log does wrong."""

    #: Entries answered instead of those in the tree, by index; None: left out, what follows moves up.
    instead: dict[int, bytes | None] = field(default_factory=dict)
    sign_with: Key | None = None
    head_age_s: float = 0
    #: Blanks before a right answer, by the last part of its path.
    huge: dict[str, int] = field(default_factory=dict)
    #: Answers a byte a second.
    slow: bool = False
    status: int = 200
    body: bytes | None = None
    empty: bool = False


@dataclass
class CertificateLog:
    """The log: `leaves` is its tree; a fork is a change in it, going back a shorter one."""

    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    leaves: list[bytes] = field(default_factory=list)
    wrong: Misbehaviour = field(default_factory=Misbehaviour)
    at_most: int = 64
    #: Answers every hash with the proof of the last entry.
    proof_for_any: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""
    authority: str = ""

    @property
    def spki(self) -> str:
        return base64.b64encode(spki_of(self.key)).decode()

    def add(self, *leaves: bytes) -> None:
        self.leaves.extend(leaves)

    def head(self) -> dict[str, object]:
        root = tree_root(self.leaves)
        timestamp = int((time.time() - self.wrong.head_age_s) * 1000)
        signed = struct.pack(">BBQQ", 0, 1, timestamp, len(self.leaves)) + root
        key = self.wrong.sign_with or self.key
        if isinstance(key, rsa.RSAPrivateKey):
            algorithms, signature = b"\x04\x01", key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            algorithms, signature = b"\x04\x03", key.sign(signed, ec.ECDSA(hashes.SHA256()))
        return {
            "tree_size": len(self.leaves),
            "timestamp": timestamp,
            "sha256_root_hash": _base64(root),
            "tree_head_signature": _base64(algorithms + len(signature).to_bytes(2, "big") + signature),
        }

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes([web.get("/ct/v1/{what}", self._answer)])
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        what = request.match_info["what"]
        self.asked.append(what)
        if self.wrong.slow:
            return await _trickle(request)
        if self.wrong.status != 200:
            return web.Response(status=self.wrong.status, headers={"Location": self.url + "/ct/v1/elsewhere"})
        if what in self.wrong.huge:
            blanks = b" " * self.wrong.huge.pop(what)
            return web.Response(body=blanks + await self._right(what, request), content_type="application/json")
        if self.wrong.body is not None:
            return web.Response(body=self.wrong.body, content_type="application/json")
        return web.Response(body=await self._right(what, request), content_type="application/json")

    async def _right(self, what: str, request: web.Request) -> bytes:
        query = request.query
        if what == "get-sth":
            return _json(self.head())
        if what == "get-sth-consistency":
            first, second = int(query["first"]), int(query["second"])
            return _json({"consistency": [_base64(one) for one in consistency_proof(first, self.leaves[:second])]})
        if what == "get-proof-by-hash":
            size = int(query["tree_size"])
            hashed = [hashlib.sha256(b"\0" + leaf).digest() for leaf in self.leaves[:size]]
            index = size - 1 if self.proof_for_any else hashed.index(base64.b64decode(query["hash"]))
            proof = inclusion_proof(index, self.leaves[:size])
            return _json({"leaf_index": index, "audit_path": [_base64(one) for one in proof]})
        if what == "get-entries":
            start, end = int(query["start"]), min(int(query["end"]), int(query["start"]) + self.at_most - 1)
            shown = [] if self.wrong.empty else self._shown()[start : end + 1]
            return _json(
                {"entries": [{"leaf_input": _base64(leaf), "extra_data": _base64(b"\0\0\0")} for leaf in shown]}
            )
        raise web.HTTPNotFound

    def _shown(self) -> list[bytes]:
        shown = [self.wrong.instead.get(index, leaf) for index, leaf in enumerate(self.leaves)]
        return [leaf for leaf in shown if leaf is not None] + [x509_leaf(b"filler")] * 8


@dataclass
class Monitor:
    """A search over certificates, in pages of two, in the form of Cert Spotter's; `hides` are keys it leaves out."""

    certificates: list[x509.Certificate] = field(default_factory=list)
    hides: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    body: bytes | None = None
    url: str = ""
    authority: str = ""

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes([web.get("/v1/issuances", self._answer)])
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.query_string)
        if self.body is not None:
            return web.Response(body=self.body, content_type="application/json")
        told = []
        for number, one in enumerate(self.certificates):
            spki = one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            told.append(
                {
                    "id": str(1000 + number),
                    "tbs_sha256": "0" * 64,
                    "dns_names": names.get_values_for_type(x509.DNSName),
                    "pubkey_sha256": hashlib.sha256(spki).hexdigest(),
                    "issuer": {"name": "CN=Test Authority", "friendly_name": "Test Authority", "website": None},
                    "not_before": one.not_valid_before_utc.isoformat().replace("+00:00", "Z"),
                    "not_after": one.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
                }
            )
        after = int(request.query.get("after", "0"))
        left = [one for one in told if int(one["id"]) > after and one["pubkey_sha256"] not in self.hides]
        return web.json_response(left[:2])


@contextlib.asynccontextmanager
async def serving(served: CertificateLog | Monitor) -> AsyncIterator[None]:
    """Serve over TLS on a port of the system's choice; sets `url` and `authority`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context.load_cert_chain(path)
    runner = web.AppRunner(served.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    served.url = f"https://127.0.0.1:{port}" + ("/v1/issuances" if isinstance(served, Monitor) else "")
    served.authority = certificate.public_bytes(Encoding.PEM).decode()
    try:
        yield
    finally:
        await runner.cleanup()


async def _trickle(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await answer.write(b" ")
            await asyncio.sleep(0.05)
    return answer


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
