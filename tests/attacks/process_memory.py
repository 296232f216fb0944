"""What a running process has in memory, read as whoever captured it would: every mapping that can be read.

Passed over are the pages of files that are mapped to be read only (programs, libraries): nothing is written there.
Needs root. The process is not stopped; a mapping that goes meanwhile is passed over. Source: proc_pid_mem(5),
proc_pid_smaps(5).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 4 * 1024 * 1024
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)")


def mappings(pid: int) -> Iterator[tuple[int, int]]:
    """Give the (start, end) of each readable mapping of which anything can have been written."""
    start = end = 0
    readable = of_file = touched = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found := MAPPING.match(line):
            start, end = int(found[1], 16), int(found[2], 16)
            readable = found[3][0] == "r" and not found[5].startswith("[v")  # the kernel's own pages
            of_file, touched = found[4] != "0", False
        elif line.startswith(("Anonymous:", "Shared_Dirty:", "Private_Dirty:")):
            touched = touched or bool(int(line.split()[1]))
        elif line.startswith("VmFlags:") and readable and (touched or not of_file):
            yield start, end


def memory_pieces(pid: int) -> Iterator[bytes]:
    """Read the memory of a process piece by piece; fails if there is none to read."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in list(mappings(pid)):
            try:
                memory.seek(start)
                while start < end:
                    piece = memory.read(min(PIECE_BYTES, end - start))
                    if not piece:
                        break
                    start += len(piece)
                    yield piece
            except OSError:
                continue


def descriptors(pid: int) -> dict[Path, str]:
    """Give what each descriptor of a process leads to, as the kernel names it (proc_pid_fd(5))."""
    found = {}
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[one] = os.readlink(one)
        except FileNotFoundError:
            continue
    return found


def open_files(pid: int) -> Iterator[tuple[str, Path]]:
    """Give (name, where to read it) for each ordinary file that a process has open, also one without a name any more."""
    for one, name in descriptors(pid).items():
        try:
            if stat.S_ISREG(one.stat().st_mode):
                yield name, one
        except OSError:
            continue


def connected_ports(pid: int) -> set[int]:
    """Give this side's port of each TCP connection that a process has in this machine's network (proc_pid_net(5))."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = {
        f"socket:[{words[9]}]": int(words[1].rpartition(":")[2], 16) for words in lines if words[3] == "01"
    }
    return {established[name] for name in descriptors(pid).values() if name in established}
