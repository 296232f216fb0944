"""The end of a restore: what the old box erased since is erased again, and only then is everyone answered.

The list of it comes from a store that may be hostile: it counts if vault says that the box of the restored generation
proved it, before anything is erased. What is known by rows (the copy's own, this box's) counts without it.
docs/formats/backup.md, "A restore".
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from appliance.contracts.vault import CheckErasedList, EndRestore
from appliance.core.errors import NotFound, Tampered
from appliance.core.journal import say
from appliance.records import documents, erased, patients, previews, restoring
from appliance.records.archive import Archive
from appliance.records.database import Rows
from appliance.records.threads import on_thread

MAX_ERASED_LIST_BYTES = 256 * 1024 * 1024


async def finish(archive: Archive, *, without_list: bool) -> tuple[int, int]:
    """Erase again and end the restore; give how many documents were erased, and files are missing or do not open.

    Errors as FinishRestore says. What a cut ended after the erasure needs neither list nor vault's old keys.
    """
    gone: list[str] = []
    if not await archive.database.run(restoring.is_erased_again):
        listed = await _proven_list(archive, without_list=without_list)
        gone = await archive.database.run(partial(_erase_again, named=listed, now=archive.now))
    await on_thread(archive.file_threads, archive.files.remove, gone)
    await archive.database.forget()
    missing = await archive.sweep_files()
    named = await archive.database.run(restoring.keys_lost)
    lost = await on_thread(archive.file_threads, archive.files.count_whole, named)
    await archive.append("restore_finished")
    await archive.vault.ask(EndRestore())
    count = await archive.database.run(restoring.erased)
    await archive.database.run(restoring.end)
    archive.tell_missing(missing)
    if lost:
        say("document_keys_lost", priority="alert", count=lost)
    archive.not_restoring.set()
    archive.erasure_waits.set()
    return count, missing + lost


async def _proven_list(archive: Archive, *, without_list: bool) -> erased.Named | None:
    """Give what the list names; None if backup has no list left that is proven, and says so."""
    path = archive.restored / "snapshot" / "erased.json"
    try:
        named, digest, proof = await on_thread(archive.file_threads, _read, path)
        await archive.vault.ask(CheckErasedList(digest=digest, proof=proof))
    except (NotFound, Tampered) as error:
        if not without_list:
            raise
        say("restored_without_erased_list", priority="alert", found=int(isinstance(error, Tampered)))
        return None
    return named


def _read(path: Path) -> tuple[erased.Named, bytes, bytes]:
    """Give what a list names, the digest that its proof is of, and the proof."""
    try:
        with path.open("rb") as file:
            encoded = file.read(MAX_ERASED_LIST_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound("erased_list") from error
    if len(encoded) > MAX_ERASED_LIST_BYTES:
        raise Tampered("erased_list")
    named, proof = erased.decode(encoded)
    if not proof:
        raise Tampered("erased_list")
    return named, named.digest(), proof


def _erase_again(rows: Rows, named: erased.Named | None, now: int) -> list[str]:
    """Remove what was erased by any list or row, documents of such patients too; give the files that go.

    All of it is on this box's list from now on: older generations are still in the store.
    """
    rows.change("INSERT OR IGNORE INTO erased SELECT kind, identifier, at FROM restore_erased")
    if named is not None:
        erased.note_named(rows, named)
    found = rows.all(
        """
        SELECT document, patient, file FROM documents
        WHERE document IN (SELECT identifier FROM erased WHERE kind = 'document')
           OR patient IN (SELECT identifier FROM erased WHERE kind = 'patient')
        """
    )
    files = []
    for document, patient, file in found:
        files += [str(file), *previews.file_of(rows, document)]
        documents.remove(rows, patient, document, now)
    for (patient,) in rows.all(
        "SELECT patient FROM patients WHERE patient IN (SELECT identifier FROM erased WHERE kind = 'patient')"
    ):
        patients.remove(rows, patient, now)
    restoring.note_erased(rows, len(found))
    return files
