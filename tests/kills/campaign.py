"""A campaign: round after round one process is killed while people work, and then what they were told is held against
what the box shows.

Leaves the box running and usable. A fault ends nothing: all are in the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from appliance.core.errors import PraxisError
from appliance.demo.browser import open_browser
from appliance.formats.audit_log import Chain, LogEntry
from tests.kills import ledger
from tests.kills.box_processes import BACK_TIMEOUT_S, BoxProcesses
from tests.kills.ledger import Fault, Link, PatientFile
from tests.kills.people import BROKEN, Holder, Member, Software, Truncated, Unreasonable, client_of, content, digest
from tests.kills.people import until_answered as until
from tests.kills.plan import PROCESSES, Round
from tests.simulators.demo_box import DemoBox
from tests.simulators.staff import Staff, other_pin

#: A new patient then, so that no page grows long.
ROUNDS_EACH_PATIENT = 15
FEWEST_TRIES = 2
SHARED_BYTES = 3_000_000
STEP_TIMEOUT_S = 120.0
#: What a round can have changed, so what is looked at after it; all is looked at in the end.
STORING = frozenset({"upload", "put"})
OPENING = frozenset({"share", "wrong PIN", "right PIN"})


@dataclass(frozen=True)
class Outcome:
    """What one round showed."""

    round: Round
    in_the_middle: bool
    back_s: float
    served_s: float
    faults: list[Fault]


@dataclass
class Report:
    """All rounds of a campaign, and the faults of its end."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    at_the_end: list[Fault] = field(default_factory=list)

    @property
    def faults(self) -> list[Fault]:
        return [fault for outcome in self.outcomes for fault in outcome.faults] + self.at_the_end

    def table(self) -> str:
        """Give a line for each process."""
        lines = ["process    kills  within a step  back s: median   max  served s: median   max  faults"]
        for process in (*PROCESSES, "all"):
            own = [outcome for outcome in self.outcomes if process in (outcome.round.process, "all")]
            if own:
                back, served = [one.back_s for one in own], [one.served_s for one in own]
                lines.append(
                    f"{process:9} {len(own):6} {sum(one.in_the_middle for one in own):14}"
                    f" {statistics.median(back):15.2f} {max(back):5.2f}"
                    f" {statistics.median(served):17.2f} {max(served):5.2f}"
                    f" {sum(len(one.faults) for one in own):7}"
                )
        return "\n".join(lines)


