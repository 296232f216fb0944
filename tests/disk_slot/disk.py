"""A LUKS2 disk in a file: cryptsetup(8) and systemd-cryptenroll(1) are the real ones, a software TPM opens it.

systemd's plugin for cryptsetup looks for the TPM in /sys/class/tpmrm and opens it as a device file (systemd 252, tpm2-util.c).
A software TPM is neither, so two things stand in, and nothing else: an empty folder of the right name in a private
mount namespace, and a library that opens the socket where a device would be opened.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.disk_slot.luks import Luks
from appliance.disk_slot.slot_files import SlotFiles
from appliance.formats.kit_key import KitSeed, of_seed
from appliance.formats.kit_public import KitPublic
from appliance.formats.kit_sheets import split_seed

BOX = "ab" * 16
DEVICE_LIBRARY = """
#include <tss2/tss2_tcti_swtpm.h>
static TSS2_RC begin(TSS2_TCTI_CONTEXT *context, size_t *size, const char *conf) {
    (void)conf;
    return Tss2_Tcti_Swtpm_Init(context, size, SOCKET);
}
static const TSS2_TCTI_INFO info = {2, "tcti-device", "stand-in", "", begin};
const TSS2_TCTI_INFO *Tss2_Tcti_Info(void) { return &info; }
"""


def run(*words: str, sent: bytes = b"", **environment: str) -> bytes:
    done = subprocess.run(words, input=sent, capture_output=True, env=os.environ | environment)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Kit:
    """A kit as the practice has it: three sheets."""

    seed: bytes
    sheets: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, number: int) -> Kit:
        seed = bytes([number]) * 32
        return cls(seed, split_seed(seed))

    @property
    def opened(self) -> KitSeed:
        return of_seed(self.seed)

    @property
    def public(self) -> KitPublic:
        return KitPublic(self.opened.kit, BOX, self.opened.public_key)


class Disk:
    """A disk in a file, with a key file in slot 0 as whoever formatted it has, and a folder as boot partition."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key_file, self.boot = folder / "disk", folder / "installer.key", folder / "boot"
        self.boot.mkdir(parents=True)
        self.key_file.write_bytes(b"installer")
        with self.path.open("wb") as file:
            file.truncate(20 << 20)
        words = "luksFormat --batch-mode --type luks2 --luks2-metadata-size 16k --luks2-keyslots-size 4m"
        quick = "--pbkdf pbkdf2 --pbkdf-force-iterations 1200"
        run("cryptsetup", *words.split(), *quick.split(), "--key-file", str(self.key_file), str(self.path))

    @property
    def luks(self) -> Luks:
        return Luks(str(self.path))

    @property
    def files(self) -> SlotFiles:
        return SlotFiles(self.boot)

    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("cryptsetup", "luksDump", "--dump-json-metadata", str(self.path)))
        return found

    def kit_tokens(self) -> list[dict[str, Any]]:
        return [each for each in self.metadata()["tokens"].values() if each["type"] == "praxissafe-kit"]

    def not_ours(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give slots and tokens that no token of a kit names."""
        found = self.metadata()
        ours = {slot for token in self.kit_tokens() for slot in token["keyslots"]}
        slots = {number: slot for number, slot in found["keyslots"].items() if number not in ours}
        return slots, {number: each for number, each in found["tokens"].items() if each["type"] != "praxissafe-kit"}

    def slot_files(self) -> list[Path]:
        return sorted(self.boot.glob("disk-slot-*"))

    def enrol_tpm(self, tcti: str) -> None:
        """Have a TPM open the disk, as the installer does."""
        unlocked = {"PASSWORD": self.key_file.read_text()}
        run("systemd-cryptenroll", f"--tpm2-device={tcti}", "--tpm2-pcrs=", str(self.path), **unlocked)


def cryptsetup_with(tcti: str, folder: Path) -> tuple[str, ...]:
    """Give a cryptsetup that finds a software TPM where a box has a chip."""
    folder.mkdir()
    source, library = folder / "device.c", folder / "libtss2-tcti-device.so.0"
    source.write_text(DEVICE_LIBRARY.replace("SOCKET", json.dumps(tcti.removeprefix("swtpm:"))))
    run("gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ltss2-tcti-swtpm")
    script = (
        f'mount -t tmpfs none /sys/class && mkdir -p /sys/class/tpmrm/tpmrm0 && LD_LIBRARY_PATH={folder} exec "$@"'
    )
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", "--mount", *as_root, "sh", "-c", script, "sh", "cryptsetup")
