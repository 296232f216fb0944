"""The demo's public certificate authority: Debian's pebble, strict, and a DNS server that knows this machine only.

Both run in the container beside the portal (units/demo-authority.service, demo-names.service). pebble makes itself a
new root at each start, so the roots are collected here: a page certificate of an earlier start is under its own.
Sources: pebble(1), pebble-challtestsrv(1).
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from appliance.core.errors import Unavailable
from appliance.demo.places import WORLD_STATE, Places, Ports

ADDRESS = "127.0.0.1"
HTTPS_LIFETIME = datetime.timedelta(days=3650)
CLOCK_SLACK = datetime.timedelta(hours=1)
LEAF_LIFETIME_S = 7 * 86400


def lay_authority(places: Places) -> None:
    """Make pebble's own HTTPS certificate, once."""
    folder = places.world / "authority"
    folder.mkdir(exist_ok=True)
    if not (folder / "https.pem").exists():
        lay_https_certificate(folder)


def lay_https_certificate(folder: Path) -> None:
    """Make `https.key` and `https.pem` for 127.0.0.1, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Praxissafe demo authority")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + HTTPS_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = folder / "https.key"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "https.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def pebble_settings(folder: Path, *, listen: int, management: int, portal: int, lifetime_s: int) -> str:
    """Give pebble's settings: it looks for a challenge's answer at the portal's port."""
    settings = {
        "listenAddress": f"{ADDRESS}:{listen}",
        "managementListenAddress": f"{ADDRESS}:{management}",
        "certificate": f"{folder}/https.pem",
        "privateKey": f"{folder}/https.key",
        "httpPort": 1,
        "tlsPort": portal,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": lifetime_s,
    }
    return json.dumps({"pebble": settings}, indent=1)


def settings_files(places: Places, ports: Ports) -> dict[str, str]:
    """Give what /etc/praxissafe holds for the authority, and for the box to find it."""
    pebble = pebble_settings(
        WORLD_STATE / "authority",
        listen=ports.authority,
        management=ports.management,
        portal=ports.portal,
        lifetime_s=LEAF_LIFETIME_S,
    )
    own = "/etc/praxissafe/demo-authority.pem"
    return {
        "demo-authority.json": pebble,
        "demo-authority.env": f"NAMES={ADDRESS}:{ports.names}\n",
        "demo-authority.pem": (places.world / "authority/https.pem").read_text(),
        "certificate.toml": f'directory = "https://{ADDRESS}:{ports.authority}/dir"\ndirectory_ca = "{own}"\n',
    }


async def read_roots(places: Places, ports: Ports) -> bytes:
    """Give the roots (PEM) of this start and of earlier ones; Unavailable("authority") while pebble is not there."""
    context = ssl.create_default_context(cafile=places.world / "authority/https.pem")
    try:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.get(f"https://{ADDRESS}:{ports.management}/roots/0", ssl=context) as answer,
        ):
            root = await answer.read()
            x509.load_pem_x509_certificate(root)
    except (aiohttp.ClientError, OSError, ValueError) as error:  # it may be there and not have made its root yet
        raise Unavailable("authority") from error
    known = places.state / "authority-roots.pem"
    roots = known.read_bytes() if known.exists() else b""
    if root not in roots:
        roots += root
        known.write_bytes(roots)
    return roots
