"""The connection to the TPM 2.0, used in one thread: what is loaded, sessions, and what a refusal means.

Every command that carries a secret runs in a session of its own, salted to the storage root and encrypting the
first parameter (AES-128-CFB), so that a probe on the bus sees nothing. Sources: TCG TPM 2.0 Library part 1
(sections 17, 19, 21); TCG EK Credential Profile, template of the storage root; TSS 2.0 ESAPI.

Tampered: the TPM refuses a blob, an authorisation or the boot state. Any other failure of the TPM is TpmLost and
ends the process, which is started again with a fresh connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tpm2_pytss as tss

from appliance.core.errors import Tampered

STORAGE_ROOT = 0x81000001
MAX_HANDLES = 64
#: TPMA_PERMANENT: ownerAuthSet, lockoutAuthSet (part 2, section 8.6).
OWNER_AUTH_SET = 1
LOCKOUT_AUTH_SET = 4

FIXED = "fixedtpm|fixedparent|noda"
STORAGE_ROOT_ATTRIBUTES = f"{FIXED}|sensitivedataorigin|userwithauth|restricted|decrypt"


class TpmLost(Exception):
    """The TPM does not answer as it should; ends the process."""


class Connection:
    """One connection, for one thread; the owner closes it. `esys` and `root` are there once it is open."""

    def __init__(self, tcti: str) -> None:
        self._tcti = tcti
        self.esys: Any = None
        #: The storage root's handle.
        self.root: Any = None

    def open(self) -> bytes:
        """Connect, drop what an earlier life left loaded, make the storage root if absent; give the root's name."""
        self.esys = tss.ESAPI(self._tcti)
        for first in (tss.TPM2_HC.TRANSIENT_FIRST, tss.TPM2_HC.LOADED_SESSION_FIRST):
            for handle in self.handles(first):
                self.esys.flush_context(self.esys.tr_from_tpmpublic(handle))
        if STORAGE_ROOT not in self.handles(STORAGE_ROOT):
            template = public_area("ecc256:aes128cfb", STORAGE_ROOT_ATTRIBUTES)
            made, *_ = self.esys.create_primary(tss.TPM2B_SENSITIVE_CREATE(), template)
            self.esys.evict_control(tss.ESYS_TR.OWNER, made, STORAGE_ROOT)
            self.esys.flush_context(made)
        self.root = self.esys.tr_from_tpmpublic(STORAGE_ROOT)
        return bytes(self.esys.tr_get_name(self.root))

    def close(self) -> None:
        """Disconnect; what stays loaded, the next `open` drops."""
        if self.esys is not None:
            self.esys.close()

    def is_owned(self) -> bool:
        """True if the owner hierarchy has an authorisation value."""
        return bool(self.permanent() & OWNER_AUTH_SET)

    def permanent(self) -> int:
        """Give the bits of TPM_PT_PERMANENT (part 2, section 8.6)."""
        _, capability = self.esys.get_capability(tss.TPM2_CAP.TPM_PROPERTIES, tss.TPM2_PT.PERMANENT, 1)
        return int(capability.data.tpmProperties[0].value)

    def own(self, authorisation: bytes) -> None:
        """Give the owner hierarchy this authorisation value if it has none, and use it from now on."""
        if not self.is_owned():
            with self.session() as session:
                self.esys.hierarchy_change_auth(tss.ESYS_TR.OWNER, authorisation, session1=session)
        self.esys.tr_set_auth(tss.ESYS_TR.OWNER, authorisation)

    def handles(self, first: int) -> list[int]:
        """Give the handles of the same kind as `first` that exist, from there on (TPM2_GetCapability)."""
        _, capability = self.esys.get_capability(tss.TPM2_CAP.HANDLES, first, MAX_HANDLES)
        handles = capability.data.handles  # a view into `capability`
        found = [int(handles[place]) for place in range(handles.count)]
        return [handle for handle in found if handle >> 24 == int(first) >> 24]

    @contextmanager
    def session(self, kind: tss.TPM2_SE = tss.TPM2_SE.HMAC, *, encrypting: bool = True) -> Iterator[Any]:
        """Give a salted, encrypting session for one command or one policy; it is flushed at the end.

        `encrypting=False` is for a policy whose object's authorisation value is not known: that value is a part of
        the encryption's key (part 1, section 21.2).
        """
        cipher = tss.TPMT_SYM_DEF(
            algorithm=tss.TPM2_ALG.AES,
            keyBits=tss.TPMU_SYM_KEY_BITS(aes=128),
            mode=tss.TPMU_SYM_MODE(aes=tss.TPM2_ALG.CFB),
        )
        session = self.esys.start_auth_session(self.root, tss.ESYS_TR.NONE, kind, cipher, tss.TPM2_ALG.SHA256)
        try:
            attributes = tss.TPMA_SESSION.CONTINUESESSION
            if encrypting:
                attributes |= tss.TPMA_SESSION.DECRYPT | tss.TPMA_SESSION.ENCRYPT
            self.esys.trsess_set_attributes(session, attributes)
            yield session
        finally:
            self.esys.flush_context(session)


def public_area(kind: str, attributes: str) -> tss.TPM2B_PUBLIC:
    """Give the template of an object (TPM 2.0 part 1, section 27)."""
    return tss.TPM2B_PUBLIC.parse(kind, objectAttributes=tss.TPMA_OBJECT.parse(attributes))


def translated(error: tss.TSS2_Exception) -> Exception:
    """Give what a failure of the TPM means: Tampered(code), or TpmLost."""
    code = REFUSALS.get(int(error.error))
    return TpmLost() if code is None else Tampered(code)


#: TPM response (part 2, section 6.6.3) -> what it means for a blob, an authorisation or a policy that vault presents.
REFUSALS = {
    int(tss.TPM2_RC.INTEGRITY): "tpm_object",
    int(tss.TPM2_RC.SIZE): "tpm_object",
    int(tss.TPM2_RC.BINDING): "tpm_object",
    int(tss.TPM2_RC.POLICY_FAIL): "boot_state",
    int(tss.TPM2_RC.PCR_CHANGED): "boot_state",
    int(tss.TPM2_RC.BAD_AUTH): "tpm_authorisation",
    int(tss.TPM2_RC.AUTH_FAIL): "tpm_authorisation",
    int(tss.TPM2_RC.NV_UNINITIALIZED): "erasure_key",
}
