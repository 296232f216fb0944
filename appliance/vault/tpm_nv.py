"""What vault keeps in the TPM's NV memory: the erasure key, and the counter that its state is bound to.

Both are authorised by values that only the root key gives, and none is readable by the TPM's owner. The counter can
only rise: one that was undefined and made anew begins above every count this TPM has ever had. Sources: TCG TPM 2.0
Library part 1, section 37 (37.2.2 counters), and part 3, section 31. Runs in the connection's thread.
"""

from __future__ import annotations

import tpm2_pytss as tss

from appliance.core.errors import Tampered
from appliance.vault.tpm_connection import Connection

ERASURE_INDEX = 0x01A50001
COUNTER_INDEX = 0x01A50002
SECRET_BYTES = 32
COUNTER_BYTES = 8
ERASURE_ATTRIBUTES = "authread|authwrite|no_da"
#: TPM2_NT_COUNTER is 1 (part 2, section 13.3).
COUNTER_ATTRIBUTES = "nt=1|authread|authwrite|no_da"


def make_index(connection: Connection, index: int, attributes: str, size: int, authorisation: bytes) -> None:
    """Define an index, in place of what stands there."""
    if index in connection.handles(index):
        with connection.session() as session:
            connection.esys.nv_undefine_space(connection.esys.tr_from_tpmpublic(index), session1=session)
    public = tss.TPMS_NV_PUBLIC(
        nvIndex=index, nameAlg=tss.TPM2_ALG.SHA256, attributes=tss.TPMA_NV.parse(attributes), dataSize=size
    )
    with connection.session() as session:
        connection.esys.nv_define_space(authorisation, tss.TPM2B_NV_PUBLIC(public), session1=session)


def write_erasure_key(connection: Connection, secret: bytes, authorisation: bytes) -> None:
    """Put the erasure key into NV, in place of what stands there."""
    make_index(connection, ERASURE_INDEX, ERASURE_ATTRIBUTES, SECRET_BYTES, authorisation)
    index = _found(connection, ERASURE_INDEX, authorisation, "erasure_key")
    with connection.session() as session:
        connection.esys.nv_write(index, secret, auth_handle=index, session1=session)


def read_erasure_key(connection: Connection, authorisation: bytes) -> bytes:
    """Read the erasure key. Tampered("erasure_key") if there is none, Tampered("tpm_authorisation")."""
    index = _found(connection, ERASURE_INDEX, authorisation, "erasure_key")
    with connection.session() as session:
        return bytes(connection.esys.nv_read(index, SECRET_BYTES, auth_handle=index, session1=session))


def make_counter(connection: Connection, authorisation: bytes) -> int:
    """Make the counter, in place of what stands there; give its first count."""
    make_index(connection, COUNTER_INDEX, COUNTER_ATTRIBUTES, COUNTER_BYTES, authorisation)
    return increment_counter(connection, authorisation)


def increment_counter(connection: Connection, authorisation: bytes) -> int:
    """Count one up; give the new count. Tampered("state_counter") if there is none, Tampered("tpm_authorisation")."""
    index = _found(connection, COUNTER_INDEX, authorisation, "state_counter")
    with connection.session() as session:
        connection.esys.nv_increment(index, auth_handle=index, session1=session)
    return read_counter(connection, authorisation)


def read_counter(connection: Connection, authorisation: bytes) -> int:
    """Give the count. Tampered("state_counter") if there is none, Tampered("tpm_authorisation")."""
    index = _found(connection, COUNTER_INDEX, authorisation, "state_counter")
    with connection.session() as session:
        return int.from_bytes(
            connection.esys.nv_read(index, COUNTER_BYTES, auth_handle=index, session1=session), "big"
        )


def _found(connection: Connection, index: int, authorisation: bytes, code: str) -> tss.ESYS_TR:
    if index not in connection.handles(index):
        raise Tampered(code)
    found = connection.esys.tr_from_tpmpublic(index)
    connection.esys.tr_set_auth(found, authorisation)
    return found
