"""The only door to SQLCipher: one thread owns the connection, and all work is a transaction on it.

Rules: encrypted with the raw key that vault gives (every page with its own HMAC, so a changed page is Tampered); a
change is acknowledged only when it is synced (WAL, synchronous=FULL); what is deleted is overwritten
(secure_delete), and nothing is ever written outside the encrypted files (temporary data stays in memory). Foreign
exceptions are translated here. sqlcipher's own log is off: it might hold a value.

SQLCipher locks and wipes its own keys always; locking and wiping every allocation of SQLite
(cipher_memory_security) stays off: docs/decisions/database-memory.md.

Sources: sqlite.org/pragma.html, sqlite.org/wal.html, zetetic.net/sqlcipher/sqlcipher-api.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, NoReturn, TypeVar, cast

from sqlcipher3 import dbapi2 as sqlcipher

from appliance.core.errors import Invalid, Tampered, Unavailable
from appliance.records.schema import MIGRATIONS

KEY_BYTES = 32
Row = tuple[Any, ...]
Result = TypeVar("Result")

#: live: records' own. copy: a copy in one file, which is made or changed by us. unchanging: one that is only read.
Kind = Literal["live", "copy", "unchanging"]
#: A step of a copy takes some tens of milliseconds; other work has its turn in between.
COPY_PAGES_AT_ONCE = 500

PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # one process, and no shared-memory file
    "synchronous = FULL",
    "secure_delete = ON",
    "foreign_keys = ON",
    "temp_store = MEMORY",
    "trusted_schema = OFF",
    "cell_size_check = ON",
)


class Rows:
    """The statements of one transaction; valid only inside the work it is given to."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def all(self, statement: str, *values: object) -> list[Row]:
        """Give all rows."""
        rows: list[Row] = self._connection.execute(statement, values).fetchall()
        return rows

    def one(self, statement: str, *values: object) -> Row | None:
        """Give the first row, if there is one."""
        row: Row | None = self._connection.execute(statement, values).fetchone()
        return row

    def change(self, statement: str, *values: object) -> int:
        """Change rows and give how many."""
        return int(self._connection.execute(statement, values).rowcount)

    def change_all(self, statement: str, values: Iterable[tuple[object, ...]]) -> None:
        """Change rows by one statement for each of `values`."""
        self._connection.executemany(statement, values)


