"""Bad requests to practice and gateway of a running box, half each: practice over TLS on its own port, gateway as patients
reach it, through portal and tunnel. Counts how each request ended, and what the box's processes say and hold meanwhile.

`python -m tests.fuzz.campaign --requests 10000 [--seed S]` starts a box of its own (as root) and ends with 1 if
anything in `Campaign.faults` stands there: an answer of 5xx, a request without the answer HTTP owes it, a traceback in
a journal, a process that was started again, resident memory that grew by more than the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from appliance.core.errors import PraxisError
from appliance.demo.browser import Browser, open_browser
from appliance.demo.processes import inside
from tests.fuzz.requests import Attempt, Generator, Known
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.patient import Patient, base64url
from tests.simulators.staff import Staff

WATCHED = ("practice", "gateway", "vault", "records", "audit", "tunnel", "portal")
#: The claim: so much more resident memory at the end than at the first sample.
MAX_GROWTH_BYTES = 5 * 1024 * 1024
WORKERS = 4
ANSWER_TIMEOUT_S = 120.0
#: A damaged request may leave the box waiting for the rest of it: whoever sent it leaves then.
LEAVE_AFTER_S = 0.25
SLOW_PAUSE_S = 0.2
#: A session is begun anew after so many requests of a worker: some of them end it.
REQUESTS_A_SESSION = 120
PROGRESS_EVERY = 500
_BAD_WORDS = re.compile(
    r"Traceback|never retrieved|Unhandled|core-dump|Main process exited|Failed with result|MemoryError|Exception"
)


class Connection:
    """One TLS connection and its HTTP answers, read just far enough to know where each ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.usable = True

    async def send(self, attempt: Attempt) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for piece in attempt.pieces:
                self._writer.write(piece)
                await self._writer.drain()
                if attempt.slow:
                    await asyncio.sleep(SLOW_PAUSE_S)

    async def answer(self, method: bytes) -> int:
        """Give the final status, 0 if the connection ended before one."""
        try:
            while True:
                line = await self._reader.readline()
                if not (found := re.match(rb"HTTP/\d\.\d (\d{3})", line)):
                    self.usable = False
                    return 0
                length, close = 0, False
                while (header := await self._reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.lower().partition(b":")
                    if name == b"content-length":
                        length = int(value)
                    elif name == b"transfer-encoding":
                        raise ValueError("the box answers with lengths only")
                    close |= name == b"connection" and b"close" in value
                if (status := int(found[1])) >= 200:
                    break
            if method != b"HEAD" and status not in (204, 304):
                await self._reader.readexactly(length)
            self.usable = not close
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.usable = False
            return 0
        return status

    def close(self) -> None:
        self._writer.transport.abort()


@dataclass
class Side:
    """Where requests of one kind go."""

    name: str
    host: str
    port: int
    trust: ssl.SSLContext
    next: Callable[[], Attempt]
    renew: Callable[[], asyncio.Future[None] | object]

    async def connect(self) -> Connection:
        for _ in range(20):
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    return Connection(
                        *await asyncio.open_connection(
                            "127.0.0.1", self.port, ssl=self.trust, server_hostname=self.host
                        )
                    )
            await asyncio.sleep(0.2)  # through the portal there is not always a spare connection at once
        raise ConnectionError(f"{self.name} takes no connection")


@dataclass
class Campaign:
    """One run and what became of it."""

    box: DemoBox
    seed: int
    total: int
    first_sample_at: int
    max_growth_bytes: int = MAX_GROWTH_BYTES
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: {"practice": Counter(), "gateway": Counter()})
    damages: Counter[str] = field(default_factory=Counter)
    #: (route, status) of the requests that were not damaged.
    good: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    count: int = 0
    seconds: float = 0.0

    async def run(self) -> None:
        """Run the campaign; what is wrong stands in `faults` afterwards."""
        started, cursor, pids = (
            time.monotonic(),
            journal_cursor(self.box),
            {name: self.box.pid(name) for name in WATCHED},
        )
        async with open_browser(self.box.practice_ca) as browser:
            sides = await self._sides(browser)
            work = [self._work(side, self.total // 2 // WORKERS) for side in sides for _ in range(WORKERS)]
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(each)
        self.seconds = time.monotonic() - started
        self.after = await lasting(self.box)
        self.faults += [f"journal: {line}" for line in bad_lines(self.box, cursor)]
        for name, pid in pids.items():
            if (now := self.box.pid(name)) != pid:
                self.faults.append(f"{name} was started again: {pid}, now {now}")
            growth = self.after[name] - self.before.get(name, 0)
            if name in ("practice", "gateway", "vault", "records") and growth > self.max_growth_bytes:
                self.faults.append(f"{name} grew by {growth / 2**20:.1f} MiB")

    async def _sides(self, browser: Browser) -> list[Side]:
        known, lock = Known(host_of(self.box.practice_url), host_of(self.box.patient_link)), asyncio.Lock()
        await learn(self.box, known, browser)
        generator = Generator(self.seed, known)

        async def renew() -> None:
            async with lock:
                await log_in(self.box, known, browser)

        async def nothing() -> None:
            return

        practice, page = urlsplit(self.box.practice_url), urlsplit(self.box.patient_link)
        page_ca = Path(self.box.said.get("page_ca") or self.box.portal_ca)
        return [
            Side(
                "practice",
                str(practice.hostname),
                practice.port or 443,
                trust(self.box.practice_ca),
                generator.practice,
                renew,
            ),
            Side("gateway", str(page.hostname), page.port or 443, trust(page_ca), generator.gateway, nothing),
        ]

    async def _work(self, side: Side, requests: int) -> None:
        connection: Connection | None = None
        for number in range(requests):
            if number % REQUESTS_A_SESSION == REQUESTS_A_SESSION - 1:
                await side.renew()  # type: ignore[misc]
            attempt, status = side.next(), "closed"
            if connection is not None:
                status = await self._try(side, connection, attempt, reused=True)
            if status == "closed":  # the box may have ended an idle connection: whoever asks then asks anew
                connection = await side.connect()
                status = await self._try(side, connection, attempt, reused=False)
            self.statuses[side.name][status] += 1
            self.damages[attempt.damage] += 1
            if connection is not None and not (attempt.whole and connection.usable):
                connection.close()
                connection = None
            await self._counted()
        if connection is not None:
            connection.close()

    async def _try(self, side: Side, connection: Connection, attempt: Attempt, *, reused: bool) -> str:
        await connection.send(attempt)
        method = attempt.pieces[0].partition(b" ")[0]
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S if attempt.whole else LEAVE_AFTER_S):
                status = await connection.answer(method)
        except TimeoutError:
            if attempt.whole:
                self._fault(side, attempt, "no answer")
            return "left"
        if attempt.damage == "none":
            self.good[attempt.route, status] += 1
        if status >= 500:
            self._fault(side, attempt, f"answer {status}")
        if status == 0 and attempt.whole and not reused:
            self._fault(side, attempt, "the connection ended without an answer")
        return f"{status // 100}xx" if status else "closed"

    def _fault(self, side: Side, attempt: Attempt, what: str) -> None:
        sent = b"".join(attempt.pieces)
        self.faults.append(f"{side.name}, {attempt.route}, {attempt.damage}: {what}: {sent[:1500]!r}")

    async def _counted(self) -> None:
        self.count += 1
        if self.count == self.first_sample_at:
            self.before = await lasting(self.box)
        if self.count % PROGRESS_EVERY == 0:
            held = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in resident(self.box).items())
            print(
                f"{self.count} of {self.total} requests, {len(self.faults)} faults; MiB: {held}",
                file=sys.stderr,
                flush=True,
            )

    def table(self) -> str:
        """Give the figures as a person reads them."""
        lines = [f"{self.count} requests in {self.seconds:.0f} s, seed {self.seed}", ""]
        kinds = ("2xx", "3xx", "4xx", "5xx", "closed", "left")
        lines.append(f"{'':10}" + "".join(f"{kind:>8}" for kind in kinds))
        lines += [
            f"{side:10}" + "".join(f"{counts[kind]:8}" for kind in kinds) for side, counts in self.statuses.items()
        ]
        lines += ["", "damage: " + ", ".join(f"{name} {count}" for name, count in self.damages.most_common()), ""]
        lines.append(f"{'resident':10}{f'at {self.first_sample_at}':>12}{'at the end':>12}{'growth':>10}   MiB")
        for name, size in self.after.items():
            first = self.before.get(name, 0)
            lines.append(f"{name:10}{first / 2**20:12.1f}{size / 2**20:12.1f}{(size - first) / 2**20:+10.2f}")
        return "\n".join([*lines, "", *(self.faults or ["no faults"])])


