"""What the image and the firmware say about this boot: the signed policy, the holders' keys, Secure Boot.

Nothing here is believed where it matters: the policy and the keys only open what the TPM was told to open for them.
Secure Boot is asked once, before keys are made; afterwards PCR 7 holds it. Sources: UEFI 2.10, section 3.3
(SecureBoot, SetupMode); the kernel's efivarfs (four bytes of attributes, then the value).
"""

from __future__ import annotations

from pathlib import Path

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats.boot_policy import MAX_POLICY_FILE_BYTES, BootPolicy, decode_boot_policy, read_release_keys
from appliance.vault.files import read_capped

GLOBAL_VARIABLE = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
MAX_RELEASE_KEYS_BYTES = 4096
MAX_VARIABLE_BYTES = 64
ATTRIBUTES_BYTES = 4
ON, OFF = b"\1", b"\0"


def read_boot_policy(path: str) -> BootPolicy:
    """Give the policy that came with the image; one without boots if there is none, or it is damaged."""
    try:
        return decode_boot_policy(read_capped(Path(path), MAX_POLICY_FILE_BYTES, "boot_policy"))
    except (OSError, Invalid, Tampered):
        return BootPolicy(epoch=0, boots=[])


def read_holders(path: str) -> list[bytes]:
    """Give the two holders' public keys; Invalid("release_keys")."""
    try:
        return read_release_keys(read_capped(Path(path), MAX_RELEASE_KEYS_BYTES, "release_keys"))
    except (OSError, Tampered) as error:
        raise Invalid("release_keys") from error


def check_secure_boot(variables: str) -> None:
    """Refuse, Refused("secure_boot"), unless the firmware enforces Secure Boot and has its keys."""
    if _value(variables, "SecureBoot") != ON or _value(variables, "SetupMode") != OFF:
        raise Refused("secure_boot")


def _value(variables: str, name: str) -> bytes:
    try:
        raw = read_capped(Path(variables, f"{name}-{GLOBAL_VARIABLE}"), MAX_VARIABLE_BYTES, "secure_boot")
    except (OSError, Tampered):
        return b""
    return raw[ATTRIBUTES_BYTES:]
