"""What restic takes to fetch the same generation by itself: the limit that a restore is measured against."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from appliance.formats.kit_key import of_seed
from appliance.formats.kit_sheets import combine_sheets

LONGEST_WAIT_S = 60.0


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
        return time.monotonic() - began


async def until_list_is_out(repository: Path, password: str, identifiers: int) -> None:
    """Wait until the list of what was erased, with so many identifiers, lies in the repository."""
    environment = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": password, "RESTIC_CACHE_DIR": tempfile.gettempdir()}
    restic = ["restic", "--repo", str(repository), "--no-lock"]
    give_up_at = time.monotonic() + LONGEST_WAIT_S
    while True:
        listed = await asyncio.to_thread(_said, [*restic, "snapshots", "--json"], environment)
        numbered = {tag: one["id"] for one in json.loads(listed or "[]") for tag in one["tags"] if "erased=" in tag}
        if numbered:
            newest = numbered[max(numbered, key=lambda tag: int(tag.partition("=")[2]))]
            said = await asyncio.to_thread(_said, [*restic, "dump", newest, "snapshot/erased.json"], environment)
            if said and len(json.loads(said)["documents"]) >= identifiers:
                return
        assert time.monotonic() < give_up_at, listed
        await asyncio.sleep(1)


def _said(command: list[str], environment: dict[str, str]) -> bytes:
    """Give what a command says; nothing if it fails: backup may be writing."""
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False).stdout
