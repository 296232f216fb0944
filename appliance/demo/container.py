"""The machine of the demo: real systemd in a systemd-nspawn container over this machine's own file system.

Keeps:
- The container sees an overlay of /; all it writes goes to memory, save the folders bound in (tree.py).
- Overlay and binds live in a mount namespace of their own, and the container dies with this process
  (PR_SET_PDEATHSIG, by setpriv(1)): nothing stays mounted or running, whatever ends the demo.
- The network is the machine's: the demo listens on 127.0.0.1 only.

Does not know what the box is made of. Sources: systemd-nspawn(1), mount_namespaces(7), cgroups(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.demo.processes import own_group, started_at

END_TIMEOUT_S = 20.0

#: $1 run folder, $2 layer, $3 control group or "", then the command. In a mount namespace of its own.
PREPARE = """
set -eu
run=$1 layer=$2 group=$3
shift 3
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 praxissafe-demo /run/systemd/nspawn
mount -t tmpfs -o mode=0755 praxissafe-demo "$run/memory"
mkdir "$run/memory/upper" "$run/memory/work" "$run/memory/root"
cp -R "$layer/." "$run/memory/upper/"
"$PYTHON" -c 'import os, sys; os.setxattr(sys.argv[1], "trusted.overlay.opaque", b"y")' \
    "$run/memory/upper/etc/systemd/system"
cd "$run/memory"
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
test -z "$group" || echo $$ > "$group/cgroup.procs"
exec "$@"
"""


class Container:
    """A running container; made by `boot`."""

    def __init__(self, nspawn: asyncio.subprocess.Process) -> None:
        self._nspawn = nspawn

    async def wait(self) -> None:
        """Wait until the container ends, by itself or by `end`."""
        await self._nspawn.wait()

    async def end(self) -> None:
        """Let systemd halt; after END_TIMEOUT_S, end it by force."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._nspawn.send_signal(sign)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nspawn.wait(), END_TIMEOUT_S)
                return


@asynccontextmanager
async def boot(
    run: Path, layer: Path, binds: Iterable[tuple[Path, Path, bool]], target: str, name: str, python: Path
) -> AsyncIterator[Container]:
    """Boot a container into `target`; it is gone when the block ends.

    `run` is a folder of this start; `layer` is laid over the machine's /; `binds` are (here, there, writable).
    """
    await end_leftover(run)
    memory = run / "memory"
    memory.mkdir(exist_ok=True)
    group = _make_group(name)
    command = [
        "systemd-nspawn",
        "--quiet",
        f"--directory={memory}/root",
        f"--machine={name}",
        "--register=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=read-only",
        # An empty network namespace gets its own loopback device: systemd 257 does without the namespace otherwise.
        "--capability=CAP_NET_ADMIN",
        # What systemd and the processes need to confine themselves, as they do on a box.
        "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self bpf",
        "--boot",
        "--kill-signal=SIGRTMIN+3",
        *(["--keep-unit"] if group else []),
        *(f"--{'bind' if writable else 'bind-ro'}={_escaped(here)}:{there}" for here, there, writable in binds),
        f"systemd.unit={target}",
        "systemd.log_target=console",
        "systemd.show_status=no",
    ]
    with (run / "console.log").open("wb") as console:
        nspawn = await asyncio.create_subprocess_exec(
            "setpriv",
            "--pdeathsig=TERM",
            "unshare",
            "--mount",
            "--propagation=slave",
            "--",
            "/bin/sh",
            "-c",
            PREPARE,
            "prepare",
            str(run),
            str(layer),
            str(group or ""),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHON": str(python),
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            },
            start_new_session=True,
        )
    container = Container(nspawn)
    (run / "container").write_text(f"{nspawn.pid} {started_at(nspawn.pid)} {group or ''}\n")
    try:
        yield container
    finally:
        await container.end()
        await end_leftover(run)


async def end_leftover(run: Path) -> None:
    """Wait for the container of a demo that was killed, end it if need be, and take away its control groups."""
    record = run / "container"
    try:
        pid, began, group = record.read_text().rstrip("\n").split(" ", 2)
    except FileNotFoundError:
        return
    if started_at(int(pid)) == int(began):
        descriptor = os.pidfd_open(int(pid))
        try:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, sign)
                if await _readable(descriptor, END_TIMEOUT_S):
                    break
        finally:
            os.close(descriptor)
    if group:
        _remove_groups(Path(group))
    record.unlink()


def _remove_groups(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


async def _readable(descriptor: int, timeout_s: float) -> bool:
    """Wait until a descriptor is readable: for a pidfd, until the process has ended (pidfd_open(2))."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), timeout_s)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


def _escaped(path: Path) -> str:
    """Write a path as systemd-nspawn(1) reads it in --bind=."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


def _make_group(name: str) -> Path | None:
    """Make a control group for the container where no systemd of this machine does it (sd_booted(3))."""
    if Path("/run/systemd/system").is_dir():
        return None
    group = own_group() / name
    group.mkdir(exist_ok=True)
    return group
