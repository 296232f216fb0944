"""What each command does, once its arguments are read: steps go to standard error, results to standard output."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.formats.device_record import decode_record
from appliance.formats.fingerprint_words import words_of
from appliance.formats.revocation import make_revocation
from provisioning.station.enrol import Order, Station, Tell, enrol, print_paper
from provisioning.station.portal import portal_context
from provisioning.station.portal import revoke as ask_to_revoke
from provisioning.station.progress import Progress, with_step
from provisioning.station.several import Listed, Outcome, enrol_several, order_again, read_list
from provisioning.station.station_key import make_station_key, public_text, read_station_key
from provisioning.station.status import Row, json_of, table_of
from provisioning.station.texts import LANGUAGES, explain, say, texts_in
from provisioning.station.workbench import Workbench

NOT_ALL_DONE = 6
MAX_AUTHORITY_BYTES = 64 * 1024


def new_key(chosen: argparse.Namespace) -> int:
    """Make the station's key."""
    print(make_station_key(chosen.key))
    return 0


def public_key(chosen: argparse.Namespace) -> int:
    """Print the key's public half."""
    print(public_text(read_station_key(chosen.key)))
    return 0


def enrol_one(chosen: argparse.Namespace) -> int:
    """Enrol the box on the bench and print its sheet's place, or the sheet as JSON."""
    station = _station(chosen)
    order = _order(
        chosen, Listed(chosen.serial, chosen.enrol, chosen.enrol_sha256), _read_authority(chosen.portal_ca)
    )
    sheet = asyncio.run(enrol(order, station, _teller("")))
    if chosen.json:
        print(msgspec.json.encode(sheet).decode())
    elif station.languages:
        print(say("say.paper_at", path=str(station.workbench.files(sheet.serial).paper)))
    return 0


def enrol_all(chosen: argparse.Namespace) -> int:
    """Enrol every box of a list."""
    portal_ca = _read_authority(chosen.portal_ca)
    return _run_several(chosen, [_order(chosen, listed, portal_ca) for listed in read_list(chosen.boxes)])


def resume(chosen: argparse.Namespace) -> int:
    """Go on with boxes that were begun and not enrolled; all of them, if none is named."""
    workbench = Workbench(chosen.folder)
    portal_ca = _read_authority(chosen.portal_ca)
    orders: list[Order] = []
    failed: list[Outcome] = []
    for serial in chosen.serials or [serial for serial in workbench.serials() if _is_to_do(workbench, serial)]:
        try:
            orders.append(order_again(workbench.known(serial)[1], portal_ca))
        except PraxisError as error:
            failed.append(Outcome(serial, error))
    return _run_several(chosen, orders, failed)


def status(chosen: argparse.Namespace) -> int:
    """List the boxes."""
    workbench = Workbench(chosen.folder)
    listed = [box.serial for box in read_list(chosen.boxes)] if chosen.boxes else []
    for serial in chosen.serials:
        workbench.known(serial)
    rows = _rows(workbench, chosen.serials or sorted({*workbench.serials(), *listed}))
    print(json_of(rows) if chosen.json else table_of(rows, texts_in(chosen.language)))
    return 0


def sheet(chosen: argparse.Namespace) -> int:
    """Draw the paper of enrolled boxes again."""
    workbench = Workbench(chosen.folder)
    for serial in chosen.serials:
        workbench.known(serial)
        with workbench.hold(serial) as files:
            _, progress = workbench.known(serial)
            kept = files.read_sheet()
            if progress.has("handed_over"):
                raise Refused("handed_over")
            if kept is None or not kept.finished:
                raise Refused("not_finished")
            if kept.serial != serial:
                raise Refused("sheet_taken")
            print_paper(files, kept, _languages(chosen.paper))
            files.write_progress(with_step(progress, "printed", Station.now()))
            print(say("say.paper_at", path=str(files.paper)))
    return 0


def hand_over(chosen: argparse.Namespace) -> int:
    """Write down that the practice has its sheet, and remove the claim code here."""
    workbench = Workbench(chosen.folder)
    for serial in chosen.serials:
        workbench.known(serial)
        with workbench.hold(serial) as files:
            _, progress = workbench.known(serial)
            if not progress.has("printed"):
                raise Refused("not_finished")
            files.write_progress(with_step(progress, "handed_over", Station.now()))
            files.forget_claim_code()
            print(say("say.handed_over", serial=serial))
    return 0


