"""What vault keeps in the TPM's NV memory: the erasure key in two slots, and the counter that its state is bound to.

Both are authorised by values that only the root key gives, and none is readable by the TPM's owner. The counter can
only rise: one that was undefined and made anew begins above every count this TPM has ever had. Sources: TCG TPM 2.0
Library part 1, section 37 (37.2.2 counters), and part 3, section 31. Runs in the connection's thread.
"""

from __future__ import annotations

import tpm2_pytss as tss

from appliance.core.errors import Tampered
from appliance.vault.erasure_slots import (
    EMPTY,
    SLOT_BYTES,
    ErasureKey,
    decode_slots,
    encode_slot,
    slot_of,
    unfinished,
)
from appliance.vault.tpm_connection import Connection

#: The slots of the erasure key (erasure_slots.py).
ERASURE_INDEXES = (0x01A50001, 0x01A50003)
COUNTER_INDEX = 0x01A50002
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


def make_erasure_slots(connection: Connection, first: ErasureKey, authorisation: bytes) -> None:
    """Make both slots, in place of what stands there, and put the first key into its own."""
    for number, index in enumerate(ERASURE_INDEXES):
        make_index(connection, index, ERASURE_ATTRIBUTES, SLOT_BYTES, authorisation)
        _write_slot(connection, number, EMPTY, authorisation)
    write_erasure_key(connection, first, authorisation)


def write_erasure_key(connection: Connection, key: ErasureKey, authorisation: bytes) -> None:
    """Put a key into the slot of its generation. Failures as read_erasure_keys."""
    _write_slot(connection, slot_of(key.generation), encode_slot(key), authorisation)


def destroy_erasure_key(connection: Connection, generation: int, authorisation: bytes) -> None:
    """Overwrite the slot of a generation. Failures as read_erasure_keys."""
    _write_slot(connection, slot_of(generation), EMPTY, authorisation)


def read_erasure_keys(connection: Connection, authorisation: bytes) -> list[ErasureKey]:
    """Read the keys, oldest first; empty a slot whose writing did not finish.

    Tampered("erasure_key") if there is none, Tampered("tpm_authorisation").
    """
    slots = [_read_slot(connection, index, authorisation) for index in ERASURE_INDEXES]
    keys = decode_slots(slots)
    for number in unfinished(slots):
        _write_slot(connection, number, EMPTY, authorisation)
    return keys


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


def _read_slot(connection: Connection, slot: int, authorisation: bytes) -> bytes:
    index = _found(connection, slot, authorisation, "erasure_key")
    with connection.session() as session:
        return bytes(connection.esys.nv_read(index, SLOT_BYTES, auth_handle=index, session1=session))


def _write_slot(connection: Connection, number: int, slot: bytes, authorisation: bytes) -> None:
    index = _found(connection, ERASURE_INDEXES[number], authorisation, "erasure_key")
    with connection.session() as session:
        connection.esys.nv_write(index, slot, auth_handle=index, session1=session)
