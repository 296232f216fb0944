"""The TPM 2.0 as vault asks it: one connection, which one thread owns (tpm_connection.py, tpm_nv.py).

Handles, templates, policy: docs/formats/key-hierarchy.md. Sources: TCG TPM 2.0 Library part 3. One code path for a
chip and for swtpm. Failures: Tampered and TpmLost, as tpm_connection.py says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import tpm2_pytss as tss
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.core.errors import Tampered
from appliance.vault import tpm_nv
from appliance.vault.tpm_connection import FIXED, Connection, public_area, translated

SEALING_PCRS = "sha256:7"

DEVICE_ATTRIBUTES = f"{FIXED}|sensitivedataorigin|userwithauth|sign"
#: No userwithauth: only the policy opens it.
SEALED_ATTRIBUTES = FIXED

Answer = TypeVar("Answer")


class Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object that only this TPM can load: its public part and its private part, encrypted by the storage root."""

    public: bytes
    private: bytes


class Tpm:
    """One connection to the TPM. `close` it."""

    def __init__(self, tcti: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tpm")
        self._connection = Connection(tcti)
        self._device: Any = None

    async def open(self) -> bytes:
        """Connect, drop what an earlier life left loaded, make the storage root if absent; give the root's name."""
        return await self._in_thread(self._connection.open)

    async def close(self) -> None:
        """Disconnect; what stays loaded, the next `open` drops."""
        await self._in_thread(self._connection.close)
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
        await self._in_thread(lambda: tpm_nv.write_erasure_key(self._connection, secret, authorisation))

    async def read_erasure_key(self, authorisation: bytes) -> bytes:
        """Read the erasure key. Tampered("erasure_key") if there is none, Tampered("tpm_authorisation")."""
        return await self._in_thread(lambda: tpm_nv.read_erasure_key(self._connection, authorisation))

    async def make_counter(self, authorisation: bytes) -> int:
        """Make the counter of the state; give its count."""
        return await self._in_thread(lambda: tpm_nv.make_counter(self._connection, authorisation))

    async def read_counter(self, authorisation: bytes) -> int:
        """Give the count. Tampered("state_counter") if there is none, Tampered("tpm_authorisation")."""
        return await self._in_thread(lambda: tpm_nv.read_counter(self._connection, authorisation))

    async def increment_counter(self, authorisation: bytes) -> int:
        """Count one up, for good; give the new count. Failures as read_counter."""
        return await self._in_thread(lambda: tpm_nv.increment_counter(self._connection, authorisation))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        def run() -> Answer:
            try:
                return work()
            except tss.TSS2_Exception as error:
                raise translated(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    # --- in the thread ----------------------------------------------------------------------------------------

    def _create(self, kind: str, attributes: str, authorisation: bytes, secret: bytes | None = None) -> Blob:
        template = public_area(kind, attributes)
        if secret is not None:
            template.publicArea.authPolicy = self._policy_digest()
        sensitive = tss.TPMS_SENSITIVE_CREATE(userAuth=authorisation, data=secret or b"")
        with self._connection.session() as session:
            private, public, *_ = self._connection.esys.create(
                self._connection.root, tss.TPM2B_SENSITIVE_CREATE(sensitive), template, session1=session
            )
        return Blob(public.marshal(), private.marshal())

    def _load(self, blob: Blob) -> Any:
        try:
            public, _ = tss.TPM2B_PUBLIC.unmarshal(blob.public)
            private, _ = tss.TPM2B_PRIVATE.unmarshal(blob.private)
        except tss.TSS2_Exception as error:
            raise Tampered("tpm_object") from error
        with self._connection.session() as session:
            return self._connection.esys.load(self._connection.root, private, public, session1=session)

    def _policy_digest(self) -> bytes:
        with self._connection.session(tss.TPM2_SE.TRIAL) as trial:
            self._satisfy_policy(trial)
            return bytes(self._connection.esys.policy_get_digest(trial))

    def _satisfy_policy(self, session: Any) -> None:
        self._connection.esys.policy_pcr(session, tss.TPM2B_DIGEST(), tss.TPML_PCR_SELECTION.parse(SEALING_PCRS))

    def _unseal(self, blob: Blob) -> bytes:
        handle = self._load(blob)
        try:
            with self._connection.session(tss.TPM2_SE.POLICY) as session:
                self._satisfy_policy(session)
                return bytes(self._connection.esys.unseal(handle, session1=session))
        finally:
            self._connection.esys.flush_context(handle)

    def _load_device(self, blob: Blob, authorisation: bytes) -> bytes:
        self._device = self._load(blob)
        self._connection.esys.tr_set_auth(self._device, authorisation)
        public, *_ = self._connection.esys.read_public(self._device)
        point = public.publicArea.unique.ecc
        numbers = ec.EllipticCurvePublicNumbers(_number(point.x), _number(point.y), ec.SECP256R1())
        return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def _sign(self, digest: bytes) -> bytes:
        scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL)
        no_ticket = tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL)
        with self._connection.session() as session:
            made = self._connection.esys.sign(
                self._device, tss.TPM2B_DIGEST(digest), scheme, no_ticket, session1=session
            )
        signature = made.signature.ecdsa
        return utils.encode_dss_signature(_number(signature.signatureR), _number(signature.signatureS))


def _number(value: Any) -> int:
    return int.from_bytes(bytes(value), "big")
