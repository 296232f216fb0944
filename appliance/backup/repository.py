"""What backup does with a repository, in its own words: open or make it, save, fetch, list, forget.

A generation is a restic snapshot tagged `generation=<n>`, the list of what was erased one tagged `erased=<n>`
(docs/formats/backup.md). Only files are fetched, never restic's idea of a folder's mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from appliance.backup.folders import BUNDLE, ERASED_LIST, SNAPSHOT
from appliance.backup.restic import HOST, Restic
from appliance.contracts.backup import Generation
from appliance.contracts.snapshots import Contents
from appliance.core.errors import NotFound, PraxisError, Tampered, Unavailable

OPEN_TRIES = 5
GENERATION, ERASED = "generation", "erased"
#: The year 2100: a number beyond it is not the time of a backup.
MAX_GENERATION = 4_102_444_800
MAX_DIGITS = 12
#: How far: bytes done, bytes in all, files done, files in all.
OnProgress = Callable[[int, int, int, int], None]


class _Line(msgspec.Struct):
    """A line of `restic backup --json`; the fields this module reads."""

    message_type: str = ""
    bytes_done: int = 0
    total_bytes: int = 0
    files_done: int = 0
    total_files: int = 0
    snapshot_id: str = ""


class _Snapshot(msgspec.Struct):
    """An entry of `restic snapshots --json`; the fields this module reads.

    Not its time: that is of the box's clock and time zone at that moment, and orders nothing.
    """

    id: str
    tags: list[str] | None = None


@dataclass(frozen=True)
class Kept:
    """A generation as the repository has it."""

    snapshot: str
    generation: int
    documents: int
    bytes: int

    def shown(self, tested_at: int) -> Generation:
        """Give it as the contract has it: the number is the time it was begun."""
        return Generation(
            generation=self.generation,
            made_at=self.generation,
            tested_at=tested_at,
            documents=self.documents,
            bytes=self.bytes,
        )


@dataclass(frozen=True)
class Listed:
    """What lies in a repository: generations, oldest first, and the lists of what was erased, oldest first."""

    generations: list[Kept]
    erased: list[str]
    #: The number of the newest list; 0: none.
    last_list: int = 0

    def find(self, generation: int) -> Kept:
        """Give a generation; NotFound("generation")."""
        for kept in self.generations:
            if kept.generation == generation:
                return kept
        raise NotFound("generation")


class Repository:
    """A repository and the folders of this box."""

    def __init__(self, restic: Restic, work: Path, restored: Path) -> None:
        self._restic = restic
        self._work = work
        self._restored = restored

    async def open(self, patience_s: float | None) -> None:
        """Try the password; NotFound("repository"), Refused("repository_password").

        Tried anew if the reason is not known: restic sometimes ends before it has passed on what ssh said.
        """
        for tries_left in range(OPEN_TRIES - 1, -1, -1):
            try:
                await self._restic.run("cat", "config", patience_s=patience_s)
            except Unavailable as error:
                if error.code != "store_failed" or not tries_left:
                    raise
            else:
                return

    async def make(self, patience_s: float | None) -> None:
        """Make a repository."""
        await self._restic.run("init", "--repository-version", "2", patience_s=patience_s)

    async def add_password(self, file: Path, patience_s: float | None) -> None:
        """Let another password open it too: the one in `file`."""
        await self._restic.run("key", "add", "--new-password-file", str(file), patience_s=patience_s)

    async def save_generation(self, generation: int, contents: Contents, on_progress: OnProgress) -> str:
        """Save the bundle and the snapshot; give the restic snapshot's identifier.

        Hard links change a file's ctime with every snapshot, so it says nothing here (--ignore-ctime).
        """
        tags = f"{GENERATION}={generation},documents={contents.documents},bytes={contents.bytes}"
        return await self._save(tags, (BUNDLE, SNAPSHOT), on_progress)

    async def save_erased(self, number: int) -> None:
        """Save the list of what was erased, under a number above those before."""
        await self._save(f"{ERASED}={number}", (ERASED_LIST,), lambda *_: None)

    async def _save(self, tags: str, names: Sequence[str], on_progress: OnProgress) -> str:
        made = ""

        def read(line: bytes) -> None:
            nonlocal made
            try:
                said = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError:
                return
            if said.message_type == "status":
                on_progress(said.bytes_done, said.total_bytes, said.files_done, said.total_files)
            made = said.snapshot_id or made

        await self._restic.run(
            "backup",
            "--json",
            "--host",
            HOST,
            "--ignore-ctime",
            "--tag",
            tags,
            *names,
            folder=self._work,
            on_line=read,
        )
        return made

    async def list(self, patience_s: float | None = None) -> Listed:
        """Say which generations there are."""
        said = await self._restic.ask_json("snapshots", "--no-lock", patience_s=patience_s)
        found = msgspec.convert(said or [], list[_Snapshot])
        tagged = [(snapshot.id, dict(_tag(tag) for tag in snapshot.tags or [])) for snapshot in found]
        generations = [
            Kept(identifier, tags[GENERATION], tags.get("documents", 0), tags.get("bytes", 0))
            for identifier, tags in tagged
            if 0 < tags.get(GENERATION, 0) <= MAX_GENERATION
        ]
        lists = sorted((tags[ERASED], identifier) for identifier, tags in tagged if ERASED in tags)
        return Listed(
            sorted(generations, key=lambda kept: kept.generation),
            [identifier for _, identifier in lists],
            lists[-1][0] if lists else 0,
        )

    async def fetch_rows(self, snapshot: str, folders: Sequence[str] = ()) -> None:
        """Fetch bundle, database and contents, and the sealed files of some of the 256 folders."""
        rows = [f"/{BUNDLE}", f"/{SNAPSHOT}/records.db", f"/{SNAPSHOT}/contents.json"]
        await self._fetch(snapshot, rows + _files(folders))

    async def fetch_erased(self, snapshot: str) -> None:
        """Fetch the list of what was erased."""
        await self._fetch(snapshot, [f"/{ERASED_LIST}"])

    async def fetch_files(self, snapshot: str, folders: Sequence[str]) -> None:
        """Fetch the sealed files of some of the 256 folders."""
        await self._fetch(snapshot, _files(folders))

    async def _fetch(self, snapshot: str, patterns: Sequence[str]) -> None:
        wanted = [word for pattern in patterns for word in ("--include", pattern)]
        try:
            await self._restic.run("restore", snapshot, "--no-lock", "--target", str(self._restored), *wanted)
        except PraxisError as error:
            if error.code == "store_failed":  # it could not put together what it was asked for
                raise Tampered("repository_damaged") from error
            raise

    async def forget(self, snapshots: Sequence[str]) -> None:
        """Forget restic snapshots, and remove what only they held."""
        await self._restic.run("unlock")  # locks of a box that was killed; those of a living one stay
        await self._restic.run("forget", "--prune", *snapshots)


def _files(folders: Sequence[str]) -> list[str]:
    return [f"/{SNAPSHOT}/sealed/{folder}/*" for folder in folders]


def _tag(tag: str) -> tuple[str, int]:
    name, _, number = tag.partition("=")
    return name, int(number) if number.isdecimal() and len(number) <= MAX_DIGITS else 0
