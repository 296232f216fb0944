"""Which processes a running demo has, as this machine numbers them: read from the container's control groups.

Asks nothing of the container and changes nothing. Sources: cgroups(7), proc(5), systemd-nspawn(1).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from appliance.core.errors import Unavailable
from appliance.demo.places import Places

PROCESSES = (
    *("vault", "records", "audit", "practice", "gateway"),
    *("tunnel", "backup", "certificate", "watch", "presence", "enrol"),
)
WORLD = ("tpm", "portal")


def host_pids(state: Path) -> dict[str, int]:
    """Give the main process of each unit that runs in the demo on `state`; a restart changes the number.

    Raises Unavailable("container") if no demo runs there.
    """
    container = leader(state)
    units = {name: f"praxis-{name}.service" for name in PROCESSES} | {name: f"demo-{name}.service" for name in WORLD}
    running = {name: unit_pids(container, unit) for name, unit in units.items()}
    return {name: pids[0] for name, pids in running.items() if pids}


def inside(state: Path) -> list[str]:
    """Give the command line that runs the words after it as root in the container of the demo on `state`."""
    spaces = ("--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd")
    return ["nsenter", f"--target={leader(state)}", *spaces, "--"]


def leader(state: Path) -> int:
    """Give the container's PID 1; Unavailable("container") if no demo runs on `state`."""
    with contextlib.suppress(OSError, IndexError):
        nspawn = Places(state).record.read_text().split(" ")[0]
        return int(Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()[0])
    raise Unavailable("container")


def unit_pids(container: int, unit: str) -> list[int]:
    """Give the processes of a unit, oldest first."""
    group = _unified_mount() / _container_group(container) / "system.slice" / unit / "cgroup.procs"
    try:
        pids = [int(word) for word in group.read_text().split()]
    except OSError:
        return []
    return sorted(pids, key=started_at)


def started_at(pid: int) -> int:
    """Give a process's start time in clock ticks since boot, 0 if there is none (proc(5), field 22)."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


def own_group() -> Path:
    """Give this process's folder in the unified hierarchy of control groups."""
    return _unified_mount() / _unified_group("self")


def _unified_mount() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(folder)
    raise Unavailable("cgroup2")


def _unified_group(pid: int | str) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::").lstrip("/")
    raise Unavailable("cgroup2")


def _container_group(container: int) -> str:
    """The group of the container's PID 1 is `init.scope` below the container's own."""
    return _unified_group(container).removesuffix("init.scope").rstrip("/")
