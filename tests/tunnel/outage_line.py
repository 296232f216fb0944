"""A practice's line to the internet that can fail: the box in a network namespace of its own, a line to this machine.

The line is the bench's (link_go): a program between two TUN devices, one in the box's namespace, the other here. Nobody
else's network is touched; devices and namespace are gone after the block. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.tunnel_programs import Program

HOSTS = Path("/etc/netns")
NAME = "portal.outage.test"


@dataclass(frozen=True)
class Line:
    """A line that stands: the namespace, both ends' device names, and the part of the addresses that is its own."""

    program: Program
    namespace: str
    here: str
    number: int

    @property
    def portal(self) -> str:
        return f"10.209.{self.number}.2"

    @property
    def portal_ipv6(self) -> str:
        return f"fd00:209:{self.number:x}::2"

    def command(self, word: str) -> None:
        """Say a command of link_go; it is done when this returns."""
        self.program.say(word)
        self.program.hear(lambda said: said == "done")

    def box_address(self, change: str, last: int) -> None:
        """Give the box an address (add), or take it away (del)."""
        ip("-n", self.namespace, "address", change, f"10.209.{self.number}.{last}/24", "dev", self.namespace)

    def portal_address(self, change: str, last: int) -> None:
        """Give this side an address, or take it away."""
        ip("address", change, f"10.209.{self.number}.{last}/24", "dev", self.here)

    def name_is_at(self, address: str) -> None:
        """Say where the box finds NAME; its resolver reads the file at each look-up (hosts(5))."""
        (HOSTS / self.namespace / "hosts").write_text(f"127.0.0.1 localhost\n{address} {NAME}\n")


@contextmanager
def line(program: Path, number: int, *, ipv6_only: bool = False) -> Iterator[Line]:
    """Lay a line; `number` (1 to 254) keeps it apart from others at the same time."""
    namespace, here = f"pxo{os.getpid() % 100_000}b{number}", f"pxo{os.getpid() % 100_000}n{number}"
    with ExitStack() as stack:
        ip("netns", "add", namespace)
        stack.callback(ip, "netns", "delete", namespace)
        (HOSTS / namespace).mkdir(parents=True)
        stack.callback(shutil.rmtree, HOSTS / namespace)
        running = Program([program, "-box", namespace, "-net", here, "-delay", "5ms"], json_lines=False)
        stack.callback(running.end)
        running.hear(lambda said: said == "ready")
        ip("link", "set", namespace, "netns", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        laid = Line(running, namespace, here, number)
        laid.name_is_at(laid.portal)
        for inside, device, last in ((["-n", namespace], namespace, 1), ([], here, 2)):
            ip(*inside, "link", "set", device, "mtu", "1500", "up")
            address = f"fd00:209:{number:x}::{last}/64" if ipv6_only else f"10.209.{number}.{last}/24"
            ip(*inside, "address", "add", address, "dev", device, *(["nodad"] if ipv6_only else []))
        yield laid


def ip(*words: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *words], check=True, timeout=10)