def trust(authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def host_of(url: str) -> bytes:
    return urlsplit(url).netloc.encode()


async def log_in(box: DemoBox, known: Known, browser: Browser) -> Staff:
    """Begin a session and learn its cookie and CSRF token."""
    member = Staff(browser, box.practice_url)
    for _ in range(30):  # while others guess passwords, the box may ask to wait
        browser._session.cookie_jar.clear()
        with contextlib.suppress(PraxisError):
            await member.log_in(box.said["staff"], box.said["password"])
            break
        await asyncio.sleep(1)
    page = await member.open("/devices")
    known.csrf = page.form("label").fields["csrf"].encode()
    known.session = next(one.value for one in browser._session.cookie_jar if one.key == "__Host-session").encode()
    return member


async def learn(box: DemoBox, known: Known, browser: Browser) -> None:
    """Learn as staff and as the sample patient what exists."""
    member = await log_in(box, known, browser)
    page = await member.open("/devices")
    page = await browser.send(page.form("label"), {"label": "Praxissoftware"})
    known.device = page.by_id["device-token"].encode()
    for number in range(3):
        path = await member.create_patient(f"Fuzzbert-{number}")
        await member.upload(path, b"text " * 50, name=f"a{number}.txt")
        known.patients.append(path.rpartition("/")[2].encode())
        known.documents += [one.encode() for one in await member.documents(path)]
    await member.share("/patients/" + known.patients[0].decode())
    page = await member.open("/shares")
    known.shares = [found.encode() for found in re.findall(r"/shares/([0-9a-f]{32})/", " ".join(page.links))]
    async with Patient(box.patient_link, box.portal_ca) as patient:
        known.locator, known.proof = patient.keys.locator.encode(), base64url(patient.keys.proof).encode()
        known.sealed = [document.file.encode() for document, _ in await patient.open_documents(box.pin)]


def resident(box: DemoBox) -> dict[str, int]:
    """Give the resident bytes of each process (proc_pid_status(5), VmRSS)."""
    sizes = {}
    for name in WATCHED:
        status = Path(f"/proc/{box.pid(name)}/status").read_text()
        sizes[name] = int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024
    return sizes


async def lasting(box: DemoBox) -> dict[str, int]:
    """Give the resident bytes without what a moment needs (a password's check takes 64 MiB in vault): the least seen."""
    least = resident(box)
    for _ in range(20):
        await asyncio.sleep(0.1)
        least = {name: min(size, least[name]) for name, size in resident(box).items()}
    return least


def journal(box: DemoBox, *words: str) -> str:
    command = [*inside(box.state), "journalctl", "--no-pager", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout


def journal_cursor(box: DemoBox) -> str:
    return journal(box, "--lines=1", "--show-cursor").rpartition("-- cursor: ")[2].strip()


def bad_lines(box: DemoBox, cursor: str) -> list[str]:
    """Give what any unit has said of failures since `cursor`: tracebacks, ends, anything of priority err and above."""
    bad = []
    for line in journal(box, "--output=json", f"--after-cursor={cursor}").splitlines():
        entry = json.loads(line)
        message = str(entry.get("MESSAGE"))
        if int(entry.get("PRIORITY", 6)) <= 3 or _BAD_WORDS.search(message):
            bad.append(f"{entry.get('_SYSTEMD_UNIT')}: {message[:500]}")
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.campaign")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    print(f"{chosen.requests} requests, seed {chosen.seed}", file=sys.stderr, flush=True)
    with running_box() as box:
        campaign = Campaign(box, chosen.seed, chosen.requests, first_sample_at=min(1000, chosen.requests // 3))
        asyncio.run(campaign.run())
    print(campaign.table())
    sys.exit(bool(campaign.faults))


if __name__ == "__main__":
    main()
