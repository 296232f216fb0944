"""Makers of TPMs: swtpm_setup with an authority of its own, and one by hand, whose certificates may be wrong.

`manufacture` gives a software TPM what a chip has from its maker; `HandMaker` signs what it is told to.
"""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import tpm2_pytss as tss
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.formats.endorsement import TEMPLATES

NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")
CHAIN_INDEX = 0x01C00100


def manufacture(folder: Path, makers: Path) -> Path:
    """Make a TPM's state in `folder` with an endorsement certificate (swtpm_setup(8)); give the makers' PEM file.

    `makers` holds the authority, made with the first TPM: a root, and an authority under it that signs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    makers.mkdir(parents=True, exist_ok=True)
    (makers / "setup.conf").write_text(
        "create_certs_tool = /usr/bin/swtpm_localca\n"
        f"create_certs_tool_config = {makers}/authority.conf\n"
        f"create_certs_tool_options = {makers}/options\n"
    )
    (makers / "authority.conf").write_text(
        f"statedir = {makers}\nsigningkey = {makers}/signkey.pem\n"
        f"issuercert = {makers}/issuercert.pem\ncertserial = {makers}/certserial\n"
    )
    (makers / "options").write_text(
        "--platform-manufacturer Praxissafe\n--platform-version 1\n--platform-model Test\n"
    )
    subprocess.run(
        [
            *("swtpm_setup", "--tpm2", "--tpmstate", folder, "--config", makers / "setup.conf"),
            *("--create-ek-cert", "--pcr-banks", "sha256", "--overwrite"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    pem = makers / "makers.pem"
    pem.write_bytes(
        (makers / "swtpm-localca-rootca-cert.pem").read_bytes() + (makers / "issuercert.pem").read_bytes()
    )
    return pem


@dataclass
class HandMaker:
    """A root and an authority under it, in P-256."""

    name: str = "Hand Maker"
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.root = self.authority(
            f"{self.name} Root", self.root_key.public_key(), f"{self.name} Root", self.root_key
        )
        self.intermediate = self.authority(self.name, self.key.public_key(), f"{self.name} Root", self.root_key)

    @property
    def pem(self) -> bytes:
        """The makers' file of a portal that knows this maker."""
        return self.root.public_bytes(Encoding.PEM) + self.intermediate.public_bytes(Encoding.PEM)

    def sign(
        self,
        key: CertificatePublicKeyTypes,
        *,
        not_before: datetime.datetime = NOT_BEFORE,
        not_after: datetime.datetime = NOT_AFTER,
        purposes: Iterable[x509.ObjectIdentifier] = (EK_CERTIFICATE,),
        authority: bool = False,
        takes_in: bool = True,
        signs: bool = False,
        issuer_key: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """Give an endorsement certificate (DER), as the profile has it, or as told."""
        is_rsa = isinstance(key, rsa.RSAPublicKey)
        chip = x509.Name(
            [
                x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:49465800"),
                x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.2"), "SLB9672"),
                x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.3"), "id:0010"),
            ]
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(_name(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(chip)]), critical=True)
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(_usage(takes_in=takes_in, is_rsa=is_rsa, signs=signs), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if purposes := tuple(purposes):
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return builder.sign(issuer_key or self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def fit_out(self, tcti: str, *, chain: bytes = b"", kind: int = 0x01C0000A) -> bytes:
        """Give a running software TPM a certificate for its key by the template at NV index `kind`; give it (DER)."""
        with tss.ESAPI(tcti) as esys:
            area, _ = tss.TPMT_PUBLIC.unmarshal(TEMPLATES[kind])
            handle, public, *_ = esys.create_primary(
                tss.TPM2B_SENSITIVE_CREATE(), tss.TPM2B_PUBLIC(publicArea=area), tss.ESYS_TR.ENDORSEMENT
            )
            esys.flush_context(handle)
            certificate = self.sign(x509_key(public))
            for index, content in ((kind, certificate + b"\xff" * 40), (CHAIN_INDEX, chain)):
                if content:
                    _write(esys, index, content)
        return certificate

    def authority(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        issuer: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        *,
        authority: bool = True,
        length: int | None = None,
        signs: bool = True,
    ) -> x509.Certificate:
        """Give an authority's certificate, as it must be, or as told."""
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(issuer))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOT_BEFORE)
            .not_valid_after(NOT_AFTER)
            .add_extension(x509.BasicConstraints(authority, length if authority else None), critical=True)
            .add_extension(
                x509.KeyUsage(**usage, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )


def x509_key(public: tss.TPM2B_PUBLIC) -> CertificatePublicKeyTypes:
    """Give the key of a public area."""
    unique = public.publicArea.unique
    if public.publicArea.type == tss.TPM2_ALG.RSA:
        return rsa.RSAPublicNumbers(65537, int.from_bytes(bytes(unique.rsa), "big")).public_key()
    x, y = (int.from_bytes(bytes(part), "big") for part in (unique.ecc.x, unique.ecc.y))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, takes_in: bool, is_rsa: bool, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs or not takes_in,
        content_commitment=False,
        key_encipherment=takes_in and is_rsa,
        data_encipherment=False,
        key_agreement=takes_in and not is_rsa,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(esys: tss.ESAPI, number: int, content: bytes) -> None:
    attributes = tss.TPMA_NV.parse("authread|ownerread|ownerwrite|no_da")
    public = tss.TPMS_NV_PUBLIC(
        nvIndex=number, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, dataSize=len(content)
    )
    index = esys.nv_define_space(b"", tss.TPM2B_NV_PUBLIC(public))
    for start in range(0, len(content), 512):
        esys.nv_write(index, content[start : start + 512], start, tss.ESYS_TR.OWNER)
