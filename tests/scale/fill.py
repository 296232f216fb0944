"""Fills a box's records: run as records' user on the box, in place of the records process, with its settings.

`python -m tests.scale.fill PATIENTS DOCUMENTS LIVE_SHARES ENDED_SHARES`, a member of staff's session on the standard
input; prints what it made and how long it took as one JSON line.

By the product's own functions: patients, documents, texts and shares are made by what answers the same calls, every
document is sealed into its own file under a key that vault wraps, every entry is in the log. Two things differ from
what staff do, for speed: many rows go into one transaction, and sealed files are synced together at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from appliance.contracts.audit import AUDIT
from appliance.contracts.records import CreateShare, Document, RevokeShare
from appliance.contracts.vault import VAULT, Session, WrapDocumentKey
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer
from appliance.formats.envelope import KEY_BYTES, NONCE_PREFIX_BYTES, SALT_BYTES, DocumentSealer
from appliance.records import documents, patients, sealed_files
from appliance.records.archive import Archive, open_archive
from appliance.records.database import Rows
from appliance.records.documents import Sealed
from appliance.records.names import clean_person
from appliance.records.settings import RecordsSettings
from appliance.records.share_answers import ShareAnswers
from tests.scale.practice import FIRST_NUMBER, Paper, Size, papers, people

AT_ONCE = 250
Item = TypeVar("Item")


async def fill(archive: Archive, token: str, size: Size) -> dict[str, float]:
    """Make what is not there yet and give how long each part took in seconds."""
    took: dict[str, float] = {}
    began = time.monotonic()
    known = await numbered(archive)
    for batch in batches(itertools.islice(people(size.patients), len(known), None)):
        session = await archive.sessions.check_staff(token)  # a person who works keeps the session awake
        known += await add_people(archive, session, batch)
    took["patients_s"] = time.monotonic() - began
    began = time.monotonic()
    sealed_files.sync_folder = lambda _: None
    sync, os.fsync = os.fsync, lambda _: None
    made = await archive.database.run(
        lambda rows: rows.all("SELECT count(*) FROM documents WHERE name GLOB '*_[0-9][0-9][0-9][0-9][0-9][0-9].pdf'")
    )
    for batch in batches(itertools.islice(papers(size), made[0][0], None)):
        session = await archive.sessions.check_staff(token)
        await add_papers(archive, session, known, batch)
    os.fsync = sync
    os.sync()
    took["documents_s"] = time.monotonic() - began
    began = time.monotonic()
    await add_shares(archive, token, size)
    took["shares_s"] = time.monotonic() - began
    await archive.database.forget()
    return took


async def numbered(archive: Archive) -> list[str]:
    """Give the patients that were made before, in their order."""
    found = await archive.database.run(
        lambda rows: rows.all("SELECT patient, CAST(number AS INTEGER) FROM patients WHERE number <> '' ORDER BY 2")
    )
    return [patient for patient, number in found if number >= FIRST_NUMBER]


async def add_people(archive: Archive, session: Session, batch: list[Any]) -> list[str]:
    """Store patients in one transaction, each with its entry."""
    made = {os.urandom(16).hex(): clean_person(person) for person in batch}
    await asyncio.gather(*(archive.log(session, "patient_made", patient=patient) for patient in made))

    def create(rows: Rows) -> None:
        for patient, person in made.items():
            patients.create(rows, patient, person, archive.now)

    await archive.database.run(create)
    return list(made)


async def add_papers(archive: Archive, session: Session, known: list[str], batch: list[Paper]) -> None:
    """Seal documents, then store their rows and texts in one transaction."""
    at_once = asyncio.Semaphore(32)

    async def one(paper: Paper) -> tuple[Sealed, str]:
        async with at_once:
            return await seal(archive, session, known[paper.patient], paper)

    sealed = await asyncio.gather(*map(one, batch))

    def add(rows: Rows) -> None:
        for each, text in sealed:
            documents.add(rows, each, text)

    await archive.database.run(add)


async def seal(archive: Archive, session: Session, patient: str, paper: Paper) -> tuple[Sealed, str]:
    """Write one sealed file and its entry."""
    document, key = os.urandom(16).hex(), os.urandom(KEY_BYTES)
    sealer = DocumentSealer(
        key,
        archive.box_bytes,
        bytes.fromhex(document),
        paper.name,
        "application/pdf",
        os.urandom(SALT_BYTES),
        os.urandom(NONCE_PREFIX_BYTES),
    )
    wrapped = await archive.vault.ask(WrapDocumentKey(document=document, key=key))
    incoming = archive.files.receive()
    try:
        incoming.write(sealer.header())
        incoming.write(sealer.seal(memoryview(paper.content)))
        for piece in sealer.finish():
            incoming.write(piece)
        file = incoming.keep(document)
    finally:
        incoming.discard()
    await archive.log(session, "document_added", patient=patient, document=document)
    description = Document(
        document=document,
        patient=patient,
        kind=paper.kind,
        title=paper.title,
        name=paper.name,
        media_type="application/pdf",
        length=len(paper.content),
        added_at=paper.added_at,
        added_by=session.name,
    )
    return Sealed(description, incoming.length, incoming.digest(), wrapped, file), paper.text


async def add_shares(archive: Archive, token: str, size: Size) -> None:
    """Share one or two documents of a patient each time; some are revoked again."""
    archive.sessions._shares._count = size.live_shares + size.ended_shares + 1
    answers: Any = ShareAnswers(archive)
    owners = await archive.database.run(
        lambda rows: rows.all(
            "SELECT patient, min(document), max(document) FROM documents GROUP BY patient ORDER BY patient LIMIT ?",
            size.live_shares + size.ended_shares,
        )
    )
    for number, (patient, *named) in enumerate(owners):
        made = await answers.answer_create_share(
            CreateShare(session=token, patient=patient, documents=named, valid_days=90), None
        )
        if number < size.ended_shares:
            await answers.answer_revoke_share(RevokeShare(session=token, share=made.share), None)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Give items a few at a time."""
    left = iter(items)
    while batch := list(itertools.islice(left, AT_ONCE)):
        yield batch


async def main() -> None:
    """Fill the box this runs on."""
    size, token = Size(*map(int, sys.argv[1:5])), sys.stdin.readline().strip()
    settings = read_settings(RecordsSettings, "records")
    vault, audit = Peer.of(VAULT, "vault"), Peer.of(AUDIT, "audit")
    async with open_archive(settings, vault, audit, time.time) as archive:
        print(json.dumps(await fill(archive, token, size)))


if __name__ == "__main__":
    asyncio.run(main())
