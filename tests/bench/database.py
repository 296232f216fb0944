"""SQLCipher against plain SQLite: the same schema, statements, settings and syncing, one after the other in this process.

Both go through the product's own functions and its own transaction (`Database._transact`); the plain one has the same
PRAGMAs except those that only SQLCipher knows. Beforehand both hold the same practice.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from appliance.contracts.records import Document, Person
from appliance.contracts.vault import WrappedKey
from appliance.records import database, documents, patients, search
from appliance.records.database import Database, Rows
from appliance.records.documents import Sealed
from appliance.records.schema import MIGRATIONS
from tests.bench.figures import Figure, Goal, interleaved

#: FTS5's option came with SQLite 3.42; an older baseline does without, which makes it faster, not slower.
KNOWS_SECURE_DELETE = sqlite3.sqlite_version_info >= (3, 42)
FAMILY_NAMES = ("Müller", "Schmidt", "Schneider", "Fischer", "Weber", "Meyer", "Wagner", "Becker", "Şahin", "Łukasz")
GIVEN_NAMES = ("Anna", "Erika", "Jörg", "Paul", "Zoë", "Karl", "Mia", "Lena", "Otto", "Ümit")
#: Nobody opens these documents.
KEY = WrappedKey(wrapped=bytes(60), generation=1)
TITLES = ("Befund", "Laborwerte", "Röntgen Thorax", "Rechnung", "Überweisung", "Arztbrief")


@dataclass(frozen=True)
class Load:
    """How many patients there are, and what one measurement does."""

    patients: int
    inserts: int
    searches: int
    rounds: int


FULL, SHORT = Load(10_000, 60, 30, 21), Load(100, 3, 3, 2)


class Practice:
    """One database with the practice in it."""

    def __init__(self, thread: ThreadPoolExecutor, connection: Any, load: Load) -> None:
        self._thread, self._database = thread, Database(thread, connection, bytes(database.KEY_BYTES), "live")
        self._random = random.Random(1)
        self._patients: list[str] = []
        self._transact(lambda rows: self._fill(rows, load.patients))

    def insert(self, count: int) -> float:
        """Add documents, each in a transaction of its own that is synced; give how many a second."""
        chosen = [(self._random.choice(self._patients), self._random.randbytes(16).hex()) for _ in range(count)]
        began = time.perf_counter()
        for patient, document in chosen:
            self._transact(partial(documents.add, sealed=sealed_row(patient, document, KEY)))
        return count / (time.perf_counter() - began)

    def search(self, count: int) -> float:
        """Look for patients by the beginnings of both names, as the search field does; give how many a second."""
        asked = [
            f"{self._random.choice(GIVEN_NAMES)[:3]} {self._random.choice(FAMILY_NAMES)}{self._random.randrange(1, 10)}"
            for _ in range(count)
        ]
        began = time.perf_counter()
        for text in asked:
            found, _ = self._transact(partial(patients.find, text=text, birth_date=None, after=0, count=50))
            assert found or len(self._patients) < 10_000, text
        return count / (time.perf_counter() - began)

    def search_text(self, count: int) -> float:
        """Look for documents by a title's beginning and a name's; give how many a second."""
        asked = [
            f"{self._random.choice(TITLES)[:5]} {self._random.choice(FAMILY_NAMES)}{self._random.randrange(1, 10)}"
            for _ in range(count)
        ]
        began = time.perf_counter()
        for text in asked:
            found, _ = self._transact(partial(search.find, text=text, before=None, count=50))
            assert found or len(self._patients) < 10_000, text
        return count / (time.perf_counter() - began)

    def close(self) -> None:
        self._database.close()

    def _transact(self, work: Callable[[Rows], Any]) -> Any:
        return self._thread.submit(self._database._transact, work).result()

    def _fill(self, rows: Rows, count: int) -> None:
        for number in range(count):
            patient = self._random.randbytes(16).hex()
            person = Person(
                family_name=f"{self._random.choice(FAMILY_NAMES)}{number % 100}",
                given_name=self._random.choice(GIVEN_NAMES),
                birth_date=f"19{number % 100:02d}-0{1 + number % 9}-1{number % 10}",
                number=str(number),
            )
            patients.create(rows, patient, person, 1)
            documents.add(rows, sealed_row(patient, self._random.randbytes(16).hex(), KEY))
            self._patients.append(patient)


def sealed_row(patient: str, document: str, key: WrappedKey) -> Sealed:
    """Give a document's row."""
    description = Document(
        document=document,
        patient=patient,
        kind="finding",
        title=f"{TITLES[int(document[0], 16) % len(TITLES)]} {document[:2]}",
        name="befund.pdf",
        media_type="application/pdf",
        length=1000,
        added_at=1,
        added_by="Sabine Keller",
    )
    digest = hashlib.sha256(document.encode()).digest()
    return Sealed(description, 2000, digest, key, f"{document[:2]}/{document}")


def open_encrypted(path: Path) -> Any:
    """Open as the product does."""
    return database._open(path, os.urandom(database.KEY_BYTES), "live")


def open_plain(path: Path) -> Any:
    """Open with Python's own SQLite and everything of the product that it understands."""
    connection = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)
    for pragma in database.PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    for statement in (statement for step in MIGRATIONS for statement in step):
        if KNOWS_SECURE_DELETE or "secure-delete" not in statement:
            connection.execute(statement)
    return connection


def measure(folder: Path, *, short: bool = False) -> list[Figure]:
    """Give the figures; both databases lie in `folder`."""
    load = SHORT if short else FULL
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-database-") as place:
        practices = []
        for name, opened in (("encrypted", open_encrypted), ("plain", open_plain)):
            thread = ThreadPoolExecutor(1)
            practices.append(Practice(thread, thread.submit(opened, Path(place, name)).result(), load))
        encrypted, plain = practices
        try:
            inserts = interleaved(
                lambda: encrypted.insert(load.inserts), lambda: plain.insert(load.inserts), load.rounds
            )
            searches = interleaved(
                lambda: encrypted.search(load.searches), lambda: plain.search(load.searches), load.rounds
            )
            texts = interleaved(
                lambda: encrypted.search_text(load.searches), lambda: plain.search_text(load.searches), load.rounds
            )
        finally:
            for practice in practices:
                practice.close()
    return [
        Figure("database: durable insert of a document", "1/s", inserts, Goal(0.7)),
        Figure(f"database: search among {load.patients} patients", "1/s", searches, Goal(0.5)),
        Figure(f"database: full-text search among {load.patients} documents", "1/s", texts, Goal(0.5)),
    ]
