"""Two network namespaces, the practice's and the internet's, and the emulated access line between them (link_go). As root.

The kernels this runs on have no delay of their own (netem), so the line is a program between two TUN devices: a rate and a
queue upward, 20 ms each way. Packets are real ones of two real TCP stacks; nobody's own network is touched.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.tunnel_programs import Program
from tests.bench.tunnel_sides import Places

BOX_ADDRESS, NET_ADDRESS = "10.77.0.1", "10.77.0.2"
UPLINK_BITS_PER_S = 40_000_000
DELAY_MS = 20
ROUND_TRIP_S = 2 * DELAY_MS / 1000
#: What such a line carries in one round trip, the usual size of its buffer.
QUEUE_BYTES = int(UPLINK_BITS_PER_S / 8 * ROUND_TRIP_S)

numbers = itertools.count()


@dataclass(frozen=True)
class Line:
    """A line that stands; `places` is where box and relay run."""

    program: Program
    places: Places

    def command(self, word: str) -> None:
        """Say cut, restore or forget; it is done when this returns."""
        self.program.say(word)
        self.program.hear(lambda said: said == "done")


@contextmanager
def line(
    program: Path, *, rate: int = UPLINK_BITS_PER_S, delay_ms: int = DELAY_MS, queue: str = "fair"
) -> Iterator[Line]:
    """Lay a line between two new namespaces; both are gone after the block."""
    number = next(numbers)
    box, net = f"pxb{os.getpid()}-{number}", f"pxn{os.getpid()}-{number}"
    with contextlib.ExitStack() as stack:
        for namespace in (box, net):
            ip("netns", "add", namespace)
            stack.callback(ip, "netns", "delete", namespace)
        running = Program(
            [program, "-box", box, "-net", net, "-rate", str(rate), "-delay", f"{delay_ms}ms",
             "-queue", queue, "-queue-bytes", str(QUEUE_BYTES)],
            json_lines=False,
        )  # fmt: skip
        stack.callback(running.end)
        running.hear(lambda said: said == "ready")
        for namespace, own, other in ((box, BOX_ADDRESS, NET_ADDRESS), (net, NET_ADDRESS, BOX_ADDRESS)):
            ip("link", "set", namespace, "netns", namespace)
            ip("-n", namespace, "address", "add", own, "peer", other, "dev", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "link", "set", namespace, "mtu", "1500", "up")
        yield Line(running, Places(box, net, NET_ADDRESS, BOX_ADDRESS))


def ip(*words: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *words], check=True)
