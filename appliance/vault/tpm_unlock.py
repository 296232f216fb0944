"""The TPM's share in unlocking: an object that a PIN opens, wrong PINs counted by the chip; and the change part.

The PIN is an authorisation value under the TPM's dictionary attack protection: no file counts, so no file put back
gives a try back. Who may reset that count is authorised from the root key. The change part is random, in one of two
indexes; every change of how the box is opened makes a new one, so key files of before open nothing. Sources: TCG TPM
2.0 Library part 1, section 19.8 (dictionary attack protection), part 3, section 25. Runs in the connection's thread.
"""

from __future__ import annotations

import secrets
from typing import Any

import tpm2_pytss as tss

from appliance.core.errors import Refused, Tampered, Unavailable
from appliance.vault.tpm_clear import allow_clear
from appliance.vault.tpm_connection import LOCKOUT_AUTH_SET, Connection
from appliance.vault.tpm_nv import make_index

#: Two, so that a power cut leaves the old or the new one.
PART_BYTES = 32
CHANGE_INDEXES = (0x01A50010, 0x01A50011)
#: Read by whoever has the TPM; written and taken away by its owner, which vault is.
CHANGE_ATTRIBUTES = "ownerwrite|authread|no_da"
#: No noda: wrong authorisations count.
PIN_ATTRIBUTES = "fixedtpm|fixedparent|userwithauth"

MAX_TRIES = 10
#: One try comes back after so long.
TRY_RETURNS_S = 1800
LOCKOUT_RECOVERY_S = 86400
NO_TRY_LEFT = int(tss.TPM2_RC.LOCKOUT)


def guard_tries(connection: Connection, authorisation: bytes) -> None:
    """Have the TPM count wrong PINs by our numbers, and nobody else reset the count; all tries are there then.

    A locked box can still be cleared (tpm_clear.py): that is seen to before there is a value, so that no power cut
    leaves a value without it.
    """
    esys = connection.esys
    allow_clear(connection, authorisation)
    if not connection.permanent() & LOCKOUT_AUTH_SET:
        with connection.session() as session:
            esys.hierarchy_change_auth(tss.ESYS_TR.LOCKOUT, authorisation, session1=session)
    esys.tr_set_auth(tss.ESYS_TR.LOCKOUT, authorisation)
    with connection.session() as session:
        esys.dictionary_attack_parameters(
            MAX_TRIES, TRY_RETURNS_S, LOCKOUT_RECOVERY_S, tss.ESYS_TR.LOCKOUT, session1=session
        )
    forgive_tries(connection, authorisation)


def forgive_tries(connection: Connection, authorisation: bytes) -> None:
    """Give all tries back: after a right PIN."""
    connection.esys.tr_set_auth(tss.ESYS_TR.LOCKOUT, authorisation)
    with connection.session() as session:
        connection.esys.dictionary_attack_lock_reset(tss.ESYS_TR.LOCKOUT, session1=session)


def read_tries(connection: Connection) -> tuple[int, int]:
    """Give the tries that are left, and the seconds until one comes back at the latest."""
    used = _property(connection, tss.TPM2_PT.LOCKOUT_COUNTER)
    left = max(0, _property(connection, tss.TPM2_PT.MAX_AUTH_FAIL) - used)
    return left, _property(connection, tss.TPM2_PT.LOCKOUT_INTERVAL) if used else 0


def unseal_by_pin(connection: Connection, handle: Any, authorisation: bytes) -> bytes:
    """Give what the object holds. Refused("unlock_pin", tries_left), Unavailable("pin_lockout", wait_s)."""
    connection.esys.tr_set_auth(handle, authorisation)
    try:
        with connection.session() as session:
            return bytes(connection.esys.unseal(handle, session1=session))
    except tss.TSS2_Exception as error:
        left, wait_s = read_tries(connection)
        if int(error.rc) == NO_TRY_LEFT or (int(error.error) == int(tss.TPM2_RC.AUTH_FAIL) and not left):
            raise Unavailable("pin_lockout", wait_s=wait_s) from error
        if int(error.error) == int(tss.TPM2_RC.AUTH_FAIL):
            raise Refused("unlock_pin", tries_left=left) from error
        raise


def make_change_part(connection: Connection, slot: int) -> bytes:
    """Make a new change part in a slot, in place of what stands there."""
    index, part = CHANGE_INDEXES[slot], secrets.token_bytes(PART_BYTES)
    make_index(connection, index, CHANGE_ATTRIBUTES, PART_BYTES, b"")
    with connection.session() as session:
        connection.esys.nv_write(
            connection.esys.tr_from_tpmpublic(index), part, auth_handle=tss.ESYS_TR.OWNER, session1=session
        )
    return part


def read_change_part(connection: Connection, slot: int) -> bytes:
    """Give the part in a slot; Tampered("change_part") if there is none: the key file is an older one."""
    index = CHANGE_INDEXES[slot]
    if index not in connection.handles(index):
        raise Tampered("change_part")
    handle = connection.esys.tr_from_tpmpublic(index)
    with connection.session() as session:
        return bytes(connection.esys.nv_read(handle, PART_BYTES, auth_handle=handle, session1=session))


def drop_change_part(connection: Connection, slot: int) -> None:
    """Destroy the part in a slot, if there is one."""
    index = CHANGE_INDEXES[slot]
    if index in connection.handles(index):
        with connection.session() as session:
            connection.esys.nv_undefine_space(connection.esys.tr_from_tpmpublic(index), session1=session)


def _property(connection: Connection, which: tss.TPM2_PT) -> int:
    _, capability = connection.esys.get_capability(tss.TPM2_CAP.TPM_PROPERTIES, which, 1)
    return int(capability.data.tpmProperties[0].value)
