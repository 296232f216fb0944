"""Halves of the root key in the TPM: sealed under a release key holder's policy, opened by that holder's signature.

Also the floor of the security epoch, an index whose bits are never cleared again. The TPM refuses; `why_refused` only
finds words for it afterwards. Policies: appliance/formats/boot_policy.py, docs/formats/boot-policy.md. Sources: TCG
TPM 2.0 Library part 3, sections 23 (policy) and 31 (NV). Runs in the connection's thread.
"""

from __future__ import annotations

import hashlib
from typing import Any

import tpm2_pytss as tss
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from appliance.core.errors import Tampered
from appliance.formats.boot_policy import (
    BIT_CLEAR,
    DIGEST_BYTES,
    FLOOR_ATTRIBUTES,
    FLOOR_BYTES,
    FLOOR_INDEX,
    NEVER_EXTENDED,
    PCR_IMAGE,
    PCR_PARAMETERS,
    PCR_SECURE_BOOT,
    POLICY_REF,
    BootPolicy,
    approved_policy,
    bits_above,
    branches,
    floor_policy,
    holder_fingerprint,
    key_public_area,
)
from appliance.vault.tpm_connection import Connection

PCRS = (PCR_SECURE_BOOT, PCR_IMAGE, PCR_PARAMETERS)


class PolicyRefused(Exception):
    """The TPM did not accept a step of the policy."""


def read_pcrs(connection: Connection) -> dict[int, bytes]:
    """Give what the policies look at: PCR 7, 11 and 12 of the SHA-256 bank."""
    _, _, digests = connection.esys.pcr_read("sha256:" + ",".join(map(str, PCRS)))
    values = [bytes(digests[place]) for place in range(digests.count)]
    if len(values) != len(PCRS):
        raise Tampered("boot_image")  # no SHA-256 bank: nothing was measured into it
    return dict(zip(PCRS, values, strict=True))


def satisfy(connection: Connection, session: Any, policy: BootPolicy, key: bytes, pcr7: list[bytes]) -> None:
    """Run a half's policy in a policy session; PolicyRefused."""
    pcr11 = read_pcrs(connection)[PCR_IMAGE]
    signature = policy.signature(pcr11, holder_fingerprint(key))
    if signature is None:
        raise PolicyRefused
    try:
        connection.esys.policy_pcr(session, tss.TPM2B_DIGEST(), selection(PCR_IMAGE, PCR_PARAMETERS))
        _compare_floor(connection, session, policy.epoch)
        _authorize(connection, session, approved_policy(pcr11, policy.epoch), key, signature)
        connection.esys.policy_pcr(session, tss.TPM2B_DIGEST(), selection(PCR_SECURE_BOOT))
        connection.esys.policy_or(session, tss.TPML_DIGEST(branches(key, pcr7)))
    except (tss.TSS2_Exception, ValueError) as error:
        raise PolicyRefused from error


def why_refused(connection: Connection, policy: BootPolicy, key: bytes, pcr7: list[bytes]) -> str:
    """Give the word for a refusal: which PCR, the epoch, or the signature."""
    values = read_pcrs(connection)
    if not policy.knows(values[PCR_IMAGE]):
        return "boot_image"
    if values[PCR_PARAMETERS] != NEVER_EXTENDED:
        return "boot_parameters"
    if values[PCR_SECURE_BOOT] not in pcr7:
        return "boot_secure_boot"
    with connection.session(tss.TPM2_SE.TRIAL) as trial:  # a trial compares nothing: only a missing index fails it
        try:
            _floor(connection)
            _compare_floor(connection, trial, policy.epoch)
        except (Tampered, tss.TSS2_Exception):
            return "epoch_floor"
    with connection.session(tss.TPM2_SE.POLICY) as session:
        try:
            _compare_floor(connection, session, policy.epoch)
        except tss.TSS2_Exception:
            return "release_too_old"
    return "release_signature"


def selection(*numbers: int) -> tss.TPML_PCR_SELECTION:
    """Give a selection of the SHA-256 bank."""
    return tss.TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, numbers)))


def make_floor(connection: Connection, authorisation: bytes) -> None:
    """Define the floor with no bit set, in place of what a broken-off start left."""
    if FLOOR_INDEX in connection.handles(FLOOR_INDEX):
        with connection.session() as session:
            connection.esys.nv_undefine_space(_floor(connection), session1=session)
    public = tss.TPMS_NV_PUBLIC(
        nvIndex=FLOOR_INDEX,
        nameAlg=tss.TPM2_ALG.SHA256,
        attributes=tss.TPMA_NV(FLOOR_ATTRIBUTES),
        authPolicy=floor_policy(),
        dataSize=FLOOR_BYTES,
    )
    with connection.session() as session:
        connection.esys.nv_define_space(authorisation, tss.TPM2B_NV_PUBLIC(public), session1=session)
    _set_bits(connection, authorisation, 0)  # it has its name and can be compared once it was written


def raise_floor(connection: Connection, authorisation: bytes, epoch: int) -> None:
    """Set the bit of an epoch, for good: releases of an earlier one open nothing from now on."""
    _set_bits(connection, authorisation, 1 << epoch)


def _set_bits(connection: Connection, authorisation: bytes, bits: int) -> None:
    index = _floor(connection)
    connection.esys.tr_set_auth(index, authorisation)
    with connection.session() as session:
        connection.esys.nv_set_bits(index, bits, auth_handle=index, session1=session)


def _floor(connection: Connection) -> Any:
    if FLOOR_INDEX not in connection.handles(FLOOR_INDEX):
        raise Tampered("epoch_floor")
    return connection.esys.tr_from_tpmpublic(FLOOR_INDEX)


def _compare_floor(connection: Connection, session: Any, epoch: int) -> None:
    """PolicyNV: no bit above the epoch. Authorised by the index's own policy, which needs no secret."""
    index = _floor(connection)
    with connection.session(tss.TPM2_SE.POLICY, encrypting=False) as reading:
        connection.esys.policy_command_code(reading, tss.TPM2_CC.PolicyNV)
        connection.esys.policy_nv(
            index, index, session, tss.TPM2B_OPERAND(bits_above(epoch)), tss.TPM2_EO(BIT_CLEAR), session1=reading
        )


def _authorize(connection: Connection, session: Any, approved: bytes, key: bytes, signature: bytes) -> None:
    esys = connection.esys
    area, _ = tss.TPMT_PUBLIC.unmarshal(key_public_area(key))
    handle = esys.load_external(tss.TPM2B_PUBLIC(publicArea=area), hierarchy=tss.ESYS_TR.OWNER)
    try:
        digest = hashlib.sha256(approved + POLICY_REF).digest()
        ticket = esys.verify_signature(handle, digest, _signature(signature))
        esys.policy_authorize(session, approved, esys.tr_get_name(handle), ticket, POLICY_REF)
    finally:
        esys.flush_context(handle)


def _signature(der: bytes) -> tss.TPMT_SIGNATURE:
    r, s = (number.to_bytes(DIGEST_BYTES, "big") for number in decode_dss_signature(der))
    size = DIGEST_BYTES.to_bytes(2, "big")
    kind = int(tss.TPM2_ALG.ECDSA).to_bytes(2, "big") + int(tss.TPM2_ALG.SHA256).to_bytes(2, "big")
    made, _ = tss.TPMT_SIGNATURE.unmarshal(kind + size + r + size + s)
    return made
