"""A TPM 2.0 in software (swtpm), one for each caller, with its own state; the code under test is the shipped one."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

START_TIMEOUT_S = 10.0


@contextlib.contextmanager
def software_tpm(folder: Path) -> Iterator[str]:
    """Run swtpm with its state in `folder` and give the TCTI string; ends it.

    The TSS speaks to the control socket too and expects it beside the other one, as `<path>.ctrl`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, control = folder / "tpm.sock", folder / "tpm.sock.ctrl"
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--flags", "not-need-init,startup-clear"]
    command += ["--server", f"type=unixio,path={path}", "--ctrl", f"type=unixio,path={control}"]
    for left_over in (path, control):  # of an earlier one: it would seem to be there already
        left_over.unlink(missing_ok=True)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for channel in (control, path):
            _wait_until_it_listens(channel)
        yield f"swtpm:path={path}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_listens(path: Path) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while True:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(path))
            except OSError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.01)
                continue
            return
