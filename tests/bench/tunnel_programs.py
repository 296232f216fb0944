"""Programs of the tunnel's bench: started, listened to line by line, their cost and their memory read from the kernel.

A process's cost is its own CPU clock (clock_getcpuclockid(3)): user and system time of all its threads, to the
nanosecond, where /proc/PID/stat counts in hundredths of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulators.demo_box import ROOT

CPUCLOCK_SCHED = 2
END_TIMEOUT_S = 10


def cpu_s(pid: int) -> float:
    """Give the seconds of CPU that a process has used."""
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


@dataclass(frozen=True)
class Memory:
    """Of one process, in bytes: resident, and the share of it that is its own (proc_pid_smaps(5))."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """Read a process's memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return Memory(found["Rss"], found["Pss"])


class Program:
    """A started program that says JSON lines on standard output and ends when its input does."""

    def __init__(
        self, command: Sequence[str | Path], *, namespace: str | None = None, json_lines: bool = True
    ) -> None:
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        self._process = subprocess.Popen(
            [*inside, *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._json = json_lines
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def hear(self, wanted: Callable[[Any], bool] = lambda _: True, timeout_s: float = 30) -> Any:
        """Give the next line that is `wanted`; those before it are over. TimeoutError, RuntimeError when it ended."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{self._process.args} did not say what was wanted") from None
            if line is None:
                raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
            said = json.loads(line) if self._json else line.strip()
            if wanted(said):
                return said

    def latest(self) -> Any | None:
        """Give the last line that it has said since it was asked, None if it said nothing. RuntimeError when it ended."""
        line = None
        while not self._lines.empty():
            line = self._lines.get()
            if line is None:
                raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return line if line is None or not self._json else json.loads(line)

    def say(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def end(self, number: int | None = None) -> None:
        """End its input, or send it a signal; wait."""
        with contextlib.suppress(OSError):
            if number is not None:
                os.kill(self.pid, number)
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
