"""vault's settings (/etc/praxissafe/vault.toml)."""

from __future__ import annotations

from appliance.core.settings import Settings


class VaultSettings(Settings, frozen=True, kw_only=True):
    """Where the TPM is (a TCTI string, tss2-tcti(7)) and where the state lies. A box needs no such file."""

    tcti: str = "device:/dev/tpmrm0"
    state: str = "/var/lib/praxissafe/vault"
