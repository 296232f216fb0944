"""The TPM proves itself: its maker's certificate, an attestation key, statements on the device key and the boot.

Endorsement and attestation key are primaries of the endorsement hierarchy, made again from the TPM's own seed each
time and flushed: nothing of them is kept, and no erasure of the box changes them. The secret of a credential crosses
the bus encrypted. Formats: docs/formats/attestation.md. Sources: TCG TPM 2.0 Library part 3, sections 12.5
(ActivateCredential), 18.2 (Certify), 18.4 (Quote); TCG EK Credential Profile 2.5, section 2.2.1. Runs in the
connection's thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tpm2_pytss as tss

from appliance.core.errors import NotFound, Tampered
from appliance.formats.attestation import ATTESTATION_TEMPLATE, QUOTED_PCRS, Evidence, Identity, Question
from appliance.formats.endorsement import CHAIN_INDICES, MAX_CHAIN_BYTES, TEMPLATES, der_length
from appliance.vault.tpm_connection import Connection

#: What every TPM gives in one TPM2_NV_Read (TPM2_PT_NV_BUFFER_MAX is at least this).
READ_BYTES = 512
SECRET_BYTES = 32


def identify(connection: Connection, device: Any) -> Identity:
    """Say who this TPM is and which keys it has; NotFound("endorsement_certificate") if its maker left none."""
    index = _certificate_index(connection)
    stored = _read_index(connection, index)
    size = der_length(stored)
    if size is None:
        raise NotFound("endorsement_certificate")
    with _attestation_key(connection, b"") as attestation_key:
        return Identity(
            endorsement_certificate=stored[:size],
            endorsement_chain=_read_chain(connection),
            attestation_key=_public(connection, attestation_key),
            device_key=_public(connection, device),
        )


def prove(connection: Connection, device: Any, question: Question, qualifying: bytes) -> Evidence:
    """Get the secret out of the credential; state, bound to `qualifying`, that the device key is here, and the PCRs.

    Tampered("credential") if it was made for another TPM or another key.
    """
    esys, scheme = connection.esys, tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL)
    with _attestation_key(connection, secrets.token_bytes(SECRET_BYTES)) as key:
        secret = _activate(connection, key, question)
        with connection.session() as device_session, connection.session(encrypting=False) as key_session:
            certification, certification_signature = esys.certify(
                device, key, qualifying, scheme, session1=device_session, session2=key_session
            )
        pcrs = "sha256:" + ",".join(map(str, QUOTED_PCRS))
        with connection.session() as session:
            quote, quote_signature = esys.quote(key, pcrs, qualifying, scheme, session1=session)
    _, _, values = esys.pcr_read(pcrs)
    return Evidence(
        secret=secret,
        certification=bytes(certification),
        certification_signature=certification_signature.marshal(),
        quote=bytes(quote),
        quote_signature=quote_signature.marshal(),
        pcrs=[bytes(values[place]) for place in range(values.count)],
    )


def _activate(connection: Connection, key: Any, question: Question) -> bytes:
    """Sessions first: the salt's key needs a place for itself while one begins, and a TPM may have three in all."""
    template = TEMPLATES[_certificate_index(connection)]
    with (
        connection.session() as session,
        connection.session() as authorising,
        connection.session(tss.TPM2_SE.POLICY, encrypting=False) as policy,
    ):
        endorsement_key = _make_primary(connection, template, b"", authorising)
        try:
            connection.esys.policy_secret(tss.ESYS_TR.ENDORSEMENT, policy, expiration=0, session1=authorising)
            blob, encrypted = _credential(question)
            secret = connection.esys.activate_credential(
                key, endorsement_key, blob, encrypted, session1=session, session2=policy
            )
        except tss.TSS2_Exception as error:
            if int(error.error) in REFUSALS:
                raise Tampered("credential") from error
            raise
        finally:
            connection.esys.flush_context(endorsement_key)
    if len(secret) != SECRET_BYTES:
        raise Tampered("credential")
    return bytes(secret)


def _credential(question: Question) -> tuple[tss.TPM2B_ID_OBJECT, tss.TPM2B_ENCRYPTED_SECRET]:
    return tss.TPM2B_ID_OBJECT(question.credential), tss.TPM2B_ENCRYPTED_SECRET(question.encrypted_seed)


@contextmanager
def _attestation_key(connection: Connection, authorisation: bytes) -> Iterator[Any]:
    with connection.session() as session:
        handle = _make_primary(connection, ATTESTATION_TEMPLATE, authorisation, session)
    try:
        yield handle
    finally:
        connection.esys.flush_context(handle)


def _make_primary(connection: Connection, template: bytes, authorisation: bytes, session: Any) -> Any:
    """Make a key of the endorsement hierarchy from its template; the caller flushes it."""
    area, _ = tss.TPMT_PUBLIC.unmarshal(template)
    sensitive = tss.TPM2B_SENSITIVE_CREATE(tss.TPMS_SENSITIVE_CREATE(userAuth=authorisation))
    handle, *_ = connection.esys.create_primary(
        sensitive, tss.TPM2B_PUBLIC(publicArea=area), tss.ESYS_TR.ENDORSEMENT, session1=session
    )
    return handle


def _public(connection: Connection, handle: Any) -> bytes:
    public, *_ = connection.esys.read_public(handle)
    return bytes(public.publicArea.marshal())


def _certificate_index(connection: Connection) -> int:
    there = set(connection.handles(tss.TPM2_HC.NV_INDEX_FIRST))
    for index in TEMPLATES:
        if index in there:
            return index
    raise NotFound("endorsement_certificate")


def _read_chain(connection: Connection) -> bytes:
    chain = b""
    for index in connection.handles(CHAIN_INDICES.start):
        if index in CHAIN_INDICES and len(chain) <= MAX_CHAIN_BYTES:
            chain += _read_index(connection, index)
    return chain[:MAX_CHAIN_BYTES]


def _read_index(connection: Connection, number: int) -> bytes:
    """Read an index that anybody may read: its authorisation value is empty."""
    esys = connection.esys
    index = esys.tr_from_tpmpublic(number)
    public, _ = esys.nv_read_public(index)
    size, read = int(public.nvPublic.dataSize), b""
    while len(read) < size:
        with connection.session() as session:
            part = esys.nv_read(index, min(READ_BYTES, size - len(read)), len(read), index, session1=session)
        read += bytes(part)
    return read


#: Responses of TPM2_ActivateCredential to a credential that is not for these keys (part 3, section 12.5.2).
REFUSALS = frozenset(
    int(response)
    for response in (
        tss.TPM2_RC.INTEGRITY,
        tss.TPM2_RC.SIZE,
        tss.TPM2_RC.VALUE,
        tss.TPM2_RC.INSUFFICIENT,
        tss.TPM2_RC.ECC_POINT,
        tss.TPM2_RC.FAILURE,
    )
)
