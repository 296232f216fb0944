"""Where the demo keeps what: one state folder a box, and the names inside the container.

    STATE/lock          held while a demo runs on this state
    STATE/machine-id    the container's, so that its journal is one over all starts
    STATE/box/          /var/lib/praxissafe: what the box itself keeps
    STATE/world/        /var/lib/praxissafe-demo: software TPM, firmware, signed boot, portal, authority
    STATE/journal/      /var/log/journal
    STATE/disks/        /run/praxissafe-disks: what stands for USB disks and mounted shares
    STATE/authority-roots.pem  of the certificate authority: a new one at each start
    STATE/run/          this start only: console, overlay, which process runs it
    STATE/console.json  the member of staff "Demo" and the claim code; readable by root only
    STATE/station/      the technician's bench
    STATE/holders/      the release key holders' keys
    STATE/maker/        the TPM maker's authority

What of it is bound into the container: tree.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

#: Seen inside the container.
CODE = Path("/usr/lib/praxissafe")
BOX_STATE = Path("/var/lib/praxissafe")
WORLD_STATE = Path("/var/lib/praxissafe-demo")
DISKS = Path("/run/praxissafe-disks")

PORTAL_NAME = "praxis-portal.localhost"
PORTS = 6


@dataclass(frozen=True)
class Ports:
    """The demo's ports on 127.0.0.1: six from `base` on."""

    base: int

    @property
    def practice(self) -> int:
        """Staff on the practice network."""
        return self.base

    @property
    def portal(self) -> int:
        """The portal's one public port."""
        return self.base + 1

    @property
    def enrol(self) -> int:
        """The technician, while the box is not provisioned."""
        return self.base + 2

    @property
    def authority(self) -> int:
        """The certificate authority's ACME."""
        return self.base + 3

    @property
    def management(self) -> int:
        """Where the certificate authority gives its root."""
        return self.base + 4

    @property
    def names(self) -> int:
        """The DNS that the authority asks, by UDP and TCP."""
        return self.base + 5

    @property
    def all(self) -> range:
        """Every one of them."""
        return range(self.base, self.base + PORTS)


@dataclass(frozen=True)
class Places:
    """The folders of one demo."""

    state: Path

    @property
    def lock(self) -> Path:
        """Held by the process that runs the demo."""
        return self.state / "lock"

    @property
    def box(self) -> Path:
        """The box's own state."""
        return self.state / "box"

    @property
    def world(self) -> Path:
        """What stands around the box."""
        return self.state / "world"

    @property
    def journal(self) -> Path:
        """The container's journal."""
        return self.state / "journal"

    @property
    def disks(self) -> Path:
        """Mounted disks and shares."""
        return self.state / "disks"

    @property
    def run(self) -> Path:
        """What lives as long as one start."""
        return self.state / "run"

    @property
    def tree(self) -> Path:
        """What is laid over the machine's own file system."""
        return self.run / "tree"

    @property
    def console_log(self) -> Path:
        """What the container's PID 1 says."""
        return self.run / "console.log"

    @property
    def record(self) -> Path:
        """Which process runs the container."""
        return self.run / "container"

    @property
    def console(self) -> Path:
        """The member of staff "Demo"."""
        return self.state / "console.json"

    @property
    def station(self) -> Path:
        """The technician's bench."""
        return self.state / "station"

    @property
    def boot(self) -> Path:
        """What came with the image, and the firmware's variables."""
        return self.world / "boot"

    @property
    def holders(self) -> Path:
        """The release key holders' keys."""
        return self.state / "holders"

    @property
    def maker(self) -> Path:
        """The TPM maker's authority."""
        return self.state / "maker"

    def make(self) -> None:
        """Make the folders that outlive a start."""
        for folder in (self.box, self.world, self.journal, self.disks, self.station, self.run):
            folder.mkdir(parents=True, exist_ok=True)
        self.station.chmod(0o700)
