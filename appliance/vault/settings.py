"""vault's settings (/etc/praxissafe/vault.toml)."""

from __future__ import annotations

from appliance.core.settings import Settings


class VaultSettings(Settings, frozen=True, kw_only=True):
    """Where the TPM is (a TCTI string, tss2-tcti(7)) and where the state lies. A box needs no such file.

    `boot_policy` is what came with the image that booted (docs/formats/boot-policy.md), `release_keys` the public
    keys of the two release key holders (PEM), `firmware_variables` where the kernel shows the firmware's (efivarfs).
    """

    tcti: str = "device:/dev/tpmrm0"
    state: str = "/var/lib/praxissafe/vault"
    boot_policy: str = "/run/praxissafe-boot/policy.json"
    release_keys: str = "/usr/share/praxissafe/release-keys.pem"
    firmware_variables: str = "/sys/firmware/efi/efivars"
