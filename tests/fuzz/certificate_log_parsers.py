"""Fuzz targets for what certificate logs and monitors answer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.core.errors import Invalid, Tampered
from appliance.formats import certificate_log, seen_certificate
from tests.simulators.certificate_log import CertificateLog, make_certificate, precert_leaf, x509_leaf

HOST = "box1.portal.example"
KEY = ec.generate_private_key(ec.SECP256R1())
CERTIFICATE = make_certificate([HOST, "x.example"], KEY)
LOG = CertificateLog(key=KEY, leaves=[b"leaf"])
DER = CERTIFICATE.public_bytes(Encoding.DER)


def log_entry(data: bytes) -> None:
    """An entry: what holds the name is a finding or a certificate for another name, and never passed over unread."""
    with contextlib.suppress(Invalid):
        leaf = certificate_log.read_leaf(data)
        seen = seen_certificate.look_through(leaf, HOST)
        assert seen is None or len(seen.finding) == 32
        if seen is not None and seen.key_sha256:
            assert set(seen.names) <= set(seen_certificate.names_covering(HOST))
            assert seen.names


def certificate(data: bytes) -> None:
    """A certificate, whole or its inner part: bytes without the name are nothing, bytes with it are read or told."""
    for kind in ("x509", "precert"):
        seen = seen_certificate.look_through(certificate_log.Leaf(kind, 0, data), HOST)  # type: ignore[arg-type]
        named = any(name.encode() in data.lower() for name in seen_certificate.names_covering(HOST))
        assert named or seen is None


def log_answers(data: bytes) -> None:
    """Heads, entries, proofs."""
    for read in (
        lambda: certificate_log.read_tree_head(data, KEY.public_key()),
        lambda: certificate_log.read_entries(data, 4),
        lambda: certificate_log.read_consistency(data),
        lambda: certificate_log.read_inclusion(data),
    ):
        with contextlib.suppress(Invalid, Tampered):
            read()


def monitor(data: bytes) -> None:
    """A monitor's page."""
    with contextlib.suppress(Invalid):
        seen, _ = seen_certificate.read_monitor(data, HOST)
        assert all(one.names and one.not_before >= 0 for one in seen)


_TOLD = {
    "id": "7",
    "dns_names": [HOST],
    "pubkey_sha256": "ab" * 32,
    "not_before": "2026-06-16T00:00:00-00:00",
    "issuer": {"name": "CN=A", "friendly_name": "A"},
}
SEEDS: dict[str, list[bytes]] = {
    "log_entry": [x509_leaf(DER), precert_leaf(CERTIFICATE)],
    "logged_certificate": [DER, CERTIFICATE.tbs_certificate_bytes],
    "log_answers": [json.dumps(LOG.head()).encode(), b'{"entries":[{"leaf_input":"AAAA"}]}', b'{"consistency":[]}'],
    "monitor": [json.dumps([_TOLD, {**_TOLD, "issuer": None}]).encode()],
}
TARGETS: dict[str, Callable[[bytes], None]] = {
    "log_entry": log_entry,
    "logged_certificate": certificate,
    "log_answers": log_answers,
    "monitor": monitor,
}
