"""The TPM 2.0 as vault asks it: one connection, which one thread owns (tpm_connection.py, tpm_nv.py).

Handles, templates: docs/formats/key-hierarchy.md; policies: docs/formats/boot-policy.md. Sources: TCG TPM 2.0 Library
part 3. One code path for a chip and for swtpm. Failures: Tampered and TpmLost, as tpm_connection.py says.
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
from appliance.formats.attestation import Evidence, Identity, Question
from appliance.formats.boot_policy import PCR_SECURE_BOOT, BootPolicy
from appliance.vault import tpm_attestation, tpm_clear, tpm_nv, tpm_sealing, tpm_unlock
from appliance.vault.erasure_slots import ErasureKey
from appliance.vault.tpm_connection import FIXED, Connection, public_area, translated

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

    async def seal(self, secret: bytes, policy: bytes) -> Blob:
        """Seal 32 bytes to this TPM under a policy's digest."""
        return await self._in_thread(lambda: self._create("keyedhash", SEALED_ATTRIBUTES, b"", secret, policy))

    async def unseal(self, blob: Blob, policy: BootPolicy, key: bytes, pcr7: list[bytes]) -> bytes:
        """Give the half that this holder's approval and one of these values of PCR 7 open.

        Tampered("tpm_object"), and what tpm_sealing.why_refused says.
        """
        return await self._in_thread(lambda: self._unseal(blob, policy, key, pcr7))

    async def read_secure_boot(self) -> bytes:
        """Give PCR 7 as it is now."""
        return await self._in_thread(lambda: tpm_sealing.read_pcrs(self._connection)[PCR_SECURE_BOOT])

    async def make_floor(self, authorisation: bytes) -> None:
        """Make the floor of the security epoch, with no bit set."""
        await self._in_thread(lambda: tpm_sealing.make_floor(self._connection, authorisation))

    async def raise_floor(self, authorisation: bytes, epoch: int) -> None:
        """Shut this TPM for releases before an epoch, for good. Tampered("epoch_floor"), ("tpm_authorisation")."""
        await self._in_thread(lambda: tpm_sealing.raise_floor(self._connection, authorisation, epoch))

    async def check_unowned(self) -> None:
        """Raise Tampered("tpm_owned") if somebody owns this TPM already."""
        if await self._in_thread(self._connection.is_owned):
            raise Tampered("tpm_owned")

    async def own(self, authorisation: bytes) -> None:
        """Be the owner from now on: nobody else can undefine an index or put another in its place."""
        await self._in_thread(lambda: self._connection.own(authorisation))

    async def make_device(self, authorisation: bytes) -> Blob:
        """Make the device key in the TPM: ECDSA P-256, can never leave it."""
        return await self._in_thread(lambda: self._create("ecc256:ecdsa-sha256", DEVICE_ATTRIBUTES, authorisation))

    async def load_device(self, blob: Blob, authorisation: bytes) -> bytes:
        """Load the device key for `sign`; give its public key (SubjectPublicKeyInfo, DER)."""
        return await self._in_thread(lambda: self._load_device(blob, authorisation))

    async def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest with the device key: ECDSA, DER."""
        return await self._in_thread(lambda: self._sign(digest))

    async def identify(self) -> Identity:
        """Say who this TPM is and which keys it has. NotFound("endorsement_certificate")."""
        return await self._in_thread(lambda: tpm_attestation.identify(self._connection, self._device))

    async def prove(self, question: Question, qualifying: bytes) -> Evidence:
        """Answer the portal's question about TPM and device key. Tampered("credential")."""
        return await self._in_thread(
            lambda: tpm_attestation.prove(self._connection, self._device, question, qualifying)
        )

    async def make_erasure_slots(self, first: ErasureKey, authorisation: bytes) -> None:
        """Make the two slots of the erasure key, in place of what stands there, and put the first key in."""
        await self._in_thread(lambda: tpm_nv.make_erasure_slots(self._connection, first, authorisation))

    async def read_erasure_keys(self, authorisation: bytes) -> list[ErasureKey]:
        """Read them, oldest first. Tampered("erasure_key") if there is none, Tampered("tpm_authorisation")."""
        return await self._in_thread(lambda: tpm_nv.read_erasure_keys(self._connection, authorisation))

    async def write_erasure_key(self, key: ErasureKey, authorisation: bytes) -> None:
        """Put a key into the slot of its generation; it is there for good when this returns."""
        await self._in_thread(lambda: tpm_nv.write_erasure_key(self._connection, key, authorisation))

    async def destroy_erasure_key(self, generation: int, authorisation: bytes) -> None:
        """Overwrite the slot of a generation, for good."""
        await self._in_thread(lambda: tpm_nv.destroy_erasure_key(self._connection, generation, authorisation))

    async def make_counter(self, authorisation: bytes) -> int:
        """Make the counter of the state; give its count."""
        return await self._in_thread(lambda: tpm_nv.make_counter(self._connection, authorisation))

    async def read_counter(self, authorisation: bytes) -> int:
        """Give the count. Tampered("state_counter") if there is none, Tampered("tpm_authorisation")."""
        return await self._in_thread(lambda: tpm_nv.read_counter(self._connection, authorisation))

    async def increment_counter(self, authorisation: bytes) -> int:
        """Count one up, for good; give the new count. Failures as read_counter."""
        return await self._in_thread(lambda: tpm_nv.increment_counter(self._connection, authorisation))

    async def seal_by_pin(self, secret: bytes, authorisation: bytes) -> Blob:
        """Seal 32 bytes under an authorisation value of which the TPM counts wrong ones."""
        attributes = tpm_unlock.PIN_ATTRIBUTES
        return await self._in_thread(lambda: self._create("keyedhash", attributes, authorisation, secret))

    async def unseal_by_pin(self, blob: Blob, authorisation: bytes) -> bytes:
        """Give it. Refused("unlock_pin", tries_left), Unavailable("pin_lockout", wait_s), Tampered("tpm_object")."""
        return await self._in_thread(lambda: self._unseal_by_pin(blob, authorisation))

    async def guard_tries(self, authorisation: bytes) -> None:
        """Have the TPM count wrong PINs by our numbers; all tries are there then."""
        await self._in_thread(lambda: tpm_unlock.guard_tries(self._connection, authorisation))

    async def forgive_tries(self, authorisation: bytes) -> None:
        """Give all tries back: after a right PIN."""
        await self._in_thread(lambda: tpm_unlock.forgive_tries(self._connection, authorisation))

    async def read_tries(self) -> tuple[int, int]:
        """Give the tries that are left, and the seconds until one comes back at the latest."""
        return await self._in_thread(lambda: tpm_unlock.read_tries(self._connection))

    async def make_change_part(self, slot: int) -> bytes:
        """Make a new change part in a slot."""
        return await self._in_thread(lambda: tpm_unlock.make_change_part(self._connection, slot))

    async def read_change_part(self, slot: int) -> bytes:
        """Give the part in a slot; Tampered("change_part")."""
        return await self._in_thread(lambda: tpm_unlock.read_change_part(self._connection, slot))

    async def drop_change_part(self, slot: int) -> None:
        """Destroy the part in a slot, if there is one."""
        await self._in_thread(lambda: tpm_unlock.drop_change_part(self._connection, slot))

    async def check_clear(self) -> None:
        """Raise Tampered("clear_disabled") or ("clear_unauthorised") if this TPM cannot be cleared."""
        await self._in_thread(lambda: tpm_clear.check_clear(self._connection))

    async def keep_clearable(self, authorisation: bytes) -> None:
        """See to it that this TPM can be cleared without a secret; Tampered("clear_unauthorised")."""
        await self._in_thread(lambda: tpm_clear.keep_clearable(self._connection, authorisation))

    async def clear(self) -> None:
        """Begin anew: whatever was sealed to this TPM or kept in it is gone for good. As check_clear."""
        await self._in_thread(lambda: tpm_clear.clear(self._connection))
        await self.forget()

    async def forget(self) -> None:
        """Forget every authorisation and unload everything: a fresh connection."""
        await self._in_thread(self._forget)

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        def run() -> Answer:
            try:
                return work()
            except tss.TSS2_Exception as error:
                raise translated(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    # --- in the thread ----------------------------------------------------------------------------------------

    def _create(
        self, kind: str, attributes: str, authorisation: bytes, secret: bytes = b"", policy: bytes = b""
    ) -> Blob:
        template = public_area(kind, attributes)
        template.publicArea.authPolicy = policy
        sensitive = tss.TPMS_SENSITIVE_CREATE(userAuth=authorisation, data=secret)
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

    def _unseal(self, blob: Blob, policy: BootPolicy, key: bytes, pcr7: list[bytes]) -> bytes:
        handle = self._load(blob)
        try:
            with self._connection.session(tss.TPM2_SE.POLICY) as session:
                tpm_sealing.satisfy(self._connection, session, policy, key, pcr7)
                return bytes(self._connection.esys.unseal(handle, session1=session))
        except tpm_sealing.PolicyRefused as error:
            raise Tampered(tpm_sealing.why_refused(self._connection, policy, key, pcr7)) from error
        finally:
            self._connection.esys.flush_context(handle)

    def _unseal_by_pin(self, blob: Blob, authorisation: bytes) -> bytes:
        handle = self._load(blob)
        try:
            return tpm_unlock.unseal_by_pin(self._connection, handle, authorisation)
        finally:
            self._connection.esys.flush_context(handle)

    def _forget(self) -> None:
        self._device = None
        self._connection.close()
        self._connection.open()

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
