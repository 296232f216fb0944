"""A box whose erasure key turns, and whose power may be cut anywhere in it.

Vault's and records' own code runs on both sides of a call. vault's files and TPM are those of cut_disk.py; records'
database is SQLCipher's, of which is recorded what each transaction left: that one is whole or not there after a cut is
SQLite's promise (sqlite.org/atomiccommit.html) and taken as given.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from appliance.contracts.vault import (
    NameErasureGenerations,
    UnwrapDocumentKey,
    WrapDocumentKey,
    WrappedKey,
)
from appliance.core.errors import PraxisError
from appliance.core.varlink import Call, Caller
from appliance.records import document_keys, documents, erasure, turning
from appliance.records.database import Database
from appliance.vault import shares
from appliance.vault.answers import VaultAnswers
from appliance.vault.clock import Clock
from appliance.vault.erasure_answers import ErasureAnswers
from appliance.vault.erasure_slots import FIRST_GENERATION, ErasureKey
from appliance.vault.hierarchy import Keys, unwrap_document_key
from appliance.vault.keys import OpenedKeys, Unlocked
from appliance.vault.state import State
from appliance.vault.store import Store
from appliance.vault.vault import Vault
from tests.bench.database import sealed_row
from tests.vault.cut_disk import CountingTpm, Disk, Step
from tests.vault.test_cuts import NOW, facts, make_share

ROOT_KEY = b"root" * 8
TABLES = ("patients", "documents", "erasure")
PATIENT = "0" * 32
DOCUMENTS = 7


@dataclass
class Box:
    """Vault and records, as far as a turn goes; `log` is what happened."""

    vault: Vault
    archive: Any
    log: list[Step]
    #: document -> its key, of those that are here; and of those that were erased, every wrapping they ever had.
    keys: dict[str, bytes] = field(default_factory=dict)
    gone: dict[str, list[WrappedKey]] = field(default_factory=dict)

    async def ask(self, call: Call[Any]) -> Any:
        """Ask vault, without a socket."""
        if isinstance(call, WrapDocumentKey):
            return await VaultAnswers(self.vault).answer_wrap_document_key(call, Caller("records"))
        if isinstance(call, UnwrapDocumentKey):
            return await VaultAnswers(self.vault).answer_unwrap_document_key(call, Caller("records"))
        return await ErasureAnswers(self.vault).table()[type(call)](call, Caller("records"))

    async def wrap(self, document: str, key: bytes) -> WrappedKey:
        """Have a key wrapped that no row has yet."""
        return await document_keys.wrap(self.archive, document, key)

    async def unwrap(self, document: str) -> bytes:
        """Give the key of a document that is here."""
        wrapped = await self.archive.database.run(lambda rows: erasure.find_key(rows, document))
        return await document_keys.unwrap(self.archive, document, wrapped)

    async def add(self, document: str, wrapped: WrappedKey | None = None, key: bytes | None = None) -> None:
        """Add a document as an intake does; with a key that was wrapped before, if given."""
        key = key or os.urandom(32)
        wrapped = wrapped or await document_keys.wrap(self.archive, document, key)

        def put(rows, wrapped):
            documents.add(rows, sealed_row(PATIENT, document, wrapped))

        self.keys[document] = key
        await document_keys.keep(self.archive, document, key, wrapped, put)

    async def erase(self, document: str) -> None:
        """Take the row away, and with it the last use of its key."""
        self.gone[document] = [await self.archive.database.run(lambda rows: erasure.find_key(rows, document))]
        await self.archive.database.run(lambda rows: documents.remove(rows, PATIENT, document, 0))
        del self.keys[document]

    async def finish(self) -> None:
        """Do what a start does until nothing is due."""
        while await turning.turn(self.archive):
            pass


class Recorded(Database):
    """Records' database, of which is written down what each transaction left."""

    log: list[Step]
    last: Any = None

    async def run(self, work):
        result = await super().run(work)
        kept = await super().run(dump)
        if kept != self.last:
            self.last = kept
            self.log.append(Step("commit", value=kept))
        return result


