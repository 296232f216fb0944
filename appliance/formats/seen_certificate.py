"""Certificates seen in a log or told by a monitor, looked through for one host name. Pure.

Rules: what is not read may still be a certificate that a browser takes. So a certificate is looked for by the bytes
of the name, which stand whole in its DER (an IA5String), and one that has them and cannot be read is a finding too.
Sources: RFC 5280 4.2.1.6 (names), RFC 6125 6.4.3 (a wildcard stands for one label), RFC 6962 3.2 (precertificates).
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from appliance.core.errors import Invalid
from appliance.formats.certificate_log import Leaf

MAX_ISSUER_CHARACTERS = 120
MAX_TOLD = 1000
_SEQUENCE, _VERSION, _NO_SIGNATURE = b"\x30", b"\xa0", b"\x03\x01\x00"
#: Serial number, signature, issuer, validity, subject, subjectPublicKeyInfo (RFC 5280 4.1); the version before them.
_TBS_PARTS = 6
#: What cryptography raises for a certificate that it does not read.
_UNREADABLE = (
    ValueError,
    Invalid,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class SeenCertificate:
    """A certificate for the host. `key_sha256` is of its SubjectPublicKeyInfo, in hexadecimal.

    `names` are those that cover the host. `issuer` is how the authority calls itself, for people to read only. One
    that could not be read has no names and no key; its issuer is the SHA-256 of its bytes, to look it up by.
    """

    names: tuple[str, ...]
    key_sha256: str
    issuer: str = ""
    not_before: int = 0

    @property
    def finding(self) -> str:
        """Give a name that is the same wherever this certificate is seen, as 32 hexadecimal digits."""
        told = "\0".join((self.key_sha256 or self.issuer, str(self.not_before), *sorted(self.names)))
        return hashlib.sha256(told.encode()).hexdigest()[:32]


def names_covering(host: str) -> tuple[str, str]:
    """Give the two names in a certificate that a browser takes for this host: its own, and the wildcard beside it."""
    return host.lower(), "*." + host.lower().partition(".")[2]


def look_through(leaf: Leaf, host: str) -> SeenCertificate | None:
    """Give what the entry says of the host: None if it cannot be for it."""
    wanted = names_covering(host)
    content = leaf.content.lower()
    if not any(name.encode() in content for name in wanted):
        return None
    try:
        seen = _read(leaf, wanted)
    except _UNREADABLE:
        return SeenCertificate((), "", hashlib.sha256(leaf.content).hexdigest())
    return seen if seen.names else None


class _Issuer(msgspec.Struct):
    name: str = ""
    friendly_name: str = ""


class _Told(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    dns_names: Annotated[list[str], msgspec.Meta(max_length=MAX_TOLD)]
    pubkey_sha256: _Hex
    not_before: datetime.datetime
    issuer: _Issuer | None = None


def read_monitor(answer: bytes, host: str) -> tuple[list[SeenCertificate], str]:
    """Read a monitor's page of certificates: those for the host, and where the next begins ("": no more).

    The form is that of Cert Spotter's search (`expand=dns_names&expand=issuer`). Invalid("monitor_answer").
    """
    try:
        told = msgspec.json.decode(answer, type=list[_Told])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("monitor_answer") from error
    if len(told) > MAX_TOLD:
        raise Invalid("monitor_answer")
    wanted = names_covering(host)
    seen = [
        SeenCertificate(
            _covering(one.dns_names, wanted),
            one.pubkey_sha256,
            _short(one.issuer.friendly_name or one.issuer.name) if one.issuer else "",
            max(0, int(one.not_before.timestamp())),
        )
        for one in told
    ]
    return [one for one in seen if one.names], told[-1].id if told else ""


def _read(leaf: Leaf, wanted: tuple[str, str]) -> SeenCertificate:
    tbs = _parts(leaf.content)[0] if leaf.kind == "x509" else leaf.content
    parts = _parts(tbs)
    parts = parts[1:] if parts and parts[0][:1] == _VERSION else parts
    if len(parts) < _TBS_PARTS:
        raise Invalid("certificate")
    algorithm, spki = parts[1], parts[5]
    certificate = x509.load_der_x509_certificate(
        leaf.content if leaf.kind == "x509" else _sequence(tbs + algorithm + _NO_SIGNATURE)
    )
    names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names += extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        pass
    issuer = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    issuer += certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return SeenCertificate(
        _covering(names, wanted),
        hashlib.sha256(spki).hexdigest(),
        _short(", ".join(str(part.value) for part in issuer)),
        max(0, int(certificate.not_valid_before_utc.timestamp())),
    )


def _covering(names: Iterable[str], wanted: tuple[str, str]) -> tuple[str, ...]:
    found = {name.lower().removesuffix(".") for name in names}
    return tuple(name for name in wanted if name in found)


def _short(text: str) -> str:
    """Give what people may read of a stranger's text."""
    return "".join(letter for letter in text if letter.isprintable())[:MAX_ISSUER_CHARACTERS]


def _parts(sequence: bytes) -> list[bytes]:
    """Give the parts of a SEQUENCE, each with its tag and length (X.690 8.1); Invalid("certificate")."""
    body, end = _inside(sequence, 0)
    if sequence[:1] != _SEQUENCE or end != len(sequence):
        raise Invalid("certificate")
    parts = []
    while body < end:
        _, after = _inside(sequence, body)
        parts.append(sequence[body:after])
        body = after
    return parts


def _inside(data: bytes, start: int) -> tuple[int, int]:
    """Give where the content of the element at `start` begins and ends."""
    body = start + 2
    length = data[start + 1] if body <= len(data) else 0xFF
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= 3:
            raise Invalid("certificate")
        length, body = int.from_bytes(data[body : body + count], "big"), body + count
    if body + length > len(data):
        raise Invalid("certificate")
    return body, body + length


def _sequence(content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return _SEQUENCE + bytes((size,)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return _SEQUENCE + bytes((0x80 | len(length),)) + length + content
