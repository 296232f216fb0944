"""How a box comes into the register: a station's record, the TPM's identity, a question, the TPM's answer.

Rules it keeps: nothing is registered unless the device key is proven to live in the TPM of the record, now (a fresh
nonce and secret, used once), and a maker that we know has made that TPM; a station that is not listed gets no
question; of a box there is one open question, the last. What is there twice is said at once.
Formats: docs/formats/attestation.md. The register itself: registry.py.
"""

from __future__ import annotations

import datetime
import hmac
import secrets
import sys
from collections.abc import Callable, Set
from dataclasses import dataclass

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered, Unavailable
from appliance.formats import attestation
from appliance.formats.attestation import Evidence, Identity, Question
from appliance.formats.device_record import DeviceRecord, check_form
from appliance.formats.endorsement import read_chain, read_endorsement
from appliance.formats.registration import Application, Asked, Proof
from appliance.formats.tpm_structures import SigningKey
from provisioning.portal.counts import Counts
from provisioning.portal.credential import make_credential
from provisioning.portal.makers import Makers
from provisioning.portal.registry import Registry

SECRET_BYTES = 32
#: A discrete TPM may need a minute to make its RSA endorsement key again.
QUESTION_LIFETIME_S = 300.0
MAX_QUESTIONS = 256
#: Two boxes say that they are one, or have one key.
DUPLICATES = frozenset({"box_taken", "device_key_taken", "endorsement_taken"})
BOX_DIGITS = 8


@dataclass(frozen=True)
class _Open:
    """A question that is open."""

    record: DeviceRecord
    attestation_key: SigningKey
    device_key: SigningKey
    secret: bytes
    nonce: bytes
    ends_at: float


class Registration:
    """Takes boxes into a register. `images` are the values of PCR 11 that may be registered; none means any."""

    def __init__(
        self,
        registry: Registry,
        makers: Makers,
        portal_name: str,
        images: Set[bytes],
        counts: Counts,
        now: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._makers = makers
        self._portal_name = portal_name
        self._images = images
        self._counts = counts
        self._now = now
        self._open: dict[str, _Open] = {}

    def apply(self, application: Application) -> Asked | None:
        """Give the question to the TPM; None if this very record is held.

        Raises what Registry.is_registered raises; Invalid("device_record") where record and TPM do not fit together,
        Invalid("tpm_structure"), Invalid or Refused("endorsement_certificate"), Refused("tpm_key"),
        Unavailable("portal_busy").
        """
        record, identity = application.record, application.identity
        try:
            check_form(record)
            if self._registry.is_registered(record):
                return None
            return self._ask(record, identity)
        except PraxisError as error:
            self._note(record, error)
            raise

    def prove(self, proof: Proof) -> None:
        """Register the box that has answered; the file is on disk when this returns.

        Refused("challenge") for a question that was not asked, is too old or was answered before;
        Tampered("attestation"), Refused("quoted_image"), and what check_evidence and Registry.register raise.
        """
        asked = self._open.pop(proof.challenge, None)
        if asked is None or self._now() >= asked.ends_at:
            self._counts.devices_refused += 1
            raise Refused("challenge")
        try:
            self._judge(asked, proof.evidence)
            self._counts.devices_registered += self._registry.register(asked.record)
        except PraxisError as error:
            self._note(asked.record, error)
            raise

    def _ask(self, record: DeviceRecord, identity: Identity) -> Asked:
        endorsement = read_endorsement(identity.endorsement_certificate)
        device_key = attestation.read_device_key(identity.device_key)
        attestation_key = attestation.read_attestation_key(identity.attestation_key)
        if (endorsement.fingerprint, device_key.point) != (record.endorsement_bytes, record.device_point):
            raise Invalid("device_record")
        now = datetime.datetime.fromtimestamp(self._now(), datetime.UTC)
        self._makers.check(endorsement, read_chain(identity.endorsement_chain), now)
        secret, nonce, seed = (secrets.token_bytes(SECRET_BYTES) for _ in range(3))
        credential = make_credential(endorsement.key, attestation_key.name, secret, seed)
        challenge = self._keep(record, attestation_key, device_key, secret, nonce)
        question = Question(credential=credential.blob, encrypted_seed=credential.encrypted_seed, nonce=nonce)
        return Asked(challenge=challenge, question=question)

    def _keep(
        self, record: DeviceRecord, attestation_key: SigningKey, device_key: SigningKey, secret: bytes, nonce: bytes
    ) -> str:
        now = self._now()
        self._open = {
            name: asked
            for name, asked in self._open.items()
            if asked.ends_at > now and asked.record.box != record.box
        }
        if len(self._open) >= MAX_QUESTIONS:
            raise Unavailable("portal_busy")
        name = secrets.token_urlsafe(16)
        self._open[name] = _Open(record, attestation_key, device_key, secret, nonce, now + QUESTION_LIFETIME_S)
        return name

    def _judge(self, asked: _Open, evidence: Evidence) -> None:
        if not hmac.compare_digest(evidence.secret, asked.secret):
            raise Tampered("attestation")
        attestation.check_evidence(
            evidence,
            attestation_key=asked.attestation_key,
            device_key=asked.device_key,
            qualifying=attestation.qualifying_data(asked.record.box_bytes, self._portal_name, asked.nonce),
        )
        if self._images and attestation.image_of(evidence) not in self._images:
            raise Refused("quoted_image")

    def _note(self, record: DeviceRecord, error: PraxisError) -> None:
        self._counts.devices_refused += 1
        if error.code in DUPLICATES:
            self._counts.duplicates_refused += 1
            say_duplicate(error.code, record.box, str(error.details["other"]))


def say_duplicate(code: str, box: str, other: str) -> None:
    """Write the alarm to standard error, priority alert (sd-daemon(3)): the one line of a portal that names boxes.

    Somebody has to find them; a station that is listed has signed for this one, so a stranger writes nothing here.
    """
    line = f"<1>portal alarm={code} box=x{box[:BOX_DIGITS]} other=x{other[:BOX_DIGITS]}"
    print(line, file=sys.stderr, flush=True)