def dump(rows):
    return {table: rows.all(f"SELECT * FROM {table}") for table in TABLES}  # noqa: S608 (names from TABLES)


def restore(rows, kept):
    for table in reversed(TABLES):
        rows.change(f"DELETE FROM {table}")  # noqa: S608 (names from TABLES)
    for table in TABLES:
        for row in kept[table]:
            places = ", ".join("?" * len(row))
            rows.change(f"INSERT INTO {table} VALUES ({places})", *row)  # noqa: S608 (names from TABLES)


async def open_database(path: Path, log: list[Step]) -> Recorded:
    database = await Recorded.open(path, b"d" * 32)
    database.log = log
    await Database.run(database, lambda rows: rows.all("SELECT 1"))
    database._thread.submit(database._connection.execute, "PRAGMA synchronous = OFF").result()
    return database


def clock() -> Clock:
    return Clock(lambda: NOW, lambda: 0.0)


def wire(folder: Path, tpm: CountingTpm, store: Store, keys: Keys, database: Recorded, log: list[Step]) -> Box:
    vault = Vault(SimpleNamespace(state=str(folder)), tpm, b"", None, clock())
    vault._opened, vault._store = opened_keys(keys), store
    archive = SimpleNamespace(database=database, vault=None, turning=asyncio.Lock(), not_restoring=asyncio.Event())
    archive.not_restoring.set()
    box = Box(vault, archive, log)
    archive.vault = SimpleNamespace(ask=box.ask)
    return box


def opened_keys(keys: Keys) -> OpenedKeys:
    return OpenedKeys(keys, b"", Unlocked(), "itself")


async def make_box(folder: Path, database: Recorded, log: list[Step]) -> Box:
    """Make a box with some documents and shares."""
    tpm = CountingTpm(log)
    first = ErasureKey(FIRST_GENERATION, os.urandom(32))
    await tpm.make_erasure_slots(first, b"")
    keys = Keys.of(ROOT_KEY, [first])
    store = await Store.make(folder, keys, clock(), tpm, State(box=facts()))
    box = wire(folder, tpm, store, keys, database, log)
    generations = await box.ask(NameErasureGenerations())
    await database.run(lambda rows: erasure.adopt(rows, generations.oldest, generations.newest))
    await database.run(
        lambda rows: rows.change("INSERT INTO patients VALUES (?, 'A', 'B', '1980-01-01', '', 'a', 1)", PATIENT)
    )
    for number in range(DOCUMENTS):
        await box.add(f"{number:032x}")
    for number in range(3):
        share = make_share(number)
        await box.vault.change(lambda state, _, share=share: replace(state, shares=shares.add(state.shares, share)))
    return box


async def start_box(folder: Path, database: Recorded, disk: Disk, names: dict[str, bytes], kept: Any) -> Box:
    """Start on what a cut left. Raises what a start refuses with."""
    log: list[Step] = []
    for path in folder.iterdir():
        path.unlink()
    for name, data in names.items():
        (folder / name).write_bytes(data)
    await Database.run(database, lambda rows: restore(rows, kept))
    database.log, database.last = log, kept
    tpm = CountingTpm(log, disk.count, disk.slots)
    keys = Keys.of(ROOT_KEY, await tpm.read_erasure_keys(b""))
    store = await Store.open(folder, keys, clock(), tpm)
    box = wire(folder, tpm, store, keys, database, log)
    generations = await box.ask(NameErasureGenerations())
    await Database.run(database, lambda rows: erasure.adopt(rows, generations.oldest, generations.newest))
    return box


def older_keys_open(box: Box, gone: dict[str, list[WrappedKey]]) -> list[str]:
    """Give the erased documents that some wrapping on an older disk still opens, by this box's TPM of today."""
    opened = []
    for document, wrappings in gone.items():
        for wrapped in wrappings:
            for generation in range(1, 10):
                try:
                    unwrap_document_key(box.vault.keys.keys, generation, document, wrapped.wrapped)
                except PraxisError:
                    continue
                opened.append(document)
    return opened
