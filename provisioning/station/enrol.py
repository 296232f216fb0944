"""Enrol one box: keys, sheet, registration, closing, paper. Every step may be repeated after an interruption.

The box makes its keys once and gives a fresh claim code each time until it is closed; the portal takes the same
record again and refuses another key for a known box; the sheet is on disk before the box closes its door. After each
step the state file is replaced whole, so a run that ended anywhere, by a power cut too, is simply run again.

A box is refused before the portal hears of it when its serial was begun with another box, or when its id, device key
or TPM is known under another serial: then one key is in two devices, or two labels were swapped. That the TPM is
genuine and holds the key, the portal finds out; the station carries question and answer between the two.
Order and reasons: docs/formats/enrolment.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace
from nacl.signing import SigningKey

from appliance.core.errors import PraxisError, Refused, Tampered, Unavailable
from appliance.formats.attestation import Evidence, Identity, Question
from appliance.formats.device_record import make_record, sign_record
from appliance.formats.endorsement import Endorsement, read_endorsement
from appliance.formats.registration import Application
from provisioning.station.bench import (
    Finished,
    NewBox,
    ask_box,
    ask_identity,
    ask_state,
    bench_fingerprint,
    shows_name,
)
from provisioning.station.files import write_whole
from provisioning.station.paper import draw_handover
from provisioning.station.portal import register
from provisioning.station.progress import Place, Progress, Step, is_same_device, with_failure, with_place, with_step
from provisioning.station.sheet import Sheet, fingerprint
from provisioning.station.workbench import BoxFiles, Workbench

BOX_MARK = "{box}"

#: Told at each step: its word, and what the words need to say it.
Tell = Callable[..., None]


@dataclass(frozen=True)
class Order:
    """What the technician wants of the box. Host names may hold `{box}`: the first 8 digits of the box."""

    bench_address: str
    bench_sha256: bytes | None
    portal_address: str
    portal_name: str
    portal_ca: str
    page_host: str
    page_port: int
    lan_host: str
    lan_port: int
    serial: str

    def body(self) -> dict[str, str | int]:
        """Give what the box is told (POST /enrol)."""
        return {name: value for name, value in vars(self).items() if not name.startswith("bench_")}

    def place(self) -> Place:
        """Give what the state file keeps of it."""
        return Place(**{name: getattr(self, name) for name in Place.__struct_fields__})


@dataclass(frozen=True)
class Station:
    """What a run works with."""

    workbench: Workbench
    key: SigningKey
    #: Languages of the paper, in order; none draws no paper.
    languages: tuple[str, ...]
    now: Callable[[], int] = lambda: int(time.time())


def host_name(pattern: str, box: str) -> str:
    """Put the box into a host name's pattern, as vault does."""
    return pattern.replace(BOX_MARK, box[:8])


async def enrol(order: Order, station: Station, tell: Tell) -> Sheet:
    """Do all steps that are missing and give the finished sheet. Raises the failure of the step that failed.

    The failure is in the state file too, if that can be written. Of a box that was handed over there is no sheet any
    more: Refused("handed_over").
    """
    with station.workbench.hold(order.serial) as files:
        progress = files.read_progress() or Progress(serial=order.serial)
        if progress.has("handed_over"):
            raise Refused("handed_over")
        run = _Run(order, station, files, tell, with_place(progress, order.place(), station.now()))
        try:
            return await run.run()
        except PraxisError as error:
            run.note_failure(error)
            raise


