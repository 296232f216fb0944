"""What restic takes to fetch the same generation by itself: the limit that a restore is measured against."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from appliance.vault.kit_key import of_seed
from appliance.vault.kit_sheets import combine_sheets


def repository_password(sheets: list[list[str]]) -> str:
    """Give what two sheets open the repository with."""
    seed, _ = combine_sheets(" ".join(sheets[0]), " ".join(sheets[1]))
    return of_seed(seed).repository_password


def restore_alone_s(repository: Path, password: str, generation: int, beside: Path) -> float:
    """Fetch a generation with restic and nothing else, into a folder of the same file system; give the seconds."""
    with tempfile.TemporaryDirectory(dir=beside, prefix="restic-alone-") as folder:
        environment = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": password, "RESTIC_CACHE_DIR": f"{folder}/cache"}
        command = ["restic", "--repo", str(repository), "restore", "latest", "--no-lock"]
        command += ["--tag", f"generation={generation}", "--target", f"{folder}/out"]
        os.sync()
        began = time.monotonic()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        took_s = time.monotonic() - began
        return took_s
