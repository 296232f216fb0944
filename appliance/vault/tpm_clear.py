"""TPM2_Clear: the TPM's new beginning, after which nothing that its owner ever sealed or kept in it exists.

The lockout hierarchy authorises it. Its authorisation value follows from the root key, once a PIN was chosen, and a
box that is locked or shut has no root key. So the hierarchy also gets a policy that authorises this one command, and
nothing else, without a secret: whoever holds the TPM can destroy what it keeps by other means as well. A policy
without a secret is not subject to the dictionary attack protection, so nobody can lock a reset out by guessing.
The policy is there before the value is; a box that has a value without it (an earlier release, a changed policy) gets
it at its next opening, and until then says so before a reset begins.
Sources: TCG TPM 2.0 Library part 1, section 19.8.4 (lockoutAuth), part 3, sections 23.11 (PolicyCommandCode), 24.3
(SetPrimaryPolicy), 24.6 (Clear), 24.7 (ClearControl), 30.2 (GetCapability; TPM_CAP_AUTH_POLICIES came with revision
1.38). Runs in the connection's thread.
"""

from __future__ import annotations

import hashlib

import tpm2_pytss as tss
from tpm2_pytss._libtpm2_pytss import lib
from tpm2_pytss.internal.utils import _chkrc

from appliance.core.errors import Tampered
from appliance.vault.tpm_connection import LOCKOUT_AUTH_SET, Connection

#: TPMA_PERMANENT, disableClear (part 2, section 8.6).
DISABLE_CLEAR = 1 << 8
#: PolicyCommandCode(TPM2_CC_Clear), from nothing.
CLEAR_POLICY = hashlib.sha256(
    bytes(32) + int(tss.TPM2_CC.PolicyCommandCode).to_bytes(4, "big") + int(tss.TPM2_CC.Clear).to_bytes(4, "big")
).digest()


def allow_clear(connection: Connection, authorisation: bytes) -> None:
    """Let the lockout hierarchy authorise Clear, and nothing else, without its authorisation value, if it has one.

    The library's own method does not let this hierarchy through, which the specification names (part 3, section
    24.3).
    """
    policy, esys = tss.TPM2B_DIGEST(CLEAR_POLICY), connection.esys
    if connection.permanent() & LOCKOUT_AUTH_SET:
        esys.tr_set_auth(tss.ESYS_TR.LOCKOUT, authorisation)
    with connection.session() as session:
        nothing = tss.ESYS_TR.NONE
        _chkrc(
            lib.Esys_SetPrimaryPolicy(
                esys._ctx, tss.ESYS_TR.LOCKOUT, session, nothing, nothing, policy._cdata, tss.TPM2_ALG.SHA256
            )
        )


def keep_clearable(connection: Connection, authorisation: bytes) -> None:
    """Put the policy where there is a value without it; Tampered("clear_unauthorised") if the TPM refuses."""
    if _is_authorised(connection):
        return
    try:
        allow_clear(connection, authorisation)
    except tss.TSS2_Exception as error:
        raise Tampered("clear_unauthorised") from error


def check_clear(connection: Connection) -> None:
    """Raise what would keep this TPM from being cleared.

    Tampered("clear_disabled") where somebody has forbidden Clear: only the firmware can allow it again.
    Tampered("clear_unauthorised") where nothing that we have authorises it.
    """
    if connection.permanent() & DISABLE_CLEAR:
        raise Tampered("clear_disabled")
    if not _is_authorised(connection):
        raise Tampered("clear_unauthorised")


def clear(connection: Connection) -> None:
    """Begin anew: seeds, indexes, authorisation values. A second time in a row changes nothing that matters.

    The connection is of no use afterwards. What check_clear raises.
    """
    check_clear(connection)
    if connection.permanent() & LOCKOUT_AUTH_SET:
        with connection.session(tss.TPM2_SE.POLICY, encrypting=False) as session:
            connection.esys.policy_command_code(session, tss.TPM2_CC.Clear)
            connection.esys.clear(tss.ESYS_TR.LOCKOUT, session1=session)
    else:
        with connection.session(encrypting=False) as session:
            connection.esys.clear(tss.ESYS_TR.LOCKOUT, session1=session)


def _is_authorised(connection: Connection) -> bool:
    """Say whether Clear needs no secret: no value is set, or our policy is (a TPM that cannot tell counts as no)."""
    if not connection.permanent() & LOCKOUT_AUTH_SET:
        return True
    try:
        _, capability = connection.esys.get_capability(tss.TPM2_CAP.AUTH_POLICIES, tss.TPM2_RH.LOCKOUT, 1)
    except tss.TSS2_Exception:
        return False
    policies = capability._cdata.data.authPolicies  # the library has no type of its own for these
    if policies.count != 1 or policies.policies[0].handle != int(tss.TPM2_RH.LOCKOUT):
        return False
    policy = policies.policies[0].policyHash
    return policy.hashAlg == int(tss.TPM2_ALG.SHA256) and bytes(policy.digest.sha256[0:32]) == CLEAR_POLICY