def revoke(chosen: argparse.Namespace) -> int:
    """Have the portal take boxes out for good, and put their folders aside."""
    workbench, key = Workbench(chosen.folder), read_station_key(chosen.key)
    portal_ca = _read_authority(chosen.portal_ca)
    for serial in chosen.serials:
        workbench.known(serial)
        with workbench.hold(serial) as files:
            _, progress = workbench.known(serial)
            if progress.place is None or not progress.has("registered"):
                raise Refused("not_registered")
            place = progress.place
            revocation = make_revocation(progress.box, place.portal_name, Station.now(), key)
            asyncio.run(
                ask_to_revoke(place.portal_address, place.portal_name, portal_ca, msgspec.json.encode(revocation))
            )
            files.forget_claim_code()
            workbench.put_aside(progress)
            print(say("say.revoked", serial=serial))
    return 0


def words(chosen: argparse.Namespace) -> int:
    """Give the words of the device key in a portal's record, to compare with a sheet by telephone."""
    try:
        record = decode_record(chosen.record.read_bytes())
    except (OSError, PraxisError) as error:
        raise Invalid("record_file") from error
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), record.device_point)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    print(*words_of(hashlib.sha256(der).digest()))
    return 0


def _run_several(chosen: argparse.Namespace, orders: Sequence[Order], failed: Sequence[Outcome] = ()) -> int:
    station = _station(chosen)
    ended: list[Outcome] = []
    count = len(orders) + len(failed)

    def end(outcome: Outcome) -> None:
        ended.append(outcome)
        number = len(ended)
        if outcome.failure is None:
            _tell_of(outcome.serial, say("say.box_done", number=number, count=count))
        else:
            _tell_of(outcome.serial, say("say.box_failed", number=number, count=count, code=outcome.failure.code))
            _tell_of(outcome.serial, explain(outcome.failure))

    for outcome in failed:
        end(outcome)
    asyncio.run(enrol_several(orders, station, chosen.at_once, _teller, end))
    rows = _rows(station.workbench, [outcome.serial for outcome in ended])
    done = sum(outcome.failure is None for outcome in ended)
    print(table_of(rows, texts_in(chosen.language)))
    print("\n" + say("say.all", done=done, count=count))
    return 0 if done == count else NOT_ALL_DONE


def _rows(workbench: Workbench, serials: Sequence[str]) -> list[Row]:
    return [Row(serial, _read(workbench, serial)) for serial in serials]


def _read(workbench: Workbench, serial: str) -> Progress | None:
    """Give the state of a serial, an empty one if it was not begun, None if it is damaged."""
    try:
        return workbench.files(serial).read_progress() or Progress(serial=serial)
    except Invalid:
        return None


def _is_to_do(workbench: Workbench, serial: str) -> bool:
    progress = _read(workbench, serial)
    return progress is None or (progress.place is not None and not progress.has("printed"))


def _station(chosen: argparse.Namespace) -> Station:
    return Station(Workbench(chosen.folder), read_station_key(chosen.key), _languages(chosen.paper))


def _languages(paper: str) -> tuple[str, ...]:
    return {"both": LANGUAGES, "none": ()}.get(paper, (paper,))


def _order(chosen: argparse.Namespace, listed: Listed, portal_ca: str) -> Order:
    return Order(
        bench_address=listed.bench_address,
        bench_sha256=listed.bench_sha256,
        portal_address=chosen.portal,
        portal_name=chosen.portal_name,
        portal_ca=portal_ca,
        page_host=chosen.page_host,
        page_port=chosen.page_port,
        lan_host=chosen.lan_host,
        lan_port=chosen.lan_port,
        serial=listed.serial,
    )


def _read_authority(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_AUTHORITY_BYTES).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("portal_ca") from error
    portal_context(text)  # before the box is told of it
    return text


def _teller(serial: str) -> Tell:
    def tell(step: str, **facts: str) -> None:
        _tell_of(serial, say(f"say.{step}", **facts))

    return tell


def _tell_of(serial: str, text: str) -> None:
    print(f"{serial}  {text}" if serial else text, file=sys.stderr, flush=True)
