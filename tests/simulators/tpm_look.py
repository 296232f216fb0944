"""A look into a TPM from outside the box, as somebody has it who holds the chip: what it still loads, what it keeps."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import tpm2_pytss as tss

from appliance.vault.tpm import Blob


def loads(tcti: str, blob: Blob) -> bool:
    """Load a sealed half by tpm2-tools under the storage root; loading comes before any policy."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "public").write_bytes(blob.public)
        (here / "private").write_bytes(blob.private)
        tool = ["tpm2_load", f"--tcti={tcti}", "--parent-context=0x81000001", "--key-context=loaded"]
        done = subprocess.run(
            [*tool, "--public=public", "--private=private"], cwd=here, capture_output=True, check=False
        )
        if done.returncode == 0:
            said = subprocess.run(
                ["tpm2_flushcontext", f"--tcti={tcti}", "--transient-object"], capture_output=True, check=False
            )
            assert said.returncode == 0, said.stderr
        return done.returncode == 0


def indexes(tcti: str) -> set[int]:
    """Give the NV indexes that there are."""
    with tss.ESAPI(tcti) as esys:
        _, found = esys.get_capability(tss.TPM2_CAP.HANDLES, tss.TPM2_HC.NV_INDEX_FIRST, 64)
        handles = found.data.handles
        return {int(handles[place]) for place in range(handles.count)}