class Database:
    """The open database; close it. Raises Tampered("database") if the key or a page is not right."""

    def __init__(self, thread: ThreadPoolExecutor, connection: Any, key: bytes, kind: Kind) -> None:
        self._thread = thread
        self._connection = connection
        self._key = key
        self._begin = "BEGIN" if kind == "unchanging" else "BEGIN IMMEDIATE"
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[Rows], Any]]] = SimpleQueue()

    @classmethod
    async def open(cls, path: Path, key: bytes, kind: Kind = "live") -> Database:
        """Open or create the database and bring its schema up to date; one that is only read must be up to date."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _open, path, key, kind)
        except BaseException:
            thread.shutdown()
            raise
        return cls(thread, connection, key, kind)

    async def run(self, work: Callable[[Rows], Result]) -> Result:
        """Do `work` in one transaction: synced when this returns, undone if it raises."""
        answer = Future[Any]()
        self._waiting.put((answer, work))
        self._thread.submit(self._do_waiting)
        return cast(Result, await asyncio.wrap_future(answer))

    async def copy(self, path: Path) -> Database:
        """Copy all, as it is when the copy is whole, to a new file under the same key, and give that: close it.

        Other work has its turn meanwhile; what it changes is in the copy (sqlite.org/c3ref/backup_finish.html).
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._copy, path)
        return await Database.open(path, self._key, "copy")

    async def size(self) -> int:
        """Give how many bytes the whole database is."""
        (pages,), (page_bytes,) = await self.run(
            lambda rows: (rows.all("PRAGMA page_count")[0], rows.all("PRAGMA page_size")[0])
        )
        return int(pages) * int(page_bytes)

    async def open_copy(self, path: Path) -> Database:
        """Open a copy that this database made, to read it; close it."""
        return await Database.open(path, self._key, "unchanging")

    async def take_in(self, path: Path, key: bytes, work: Callable[[Rows], Result]) -> Result:
        """Do `work` in one transaction in which the tables of another database are there, as `other`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._take_in, path, key, work)

    async def check(self) -> None:
        """Read every page and hold its HMAC and its structure; Tampered("database")."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._check)

    async def forget(self) -> None:
        """Write the log back and empty it, so that pages from before an erasure are not kept there."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._checkpoint)

    def close(self) -> None:
        """Close when the work at hand is done."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    def _transact(self, work: Callable[[Rows], Result]) -> Result:
        try:
            self._connection.execute(self._begin)
            result = work(Rows(self._connection))
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlcipher.Error):
                _raise_translated(error)
            raise
        return result

    def _do_waiting(self) -> None:
        while True:
            try:
                answer, work = self._waiting.get_nowait()
            except Empty:
                return
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(self._transact(work))
                except BaseException as error:
                    answer.set_exception(error)

    def _copy(self, path: Path) -> None:
        try:
            target = _connect(path, self._key, "copy", ("synchronous = OFF",))  # whoever made it syncs the file
            try:
                self._connection.backup(target, pages=COPY_PAGES_AT_ONCE, progress=lambda *_: self._do_waiting())
            finally:
                target.close()
        except sqlcipher.Error as error:
            _raise_translated(error)

    def _take_in(self, path: Path, key: bytes, work: Callable[[Rows], Result]) -> Result:
        try:
            self._connection.execute(f"ATTACH DATABASE ? AS other KEY \"x'{key.hex()}'\"", (str(path),))
        except sqlcipher.Error as error:
            _raise_translated(error)
        try:
            return self._transact(work)
        finally:
            self._connection.execute("DETACH DATABASE other")

    def _check(self) -> None:
        try:
            wrong = self._connection.execute("PRAGMA cipher_integrity_check").fetchall()
            wrong += self._connection.execute("PRAGMA quick_check(1)").fetchall()
        except sqlcipher.Error as error:
            _raise_translated(error)
        if wrong != [("ok",)]:
            raise Tampered("database")

    def _checkpoint(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlcipher.Error as error:
            _raise_translated(error)


def _open(path: Path, key: bytes, kind: Kind) -> Any:
    if len(key) != KEY_BYTES:
        raise Invalid("database_key")
    connection = None
    try:
        if kind == "unchanging":
            connection = _connect(path, key, kind, ())
            _refuse_other_version(connection)
        else:
            connection = _connect(path, key, kind, (f"journal_mode = {'WAL' if kind == 'live' else 'DELETE'}",))
            _migrate(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlcipher.Error):
            _raise_translated(error)
        raise
    return connection


def _connect(path: Path, key: bytes, kind: Kind, pragmas: tuple[str, ...]) -> Any:
    if kind == "unchanging":
        connection = sqlcipher.connect(f"{path.as_uri()}?mode=ro&immutable=1", isolation_level=None, uri=True)
    else:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlcipher.connect(str(path), isolation_level=None)
    try:
        connection.execute("PRAGMA cipher_log_level = NONE")
        connection.execute(
            f"PRAGMA key = \"x'{key.hex()}'\""
        )  # a raw key: no derivation (SQLCipher API, "PRAGMA key")
        for pragma in PRAGMAS + pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_other_version(connection: Any) -> None:
    if connection.execute("PRAGMA user_version").fetchone() != (len(MIGRATIONS),):
        raise Invalid("database_version")


def _migrate(connection: Any) -> None:
    """Do the steps that this database has not seen; each is a transaction with its number (PRAGMA user_version)."""
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    if done > len(MIGRATIONS):
        raise Invalid("database_version")  # written by a later release
    for number in range(done, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")


def _raise_translated(error: Exception) -> NoReturn:
    """Raise the failure of the five families, or the exception itself if nobody foresaw it."""
    code = getattr(error, "sqlite_errorcode", -1)
    if code == sqlcipher.SQLITE_FULL:
        raise Unavailable("disk_full") from error
    if code in (sqlcipher.SQLITE_CORRUPT, sqlcipher.SQLITE_NOTADB):
        raise Tampered("database") from error
    raise error
