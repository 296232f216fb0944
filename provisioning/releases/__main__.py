"""`python -m provisioning.releases COMMAND …`: a release key holder's commands (docs/formats/boot-policy.md).

    new-key KEY                        make a holder's key; prints the public half
    draft POLICY --epoch N PCR11 …     begin a release's boot policy, PCR 11 as systemd-measure(1) gives it
    sign POLICY --key KEY              sign every boot of it
    check POLICY --release-keys PEM    exit status 0 if both holders signed every boot, 4 if not

A draft is made anew by each holder who wants to be sure, and compared; what is signed is computed, not read.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from appliance.core.errors import Invalid, PraxisError
from appliance.formats.boot_policy import decode_boot_policy, encode_boot_policy, read_release_keys
from provisioning.files import replace_file
from provisioning.releases import boot_policy

NOT_SIGNED = 4


def main(words: list[str]) -> int:
    """Run a command; 0 done, 2 the input is wrong, 4 not signed by both holders."""
    try:
        chosen = _parser().parse_args(words)
        return int(chosen.run(chosen))
    except (OSError, PraxisError) as error:
        print(error.code if isinstance(error, PraxisError) else error.strerror, file=sys.stderr)
        return 2


def _new_key(chosen: argparse.Namespace) -> int:
    key = boot_policy.new_holder_key()
    descriptor = os.open(chosen.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(boot_policy.private_pem(key))
    print(boot_policy.public_pem(key).decode(), end="")
    return 0


def _draft(chosen: argparse.Namespace) -> int:
    replace_file(chosen.policy, encode_boot_policy(boot_policy.draft(chosen.epoch, chosen.pcr11)), mode=0o644)
    return 0


def _sign(chosen: argparse.Namespace) -> int:
    policy = decode_boot_policy(chosen.policy.read_bytes())
    signed = boot_policy.sign(policy, boot_policy.read_holder_key(chosen.key.read_bytes()))
    replace_file(chosen.policy, encode_boot_policy(signed), mode=0o644)
    return 0


def _check(chosen: argparse.Namespace) -> int:
    policy = decode_boot_policy(chosen.policy.read_bytes())
    if not policy.boots:
        raise Invalid("boot_policy")
    missing = boot_policy.unsigned(policy, read_release_keys(chosen.release_keys.read_bytes()))
    for pcr11 in missing:
        print(pcr11)
    return NOT_SIGNED if missing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m provisioning.releases")
    commands = parser.add_subparsers(required=True)
    new_key = commands.add_parser("new-key")
    new_key.add_argument("key", type=Path)
    new_key.set_defaults(run=_new_key)
    draft = commands.add_parser("draft")
    draft.add_argument("policy", type=Path)
    draft.add_argument("--epoch", type=int, required=True)
    draft.add_argument("pcr11", nargs="+")
    draft.set_defaults(run=_draft)
    sign = commands.add_parser("sign")
    sign.add_argument("policy", type=Path)
    sign.add_argument("--key", type=Path, required=True)
    sign.set_defaults(run=_sign)
    check = commands.add_parser("check")
    check.add_argument("policy", type=Path)
    check.add_argument("--release-keys", type=Path, required=True)
    check.set_defaults(run=_check)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
