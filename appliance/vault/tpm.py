"""The TPM 2.0: the only door to tpm2-pytss, and one thread owns it.

Every command that carries a secret runs in a session of its own, salted to the storage root and encrypting the
first parameter (AES-128-CFB), so that a probe on the bus sees nothing. Handles, templates, policy:
docs/formats/key-hierarchy.md. Sources: TCG TPM 2.0 Library part 1 (sections 17, 19, 21) and part 3; TCG EK
Credential Profile, template of the storage root; TSS 2.0 ESAPI. One code path for a chip and for swtpm.

Tampered: the TPM refuses a blob, an authorisation or the boot state. Any other failure of the TPM is TpmLost and
ends the process, which is started again with a fresh connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import tpm2_pytss as tss
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.core.errors import Tampered

STORAGE_ROOT = 0x81000001
ERASURE_INDEX = 0x01A50001
SEALING_PCRS = "sha256:7"
SECRET_BYTES = 32
MAX_HANDLES = 64

_FIXED = "fixedtpm|fixedparent|noda"
STORAGE_ROOT_ATTRIBUTES = f"{_FIXED}|sensitivedataorigin|userwithauth|restricted|decrypt"
DEVICE_ATTRIBUTES = f"{_FIXED}|sensitivedataorigin|userwithauth|sign"
#: No userwithauth: only the policy opens it.
SEALED_ATTRIBUTES = _FIXED
ERASURE_ATTRIBUTES = "authread|authwrite|no_da"

Answer = TypeVar("Answer")


class TpmLost(Exception):
    """The TPM does not answer as it should; ends the process."""


class Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object that only this TPM can load: its public part and its private part, encrypted by the storage root."""

    public: bytes
    private: bytes


