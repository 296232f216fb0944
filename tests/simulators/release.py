"""What a measured boot and the release key holders leave: PCRs, a signed policy, Secure Boot; and the settings for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import tpm2_pytss as tss
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.formats.boot_policy import BootPolicy, encode_boot_policy, read_release_keys
from appliance.vault.boot_files import GLOBAL_VARIABLE
from appliance.vault.settings import VaultSettings
from provisioning.releases import boot_policy

IMAGE = b"image 1"


def extended(*measured: bytes) -> bytes:
    """Give a PCR of the SHA-256 bank after these were measured into it (TPM 2.0 part 1, section 11.4.7)."""
    value = bytes(32)
    for data in measured:
        value = hashlib.sha256(value + hashlib.sha256(data).digest()).digest()
    return value


def measure(tcti: str, pcr: int, data: bytes) -> None:
    """Measure into a PCR, as firmware and boot loader do."""
    with tss.ESAPI(tcti) as esys:
        digest = tss.TPMT_HA(hashAlg=tss.TPM2_ALG.SHA256, digest=tss.TPMU_HA(sha256=hashlib.sha256(data).digest()))
        esys.pcr_extend(getattr(tss.ESYS_TR, f"PCR{pcr}"), tss.TPML_DIGEST_VALUES(digests=[digest]))


@dataclass
class Release:
    """The files beside an image, in `folder`; the holders' keys are made anew for each."""

    folder: Path
    holders: list[ec.EllipticCurvePrivateKey] = field(
        default_factory=lambda: [boot_policy.new_holder_key(), boot_policy.new_holder_key()]
    )

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "release-keys.pem").write_bytes(b"".join(map(boot_policy.public_pem, self.holders)))
        self.set_firmware(SecureBoot=1, SetupMode=0)

    @property
    def public_keys(self) -> list[bytes]:
        """The holders' public keys (DER)."""
        return read_release_keys((self.folder / "release-keys.pem").read_bytes())

    def set_firmware(self, **variables: int) -> None:
        """Put variables of the firmware, as efivarfs shows them: NV, boot service and runtime access, one byte."""
        for name, value in variables.items():
            (self.folder / f"{name}-{GLOBAL_VARIABLE}").write_bytes(b"\x06\0\0\0" + bytes([value]))

    def sign(self, *images: bytes, epoch: int = 0) -> BootPolicy:
        """Put the policy of a release with these images, signed by both holders."""
        policy = boot_policy.draft(epoch, [extended(image).hex() for image in images])
        for key in self.holders:
            policy = boot_policy.sign(policy, key)
        self.put(policy)
        return policy

    def put(self, policy: BootPolicy) -> None:
        """Put a policy beside the image."""
        (self.folder / "policy.json").write_bytes(encode_boot_policy(policy))

    def settings(self, tcti: str, state: Path) -> VaultSettings:
        """Give vault's settings."""
        return VaultSettings(
            tcti=tcti,
            state=str(state),
            boot_policy=str(self.folder / "policy.json"),
            release_keys=str(self.folder / "release-keys.pem"),
            firmware_variables=str(self.folder),
        )


def booted(folder: Path, tcti: str) -> Release:
    """Boot the first image on this TPM."""
    release = Release(folder)
    release.sign(IMAGE)
    measure(tcti, 11, IMAGE)
    return release
