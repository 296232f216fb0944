"""What station and portal say to each other to register a box: two questions, two answers, as JSON. Pure.

Layout: docs/formats/attestation.md.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from appliance.formats.attestation import Evidence, Identity, Question
from appliance.formats.device_record import DeviceRecord

#: Certificates make most of it.
MAX_APPLICATION_BYTES = 48 * 1024
Challenge = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{22}$")]


class Application(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /devices: the station's record, and who the TPM says it is."""

    record: DeviceRecord
    identity: Identity


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The answer to it, for a record that the portal does not hold yet."""

    challenge: Challenge
    question: Question


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /proofs: the TPM's answer."""

    challenge: Challenge
    evidence: Evidence