class Tpm:
    """One connection to the TPM. `close` it."""

    def __init__(self, tcti: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tpm")
        self._tcti = tcti
        self._esys: Any = None
        self._root: Any = None
        self._device: Any = None

    async def open(self) -> bytes:
        """Connect, drop what an earlier life left loaded, make the storage root if absent; give the root's name."""
        return await self._in_thread(self._open)

    async def close(self) -> None:
        """Disconnect; what stays loaded, the next `open` drops."""
        await self._in_thread(self._close)
        self._thread.shutdown()

    async def seal(self, secret: bytes) -> Blob:
        """Seal 32 bytes to this TPM and its present boot state (SEALING_PCRS)."""
        return await self._in_thread(lambda: self._create("keyedhash", SEALED_ATTRIBUTES, b"", secret))

    async def unseal(self, blob: Blob) -> bytes:
        """Give the sealed bytes. Tampered("tpm_object"), Tampered("boot_state")."""
        return await self._in_thread(lambda: self._unseal(blob))

    async def make_device(self, authorisation: bytes) -> Blob:
        """Make the device key in the TPM: ECDSA P-256, can never leave it."""
        return await self._in_thread(lambda: self._create("ecc256:ecdsa-sha256", DEVICE_ATTRIBUTES, authorisation))

    async def load_device(self, blob: Blob, authorisation: bytes) -> bytes:
        """Load the device key for `sign`; give its public key (SubjectPublicKeyInfo, DER)."""
        return await self._in_thread(lambda: self._load_device(blob, authorisation))

    async def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest with the device key: ECDSA, DER."""
        return await self._in_thread(lambda: self._sign(digest))

    async def write_erasure_key(self, secret: bytes, authorisation: bytes) -> None:
        """Put the erasure key into NV, in place of what stands there."""
        await self._in_thread(lambda: self._write_erasure_key(secret, authorisation))

    async def read_erasure_key(self, authorisation: bytes) -> bytes:
        """Read the erasure key. Tampered("erasure_key") if there is none, Tampered("tpm_authorisation")."""
        return await self._in_thread(lambda: self._read_erasure_key(authorisation))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        def run() -> Answer:
            try:
                return work()
            except tss.TSS2_Exception as error:
                raise _translated(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    # --- in the thread ----------------------------------------------------------------------------------------

    def _open(self) -> bytes:
        self._esys = tss.ESAPI(self._tcti)
        for first in (tss.TPM2_HC.TRANSIENT_FIRST, tss.TPM2_HC.LOADED_SESSION_FIRST):
            for handle in self._handles(first):
                self._esys.flush_context(self._esys.tr_from_tpmpublic(handle))
        if STORAGE_ROOT not in self._handles(STORAGE_ROOT):
            template = _public("ecc256:aes128cfb", STORAGE_ROOT_ATTRIBUTES)
            made, *_ = self._esys.create_primary(tss.TPM2B_SENSITIVE_CREATE(), template)
            self._esys.evict_control(tss.ESYS_TR.OWNER, made, STORAGE_ROOT)
            self._esys.flush_context(made)
        self._root = self._esys.tr_from_tpmpublic(STORAGE_ROOT)
        return bytes(self._esys.tr_get_name(self._root))

    def _close(self) -> None:
        if self._esys is not None:
            self._esys.close()

    def _handles(self, first: int) -> list[int]:
        _, capability = self._esys.get_capability(tss.TPM2_CAP.HANDLES, first, MAX_HANDLES)
        handles = capability.data.handles  # a view into `capability`
        found = [int(handles[place]) for place in range(handles.count)]
        return [handle for handle in found if handle >> 24 == int(first) >> 24]

    @contextmanager
    def _session(self, kind: tss.TPM2_SE = tss.TPM2_SE.HMAC) -> Iterator[Any]:
        cipher = tss.TPMT_SYM_DEF(
            algorithm=tss.TPM2_ALG.AES,
            keyBits=tss.TPMU_SYM_KEY_BITS(aes=128),
            mode=tss.TPMU_SYM_MODE(aes=tss.TPM2_ALG.CFB),
        )
        session = self._esys.start_auth_session(self._root, tss.ESYS_TR.NONE, kind, cipher, tss.TPM2_ALG.SHA256)
        try:
            encrypting = tss.TPMA_SESSION.DECRYPT | tss.TPMA_SESSION.ENCRYPT | tss.TPMA_SESSION.CONTINUESESSION
            self._esys.trsess_set_attributes(session, encrypting)
            yield session
        finally:
            self._esys.flush_context(session)

    def _create(self, kind: str, attributes: str, authorisation: bytes, secret: bytes | None = None) -> Blob:
        template = _public(kind, attributes)
        if secret is not None:
            template.publicArea.authPolicy = self._policy_digest()
        sensitive = tss.TPMS_SENSITIVE_CREATE(userAuth=authorisation, data=secret or b"")
        with self._session() as session:
            private, public, *_ = self._esys.create(
                self._root, tss.TPM2B_SENSITIVE_CREATE(sensitive), template, session1=session
            )
        return Blob(public.marshal(), private.marshal())

    def _load(self, blob: Blob) -> Any:
        try:
            public, _ = tss.TPM2B_PUBLIC.unmarshal(blob.public)
            private, _ = tss.TPM2B_PRIVATE.unmarshal(blob.private)
        except tss.TSS2_Exception as error:
            raise Tampered("tpm_object") from error
        with self._session() as session:
            return self._esys.load(self._root, private, public, session1=session)

    def _policy_digest(self) -> bytes:
        with self._session(tss.TPM2_SE.TRIAL) as trial:
            self._satisfy_policy(trial)
            return bytes(self._esys.policy_get_digest(trial))

    def _satisfy_policy(self, session: Any) -> None:
        self._esys.policy_pcr(session, tss.TPM2B_DIGEST(), tss.TPML_PCR_SELECTION.parse(SEALING_PCRS))

    def _unseal(self, blob: Blob) -> bytes:
        handle = self._load(blob)
        try:
            with self._session(tss.TPM2_SE.POLICY) as session:
                self._satisfy_policy(session)
                return bytes(self._esys.unseal(handle, session1=session))
        finally:
            self._esys.flush_context(handle)

    def _load_device(self, blob: Blob, authorisation: bytes) -> bytes:
        self._device = self._load(blob)
        self._esys.tr_set_auth(self._device, authorisation)
        public, *_ = self._esys.read_public(self._device)
        point = public.publicArea.unique.ecc
        numbers = ec.EllipticCurvePublicNumbers(_number(point.x), _number(point.y), ec.SECP256R1())
        return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def _sign(self, digest: bytes) -> bytes:
        scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL)
        no_ticket = tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL)
        with self._session() as session:
            made = self._esys.sign(self._device, tss.TPM2B_DIGEST(digest), scheme, no_ticket, session1=session)
        signature = made.signature.ecdsa
        return utils.encode_dss_signature(_number(signature.signatureR), _number(signature.signatureS))

    def _write_erasure_key(self, secret: bytes, authorisation: bytes) -> None:
        if ERASURE_INDEX in self._handles(ERASURE_INDEX):
            stale = self._esys.tr_from_tpmpublic(ERASURE_INDEX)
            self._esys.nv_undefine_space(stale)
        attributes = tss.TPMA_NV.parse(ERASURE_ATTRIBUTES)
        public = tss.TPMS_NV_PUBLIC(
            nvIndex=ERASURE_INDEX, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, dataSize=SECRET_BYTES
        )
        with self._session() as session:
            index = self._esys.nv_define_space(authorisation, tss.TPM2B_NV_PUBLIC(public), session1=session)
            self._esys.tr_set_auth(index, authorisation)
            self._esys.nv_write(index, secret, auth_handle=index, session1=session)

    def _read_erasure_key(self, authorisation: bytes) -> bytes:
        if ERASURE_INDEX not in self._handles(ERASURE_INDEX):
            raise Tampered("erasure_key")
        index = self._esys.tr_from_tpmpublic(ERASURE_INDEX)
        self._esys.tr_set_auth(index, authorisation)
        with self._session() as session:
            return bytes(self._esys.nv_read(index, SECRET_BYTES, auth_handle=index, session1=session))


def _public(kind: str, attributes: str) -> tss.TPM2B_PUBLIC:
    return tss.TPM2B_PUBLIC.parse(kind, objectAttributes=tss.TPMA_OBJECT.parse(attributes))


def _number(value: Any) -> int:
    return int.from_bytes(bytes(value), "big")


def _translated(error: tss.TSS2_Exception) -> Exception:
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
