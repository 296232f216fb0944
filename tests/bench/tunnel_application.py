"""What every side of the tunnel's bench serves: one small aiohttp application, and the bytes it gives.

`GET /bytes/N` answers the first N bytes of PATTERN_BYTES random bytes that repeat. Their number is prime, so a piece that
is lost, doubled or moved shows at the first compare; the load programs compare every byte.
"""

from __future__ import annotations

import datetime
import os
import ssl
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PATTERN_BYTES = 1_048_573
#: As large as the pieces in which gateway reads a document.
PIECE_BYTES = 256 * 1024
MAX_BYTES = 1 << 41


def write_page(folder: Path, host_name: str) -> None:
    """Write `pattern`, and the page's self-signed certificate with its key, `page.pem` and `page.key`."""
    (folder / "pattern").write_bytes(os.urandom(PATTERN_BYTES))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "page.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "page.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def page_context(folder: Path) -> ssl.SSLContext:
    """Give the server context of the page, TLS 1.3 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "page.pem", folder / "page.key")
    return context


async def make_runner(folder: Path) -> web.AppRunner:
    """Give the application, ready to be put on connections: `runner.server` makes their protocols."""
    pattern = (folder / "pattern").read_bytes()
    repeated = memoryview(pattern + pattern[:PIECE_BYTES])

    async def answer(request: web.Request) -> web.StreamResponse:
        size = int(request.match_info["size"])
        if size > MAX_BYTES:
            raise web.HTTPBadRequest
        response = web.StreamResponse()
        response.content_length = size
        await response.prepare(request)
        for offset in range(0, size, PIECE_BYTES):
            start = offset % PATTERN_BYTES
            await response.write(repeated[start : start + min(PIECE_BYTES, size - offset)])
        await response.write_eof()
        return response

    application = web.Application()
    application.router.add_get(r"/bytes/{size:\d{1,14}}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    return runner
