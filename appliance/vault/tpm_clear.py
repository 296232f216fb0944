"""TPM2_Clear: the TPM's new beginning, after which nothing that its owner ever sealed or kept in it exists.

The lockout hierarchy authorises it. Its authorisation value follows from the root key, once a PIN was chosen, and a
box that is locked or shut has no root key. So the hierarchy also gets a policy that authorises this one command, and
nothing else, without a secret: whoever holds the TPM can destroy what it keeps by other means as well. A policy
without a secret is not subject to the dictionary attack protection, so nobody can lock a reset out by guessing.
Sources: TCG TPM 2.0 Library part 1, section 19.8.4 (lockoutAuth), part 3, sections 23.11 (PolicyCommandCode), 24.3
(SetPrimaryPolicy), 24.6 (Clear), 24.7 (ClearControl). Runs in the connection's thread.
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


def allow_clear(connection: Connection) -> None:
    """Let the lockout hierarchy authorise Clear, and nothing else, without its authorisation value.

    That value is to be known to the connection. The library's own method does not let this hierarchy through, which
    the specification names (part 3, section 24.3).
    """
    policy, esys = tss.TPM2B_DIGEST(CLEAR_POLICY), connection.esys
    with connection.session() as session:
        nothing = tss.ESYS_TR.NONE
        _chkrc(
            lib.Esys_SetPrimaryPolicy(
                esys._ctx, tss.ESYS_TR.LOCKOUT, session, nothing, nothing, policy._cdata, tss.TPM2_ALG.SHA256
            )
        )


def check_clear(connection: Connection) -> None:
    """Raise Tampered("clear_disabled") where somebody has forbidden Clear; only the firmware can allow it again."""
    if connection.permanent() & DISABLE_CLEAR:
        raise Tampered("clear_disabled")


def clear(connection: Connection) -> None:
    """Begin anew: seeds, indexes, authorisation values. A second time in a row changes nothing that matters.

    The connection is of no use afterwards. Tampered("clear_disabled").
    """
    check_clear(connection)
    if connection.permanent() & LOCKOUT_AUTH_SET:
        with connection.session(tss.TPM2_SE.POLICY, encrypting=False) as session:
            connection.esys.policy_command_code(session, tss.TPM2_CC.Clear)
            connection.esys.clear(tss.ESYS_TR.LOCKOUT, session1=session)
    else:
        with connection.session(encrypting=False) as session:
            connection.esys.clear(tss.ESYS_TR.LOCKOUT, session1=session)
