"""The world's part in the demo's TPM: its maker, who puts an endorsement certificate into it, as into a chip.

swtpm_setup(8) does what a factory does, with an authority made for each state folder. The portal of this demo trusts
that authority and no other.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from appliance.core.errors import Unavailable
from appliance.demo.places import Places

#: swtpm's own name for what a TPM keeps.
STATE_FILE = "tpm2-00.permall"
#: The root first, then the authority under it that signs.
AUTHORITIES = ("swtpm-localca-rootca-cert.pem", "issuercert.pem")


def lay_tpm(places: Places) -> None:
    """Make the demo's TPM, once; it is there when it is whole.

    Unavailable("tpm_maker") if the tools fail, Unavailable("tpm_kept") if there is a TPM and its maker is not known.
    """
    folder, maker = places.world / "tpm", places.maker
    if (folder / STATE_FILE).exists():
        if not all((maker / name).exists() for name in AUTHORITIES):
            raise Unavailable("tpm_kept")
        return
    making = places.world / "tpm.making"
    shutil.rmtree(making, ignore_errors=True)  # of a start that was broken off
    for path in (making, maker):
        path.mkdir(mode=0o700, exist_ok=True)
    _write_settings(maker)
    made = subprocess.run(  # noqa: S603 (Debian's program, our own folders)
        [
            *("/usr/bin/swtpm_setup", "--tpm2", f"--tpmstate={making}", f"--config={maker}/setup.conf"),
            *("--create-ek-cert", "--pcr-banks=sha256", "--overwrite"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if made.returncode != 0:
        raise Unavailable("tpm_maker")
    making.rename(folder)


def authorities(places: Places) -> str:
    """Give the makers' file of a portal that knows this maker."""
    return "".join((places.maker / name).read_text() for name in AUTHORITIES)


def _write_settings(maker: Path) -> None:
    (maker / "setup.conf").write_text(
        "create_certs_tool = /usr/bin/swtpm_localca\n"
        f"create_certs_tool_config = {maker}/authority.conf\n"
        f"create_certs_tool_options = {maker}/options.conf\n"
    )
    (maker / "authority.conf").write_text(
        f"statedir = {maker}\nsigningkey = {maker}/signkey.pem\n"
        f"issuercert = {maker}/issuercert.pem\ncertserial = {maker}/certserial\n"
    )
    (maker / "options.conf").write_text(
        "--platform-manufacturer Praxissafe\n--platform-version 1\n--platform-model Demo\n"
    )