class _Run:
    """One run on one box, which it holds."""

    def __init__(self, order: Order, station: Station, files: BoxFiles, tell: Tell, progress: Progress) -> None:
        self._order = order
        self._station = station
        self._files = files
        self._tell = tell
        self._progress = progress

    async def run(self) -> Sheet:
        earlier = self._files.read_sheet()
        if earlier is not None and earlier.serial != self._order.serial:
            raise Refused("sheet_taken")
        if earlier is not None and self._progress.has("closed"):
            await self._check_that_the_door_is_shut()
            self._tell("finished_before")
            sheet = earlier
        else:
            sheet = await self._enrol(earlier)
        if not sheet.finished:
            sheet = replace(sheet, finished=True, tpm=self._progress.tpm)
            self._files.write_sheet(sheet)
        if self._station.languages and not self._progress.has("printed"):
            self._tell("paper")
            await asyncio.to_thread(print_paper, self._files, sheet, self._station.languages)
            self._done("printed")
        return sheet

    def note_failure(self, error: PraxisError) -> None:
        """Write down where the run ended; a disk that takes nothing is said by the failure itself."""
        if error.code in ("state", "folder", "disk_full"):
            return
        try:
            self._files.write_progress(with_failure(self._progress, error, self._station.now()))
        except PraxisError:
            return

    async def _enrol(self, earlier: Sheet | None) -> Sheet:
        order = self._order
        try:
            seen = await asyncio.to_thread(bench_fingerprint, order.bench_address)
            if order.bench_sha256 not in (None, seen):
                raise Tampered("bench_certificate")
            self._tell("bench_pinned" if order.bench_sha256 else "bench_trusted", sha256=seen.hex())
            self._done("reached", bench_sha256=seen.hex())
            self._tell("keys")
            made = await ask_box(order.bench_address, seen, "/enrol", order.body(), NewBox)
        except (Unavailable, Refused) as error:
            if earlier is None or error.code not in ("box_away", "provisioned"):
                raise
            return await self._closed_before(earlier, error)
        if made.serial != order.serial:
            raise Unavailable("box_answer")
        identity = await ask_identity(order.bench_address, seen)
        endorsement = read_endorsement(identity.endorsement_certificate)
        sheet = self._take_keys(made, endorsement, earlier)
        await self._register(sheet, made, identity, seen)
        self._tell("finish")
        await ask_box(order.bench_address, seen, "/finish", {"ticket": made.ticket}, Finished)
        self._done("closed")
        return sheet

    def _take_keys(self, made: NewBox, endorsement: Endorsement, earlier: Sheet | None) -> Sheet:
        """Refuse a duplicate, keep the sheet; without a pause, so that boxes enrolled at once see each other."""
        sheet = _sheet(self._order, made)
        device = hashlib.sha256(made.device_key).hexdigest()
        if not is_same_device(self._progress, made.box, device) or (
            earlier is not None and earlier.device_fingerprint != sheet.device_fingerprint
        ):
            raise Refused("serial_taken")
        tpm = endorsement.fingerprint.hex()
        other = self._station.workbench.find_duplicate(self._order.serial, made.box, device, tpm)
        if other is not None:
            raise Refused("key_enrolled", serial=other)
        issued_at = self._progress.issued_at or self._station.now()
        self._done("keys", box=made.box, device_fingerprint=device, endorsement_fingerprint=tpm, issued_at=issued_at)
        self._files.write_sheet(sheet)
        self._done("sheet")
        return sheet

    async def _register(self, sheet: Sheet, made: NewBox, identity: Identity, seen: bytes) -> None:
        order = self._order
        endorsement = read_endorsement(identity.endorsement_certificate)
        record = make_record(
            box=bytes.fromhex(made.box),
            device_key=made.device_key,
            endorsement=endorsement.fingerprint,
            host_name=sheet.patient_host,
            portal_name=order.portal_name,
            issued_at=self._progress.issued_at,
        )
        application = Application(record=sign_record(record, self._station.key), identity=identity)

        async def prove(question: Question) -> Evidence:
            self._tell("prove")
            body = msgspec.to_builtins(question)
            return await ask_box(order.bench_address, seen, "/proof", body, Evidence)

        self._tell("register")
        data = msgspec.json.encode(application)
        await register(order.portal_address, order.portal_name, order.portal_ca, data, prove)
        self._done("registered", tpm=endorsement.maker)

    async def _closed_before(self, earlier: Sheet, error: Unavailable | Refused) -> Sheet:
        """Take up a run whose last answer was lost: the door is shut, and the box shows the name of its sheet."""
        name = host_name(self._order.lan_host, earlier.box)
        if not await asyncio.to_thread(shows_name, self._order.bench_address, self._order.lan_port, name):
            raise error
        self._tell("finished_before")
        self._done("closed")
        return earlier

    async def _check_that_the_door_is_shut(self) -> None:
        """Refuse if a box that is not enrolled answers: it is another one, under a serial that is used already."""
        try:
            seen = await asyncio.to_thread(bench_fingerprint, self._order.bench_address)
            state = await ask_state(self._order.bench_address, seen)
        except Unavailable:
            return
        if state != "finished":
            raise Refused("serial_used")

    def _done(self, step: Step, **facts: str | int) -> None:
        self._progress = with_step(self._progress, step, self._station.now(), **facts)
        self._files.write_progress(self._progress)


def print_paper(files: BoxFiles, sheet: Sheet, languages: tuple[str, ...]) -> None:
    """Draw the sheet and keep it beside the state."""
    write_whole(files.paper, draw_handover(sheet, languages))


def _sheet(order: Order, made: NewBox) -> Sheet:
    lan_host = host_name(order.lan_host, made.box)
    port = "" if order.lan_port == 443 else f":{order.lan_port}"
    return Sheet(
        serial=made.serial,
        box=made.box,
        claim_code=made.claim_code,
        practice_url=f"https://{lan_host}{port}/",
        patient_host=host_name(order.page_host, made.box),
        device_fingerprint=fingerprint(made.device_key),
        finished=False,
    )