class Campaign:
    """The people, what they were told, and the box; made by `campaign_on`."""

    def __init__(self, box: DemoBox, member: Member, software: Software, seed: int, name: str) -> None:
        self._box, self._member, self._software = box, member, software
        self._seed, self._name = seed, name
        self._processes = BoxProcesses(box)
        self._patients: list[PatientFile] = []
        self._links: list[Link] = []
        self._told_of: set[tuple[str, str]] = set()
        self._began_at = time.time()
        self._steps: dict[str, Callable[[Round, Random], Awaitable[None]]] = {
            "upload": self._upload,
            "put": self._put,
            "read": self._read,
            "share": self._share,
            "look": self._look,
            "wrong PIN": self._wrong_pin,
            "right PIN": self._right_pin,
            "fetch": self._fetch,
            "renew": self._renew,
            "idle": self._nothing,
        }
        self._faults: list[Fault] = []
        self._told = ""

    async def run(self, rounds: Iterable[Round], tell: Callable[[str], None] = lambda line: None) -> Report:
        """Run the rounds; a line for every tenth."""
        report = Report(self._seed)
        for number, round_ in enumerate(rounds, 1):
            report.outcomes.append(await self._run(round_))
            for fault in report.outcomes[-1].faults:
                tell(str(fault))
            if number % 10 == 0:
                slowest = max(one.back_s for one in report.outcomes[-10:])
                tell(f"{number} kills, {len(report.faults)} faults, slowest of the last ten back in {slowest:.1f} s")
        self._faults, self._told = report.at_the_end, "at the end"
        await self._check_end()
        return report

    async def _run(self, round_: Round) -> Outcome:
        faults: list[Fault] = []
        self._faults, self._told = faults, str(round_)
        before = await self._processes.all_run()
        await self._prepare(round_)
        loop = asyncio.get_running_loop()
        step = asyncio.ensure_future(self._step(round_))
        await asyncio.sleep(round_.delay_s)
        in_the_middle = not step.done()
        self._processes.kill(round_.process)
        killed_at, back_at = loop.time(), 0.0
        try:
            await self._processes.is_back(round_.process, before[round_.process])
            back_at = loop.time()
        except (TimeoutError, PraxisError):
            self._fault(ledger.BACK, f"not back after {BACK_TIMEOUT_S} s")
        await step
        await self._expect(ledger.BACK, self._is_served())
        served_at = loop.time()
        others = {name for name, pid in self._processes.pids().items() if pid != before[name]} - {round_.process}
        if others:
            self._fault(ledger.ALONE, f"{', '.join(sorted(others))} ended too")
        await self._check_round(round_)
        return Outcome(round_, in_the_middle, (back_at or served_at) - killed_at, served_at - killed_at, faults)

    def _fault(self, claim: str, what: str) -> None:
        self._faults.append(Fault(claim, self._told, what))

    async def _expect(self, claim: str, work: Awaitable[object]) -> None:
        """Have something done that must work while nothing is killed."""
        try:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await work
        except Truncated as error:
            self._fault(ledger.TRANSFER, str(error))
        except Unreasonable as error:
            self._fault(ledger.ANSWER, str(error))
        except BROKEN as error:
            self._fault(claim, f"{type(error).__name__} {error}")

    async def _step(self, round_: Round) -> None:
        random = Random(f"{self._seed} {round_.number}")
        try:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await self._steps[round_.step](round_, random)
        except TimeoutError:
            self._fault(ledger.ANSWER, "no answer and no error")
        except Truncated as error:
            self._fault(ledger.TRANSFER, str(error))
        except Unreasonable as error:
            self._fault(ledger.ANSWER, str(error))
        except BROKEN:
            pass  # somebody was told that it did not work

    # --- what people do -------------------------------------------------------------------------------------------

    async def _nothing(self, _: Round, __: Random) -> None:
        return

    async def _upload(self, round_: Round, random: Random) -> None:
        await self._member.upload(self._patients[-1], content(random, round_.size_bytes))

    async def _put(self, round_: Round, random: Random) -> None:
        key = f"{self._name}.{round_.number}"
        await self._software.store(self._patients[-1], content(random, round_.size_bytes), key)

    async def _read(self, _: Round, random: Random) -> None:
        shared = self._patients[0].listed
        document = random.choice(sorted(shared))
        if digest(await self._member.save(document)) != shared[document]:
            raise Truncated("a saved document has other bytes")

    async def _share(self, _: Round, __: Random) -> None:
        link = await self._member.make_share(self._patients[0])
        if link is not None:
            self._links.append(link)

    async def _look(self, _: Round, __: Random) -> None:
        await Holder(self._box, self._links[-1]).look()

    async def _wrong_pin(self, _: Round, __: Random) -> None:
        await Holder(self._box, self._links[-1]).offer(other_pin(self._links[-1].pin))

    async def _right_pin(self, _: Round, __: Random) -> None:
        await Holder(self._box, self._links[-1]).offer(self._links[-1].pin)

    async def _fetch(self, _: Round, random: Random) -> None:
        await Holder(self._box, self._links[-1]).fetch(random.choice(self._links[-1].files))

    async def _renew(self, _: Round, __: Random) -> None:
        with contextlib.suppress(PraxisError):
            await self._processes.renewed()

    # --- before a round, after it, and at the end -------------------------------------------------------------------

    async def _prepare(self, round_: Round) -> None:
        """Have what the step needs: a patient, and a link with tries left whose documents were opened once."""
        if not self._patients:
            await self._new_patient()
            for number in range(2):
                data = content(Random(f"{self._seed} shared {number}"), SHARED_BYTES)
                await self._member.upload(self._patients[0], data)
            await self._read_back(self._patients[0])
        if round_.number % ROUNDS_EACH_PATIENT == 0 or len(self._patients) == 1:
            await self._new_patient()
        if not self._links or self._links[-1].left_seen < FEWEST_TRIES:
            link = await self._member.make_share(self._patients[0])
            assert link is not None
            await self._member.read_pin(link)
            self._links.append(link)
            await Holder(self._box, link).open()

    async def _new_patient(self) -> None:
        name = f"{self._name}x{len(self._patients):03}x"
        self._patients.append(PatientFile(await self._member.staff.create_patient(name), name))

    async def _is_served(self) -> None:
        """Staff see their patients and a patient sees the page."""
        await until(self._member.log_in)
        await until(Holder(self._box, self._links[-1]).see_page)

    async def _check_round(self, round_: Round) -> None:
        self._entries()
        if round_.step in STORING:
            await self._expect(ledger.KEPT, self._read_back(self._patients[-1]))
        link = self._links[-1]
        if not link.files:
            await self._expect(ledger.LINK, self._open(link))
        if round_.step in OPENING or round_.process == "vault":
            await self._expect(ledger.TRY, self._check_tries(link))

    async def _check_end(self) -> None:
        for patient in self._patients:
            await self._expect(ledger.KEPT, self._read_back(patient, anew=True))
        for link in self._links:
            await self._expect(ledger.LINK, self._open(link))
        await self._expect(ledger.BACK, self._is_renewed())
        entries = self._entries()
        for link in self._links:
            if wrong := ledger.wrong_entries(link, entries):
                self._fault(ledger.AUDIT, wrong)
        left = list((self._box.state / "box/records/incoming").iterdir())
        if left:
            self._fault(ledger.WHOLE, f"{len(left)} files that nobody finished are kept")
        for line in await asyncio.to_thread(self._bugs):
            self._fault(ledger.ANSWER, f"the journal says: {line}")

    async def _is_renewed(self) -> None:
        """Have the page's certificate renewed once more, until that goes well."""
        while (await self._processes.renewed()).last_problem:
            await asyncio.sleep(1)

    async def _read_back(self, patient: PatientFile, *, anew: bool = False) -> None:
        """Read every document of the patient's page, those read before only if `anew`, and hold it to what was told."""
        known = {} if anew else patient.listed
        listed = await until(lambda: self._member.list_documents(patient))
        patient.listed = {document: known.get(document) or await self._digest_of(document) for document in listed}
        for claim, what in patient.wrong_documents():
            if (claim, what) not in self._told_of:
                self._told_of.add((claim, what))
                self._fault(claim, what)

    async def _digest_of(self, document: str) -> str:
        try:
            return digest(await self._member.save(document))
        except (Unreasonable, *BROKEN) as error:
            return f"none: it does not open: {error}"

    async def _open(self, link: Link) -> None:
        """Open a link whose sheet somebody holds; its PIN slip waits until it is printed."""
        if not link.pin:
            await until(lambda: self._member.read_pin(link))
        if await until(Holder(self._box, link).open) != link.digests:
            raise Truncated("a link gives other documents than were shared")

    async def _check_tries(self, link: Link) -> None:
        holder = Holder(self._box, link)
        await until(holder.wait_for_openings)
        entries = self._entries()
        if wrong := ledger.wrong_entries(link, entries):
            self._fault(ledger.AUDIT, wrong)
        logged = sum(entry.share == link.share and entry.action == "share_pin_wrong" for entry in entries)
        if wrong := link.wrong_tries(await until(holder.look), logged):
            self._fault(ledger.TRY, wrong)

    def _entries(self) -> list[LogEntry]:
        """Give the audit log's entries, each checked to continue the chain."""
        header, *lines = (self._box.state / "box/audit/log").read_bytes().splitlines(keepends=True)
        chain = Chain(header)
        entries: list[LogEntry] = []
        try:
            for line in lines:
                entries.append(chain.follow(line))
        except PraxisError as error:
            self._fault(ledger.AUDIT, f"broken at entry {len(entries)}: {error}")
        return entries

    def _bugs(self) -> list[str]:
        """Give what processes said of failures nobody foresaw, since the campaign began."""
        said = subprocess.run(
            [
                "journalctl",
                f"--directory={self._box.state}/journal",
                f"--since=@{int(self._began_at)}",
                "--output=cat",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        return sorted({line for line in said if line.startswith(("bug ", "ended ", "document_files_missing"))})


@asynccontextmanager
async def campaign_on(box: DemoBox, seed: int, name: str) -> AsyncIterator[Campaign]:
    """Have the people of a campaign come; `name` begins the names of its patients."""
    async with open_browser(box.practice_ca) as browser, client_of(box) as client:
        member = Member(box, Staff(browser, box.practice_url))
        await until(member.log_in)
        page = await member.staff.open("/devices")
        page = await browser.send(page.form("label"), {"label": f"Abbruch {name}"})
        yield Campaign(box, member, Software(box, client, page.by_id["device-token"]), seed, name)
