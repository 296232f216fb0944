"""The world's part in the demo's boot: two release key holders who sign it, and a firmware with Secure Boot on.

Keys are made for each state folder. The box sees public keys, policy and variables; the private keys stay outside.
"""

from __future__ import annotations

from appliance.demo.measuring import pcr_after
from appliance.demo.places import Places
from appliance.formats.boot_policy import encode_boot_policy
from provisioning.files import replace_file
from provisioning.releases.boot_policy import draft, new_holder_key, private_pem, public_pem, read_holder_key, sign

HOLDERS = ("one", "two")
EPOCH = 0
#: SecureBoot and SetupMode as efivarfs shows them: four bytes of attributes, then the value (UEFI 2.10, section 3.3).
VARIABLES = {"SecureBoot": b"\x06\0\0\0\1", "SetupMode": b"\x06\0\0\0\0"}
GLOBAL_VARIABLE = "8be4df61-93ca-11d2-aa0d-00e098032b8c"


def lay_release(places: Places) -> None:
    """Write what came with the image and what the firmware says into `places.boot`."""
    places.boot.mkdir(exist_ok=True)
    places.holders.mkdir(mode=0o700, exist_ok=True)
    policy, public = draft(EPOCH, [pcr_after()]), b""
    for holder in HOLDERS:
        path = places.holders / f"{holder}.pem"
        if not path.exists():
            replace_file(path, private_pem(new_holder_key()), mode=0o600)
        key = read_holder_key(path.read_bytes())
        policy = sign(policy, key)
        public += public_pem(key)
    replace_file(places.boot / "policy.json", encode_boot_policy(policy), mode=0o644)
    replace_file(places.boot / "release-keys.pem", public, mode=0o644)
    for name, value in VARIABLES.items():
        replace_file(places.boot / f"{name}-{GLOBAL_VARIABLE}", value, mode=0o644)
    places.boot.chmod(0o755)
