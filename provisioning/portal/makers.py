"""Makers of TPMs that this portal knows: whether one of them has signed an endorsement certificate.

The file holds certificates (PEM): those that signed themselves are trusted, the others only lead there, like those
that the TPM itself gives. Paths are validated by `cryptography` (RFC 5280 6.1): signatures, dates, names, that an
authority is one, lengths, weak algorithms. Here is what is special to endorsement certificates: TCG EK Credential
Profile 2.5, section 3.2.

Not looked at: revocation lists. A chip whose maker has taken its certificate back is still taken.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from appliance.core.errors import Invalid, Refused
from appliance.formats.endorsement import Endorsement

MAX_MAKERS_BYTES = 1024 * 1024
MAX_INTERMEDIATES = 4
#: tcg-kp-EKCertificate.
EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")


class Makers:
    """The makers of one file."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._roots = [each for each in certificates if _signed_itself(each)]
        self._intermediates = [each for each in certificates if not _signed_itself(each)]

    @classmethod
    def read(cls, path: Path) -> Makers:
        """Read the file; Invalid("tpm_makers") if it is missing, no PEM, or trusts nobody."""
        try:
            with path.open("rb") as file:
                makers = cls(x509.load_pem_x509_certificates(file.read(MAX_MAKERS_BYTES)))
        except (OSError, ValueError) as error:
            raise Invalid("tpm_makers") from error
        if not makers._roots:
            raise Invalid("tpm_makers")
        return makers

    def check(self, endorsement: Endorsement, chain: Sequence[x509.Certificate], now: datetime.datetime) -> None:
        """Raise Refused("endorsement_certificate") unless a path leads from a maker to this certificate."""
        verifier = (
            PolicyBuilder()
            .store(Store(self._roots))
            .time(now)
            .max_chain_depth(MAX_INTERMEDIATES)
            .extension_policies(ee_policy=_ENDORSEMENT, ca_policy=_AUTHORITY)
            .build_client_verifier()
        )
        try:
            verifier.verify(endorsement.certificate, [*self._intermediates, *chain])
        except VerificationError as error:
            raise Refused("endorsement_certificate") from error


def _signed_itself(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def _check_usage(_: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    """Section 3.2.14: an endorsement key takes secrets in, and signs nothing."""
    if isinstance(certificate.public_key(), rsa.RSAPublicKey):
        takes_in = usage is not None and usage.key_encipherment
    else:
        takes_in = usage is not None and usage.key_agreement
    if usage is None or not takes_in or usage.key_cert_sign or usage.digital_signature:
        raise ValueError


def _check_purpose(_: Policy, __: x509.Certificate, purposes: x509.ExtendedKeyUsage | None) -> None:
    """Section 3.2.16; a certificate of an older profile names no purpose."""
    if purposes is not None and EK_CERTIFICATE not in purposes:
        raise ValueError


def _check_no_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and constraints.ca:
        raise ValueError


def _check_authority_usage(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError


_EITHER = Criticality.AGNOSTIC
_ENDORSEMENT = (
    ExtensionPolicy.permit_all()
    .require_present(x509.KeyUsage, _EITHER, _check_usage)
    .may_be_present(x509.ExtendedKeyUsage, _EITHER, _check_purpose)
    .may_be_present(x509.BasicConstraints, _EITHER, _check_no_authority)
)
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _EITHER, None)
    .may_be_present(x509.KeyUsage, _EITHER, _check_authority_usage)
)
