"""vault and records as backup sees them: real local calls, real files of a snapshot, digests that are really compared.

`records.db` here is a JSON list of the files with their digests. Several boxes may stand on one folder each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.contracts import snapshots as contract
from appliance.contracts import vault as vault_contract
from appliance.contracts.snapshots import Contents, ErasedList
from appliance.contracts.vault import GenerationKeys, KeysMark, Opening, RepositoryPassword, Session
from appliance.core.errors import NotFound, Refused, Tampered
from appliance.core.varlink import Answers, Caller, Done, Interface, Peer, serve

STAFF = "staff-session-token-0001"
DEVICE = "device-session-token-001"


@contextlib.asynccontextmanager
async def answering(path: Path, interface: Interface, answers: Answers, caller: str) -> AsyncIterator[Peer]:
    """Answer some verbs of an interface on a socket, for this user as `caller`."""
    some = Interface(interface.name, {verb.__name__: verb for verb in answers}, "")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        serving = asyncio.ensure_future(serve(listener, [(some, answers)], {os.getuid(): caller}))
        try:
            yield Peer(interface, path)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            path.unlink(missing_ok=True)


@dataclass
class SimulatedVault:
    """Passwords of kits, the mark of the keys, sealed generations; open or locked."""

    password: str | None = "password-of-the-kit"
    earlier: list[str] = field(default_factory=list)
    sheets: str | None = None
    marks: list[str] = field(default_factory=lambda: ["0" * 32])
    sealed: list[int] = field(default_factory=list)
    existing: list[int] = field(default_factory=list)
    opening: Opening = field(default_factory=lambda: Opening(state="open", why=""))
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self, state: str) -> None:
        self.opening = Opening(state=state, why="")
        self.changed.set()

    def answers(self) -> Answers:
        return {
            vault_contract.CheckSession: self.answer_check_session,
            vault_contract.WatchOpening: self.answer_watch_opening,
            vault_contract.ReadKeysMark: self.answer_read_keys_mark,
            vault_contract.SealGeneration: self.answer_seal_generation,
            vault_contract.KeepGenerations: self.answer_keep_generations,
            vault_contract.ReadRepositoryPassword: self.answer_read_repository_password,
        }

    async def answer_check_session(self, call, _: Caller) -> Session:
        if call.session not in (STAFF, DEVICE):
            raise Refused("session")
        kind = "staff" if call.session == STAFF else "device"
        return Session(kind=kind, principal="1" * 32, name="Dr. Test", idle_s_left=900)

    async def answer_watch_opening(self, call, _: Caller) -> Opening:
        while call.state == self.opening.state:
            self.changed.clear()
            await self.changed.wait()
        return self.opening

    async def answer_read_keys_mark(self, _, __: Caller) -> KeysMark:
        return KeysMark(keys=self.marks[0])

    async def answer_seal_generation(self, call, _: Caller) -> GenerationKeys:
        if self.password is None:
            raise Refused("no_kit")
        if any(call.generation <= one for one in self.sealed):
            raise Refused("generation_used")
        self.sealed.append(call.generation)
        keys = self.marks.pop(0) if len(self.marks) > 1 else self.marks[0]
        keys = self.marks[0] if keys != self.marks[0] else keys
        return GenerationKeys(
            bundle=b"bundle of %d" % call.generation, kit="2" * 32, sealed_at=call.generation, keys=keys
        )

    async def answer_keep_generations(self, call, _: Caller) -> Done:
        self.existing = call.existing
        return Done()

    async def answer_read_repository_password(self, call, _: Caller) -> RepositoryPassword:
        if call.old:
            if self.sheets is None:
                raise Refused("no_restore")
            return RepositoryPassword(kit="3" * 32, password=self.sheets)
        if self.password is None:
            raise Refused("no_kit")
        return RepositoryPassword(kit="2" * 32, password=self.password, earlier=self.earlier)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class SimulatedRecords:
    """The archive is `files`: "<2 hex>/<name>" -> bytes, as real files; snapshots are hard links of them."""

    def __init__(self, folder: Path, snapshot: Path, restored: Path) -> None:
        self.folder, self.snapshot, self.restored = folder, snapshot, restored
        self.erased: list[list] = []
        self.calls: list[str] = []
        self.rows: dict[str, str] = {}
        self.opened: int = 0
        self.fails_at: dict[str, list[Exception]] = {}
        self.waits_at: dict[str, asyncio.Event] = {}
        self.reached: dict[str, asyncio.Event] = {}
        #: Done before a verb is answered, with its call.
        self.hooks: dict[str, Callable[[Any], None]] = {}
        self.wanted: dict[str, str] = {}
        self.missing = 0
        #: What the kit does not prove: contents of a list of what was erased.
        self.unproven: list[str] = []
        self.snapshot.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.rows[name] = digest(path)

    def fill(self, count: int, size: int = 2000) -> None:
        """Put files into many folders; the same for the same numbers."""
        for number in range(count):
            name = hashlib.sha256(b"%d" % number).hexdigest()[:32]
            self.put(f"{name[:2]}/{name}", (b"%08d" % number) * (size // 8))

    @property
    def contents(self) -> Contents:
        sizes = [(self.folder / name).stat().st_size for name in self.rows]
        return Contents(patients=1, documents=len(self.rows), files=len(sizes), bytes=sum(sizes))

    @property
    def current(self) -> Path:
        return self.snapshot / "current"

    @property
    def copy(self) -> Path:
        return self.restored / "snapshot/current"

    async def meet(self, verb: str) -> None:
        self.calls.append(verb)
        self.reached.setdefault(verb, asyncio.Event()).set()
        if verb in self.waits_at:
            await self.waits_at[verb].wait()
        if self.fails_at.get(verb):
            raise self.fails_at[verb].pop(0)

    def answers(self) -> Answers:
        def noted(answer):
            async def noting(call, caller):
                await self.meet(type(call).__name__)
                self.hooks.get(type(call).__name__, lambda _: None)(call)
                return await answer(call, caller)

            return noting

        table = {
            contract.MakeSnapshot: self.answer_make_snapshot,
            contract.DropSnapshot: self.answer_drop_snapshot,
            contract.WriteErasedList: self.answer_write_erased_list,
            contract.CheckCopy: self.answer_check_copy,
            contract.OpenCopy: self.answer_open_copy,
            contract.AdoptFiles: self.answer_adopt_files,
            contract.FinishRestore: self.answer_finish_restore,
            contract.AbandonRestore: self.answer_abandon_restore,
        }
        return {verb: noted(answer) for verb, answer in table.items()}

    async def answer_make_snapshot(self, _, __: Caller) -> contract.Snapshot:
        shutil.rmtree(self.current, ignore_errors=True)
        (self.current / "sealed").mkdir(parents=True)
        for name in self.rows:
            target = self.current / "sealed" / name
            target.parent.mkdir(exist_ok=True)
            os.link(self.folder / name, target)
        (self.current / "records.db").write_text(json.dumps(self.rows))
        (self.current / "contents.json").write_text(json.dumps({"documents": len(self.rows)}))
        return contract.Snapshot(taken_at=1, contents=self.contents)

    async def answer_drop_snapshot(self, _, __: Caller) -> Done:
        shutil.rmtree(self.current, ignore_errors=True)
        return Done()

    async def answer_write_erased_list(self, _, __: Caller) -> ErasedList:
        (self.snapshot / "erased.json").write_text(json.dumps(self.erased))
        return ErasedList(identifiers=len(self.erased), changed_at=len(self.erased))

    async def answer_check_copy(self, call, _: Caller) -> Contents:
        rows = self.copied_rows()
        if rows != self.rows:
            raise Tampered("copy_counts")
        wrong = read = 0
        for name, expected in rows.items():
            if name[:2] in call.folders:
                path = self.copy / "sealed" / name
                wrong += not path.is_file() or digest(path) != expected
                read += 1
        if wrong:
            raise Tampered("copy_files", count=wrong)
        return Contents(patients=1, documents=len(rows), files=read, bytes=0)

    async def answer_open_copy(self, call, _: Caller) -> contract.OpenedCopy:
        generation = int(bytes(call.bundle).removeprefix(b"bundle of "))
        if self.opened != generation:
            if self.rows:
                raise Refused("not_empty")
            self.opened, self.wanted = generation, self.copied_rows()
        left = sorted({name[:2] for name in self.wanted if name not in self.rows})
        return contract.OpenedCopy(
            box="4" * 32,
            generation=generation,
            sealed_at=generation,
            contents=Contents(patients=1, documents=len(self.wanted), files=len(self.wanted), bytes=0),
            folders=left,
        )

    async def answer_adopt_files(self, call, _: Caller) -> contract.AdoptedFiles:
        adopted = 0
        for name, expected in self.wanted.items():
            if name[:2] in call.folders and name not in self.rows:
                path = self.copy / "sealed" / name
                if path.is_file() and digest(path) == expected:
                    self.put(name, path.read_bytes())
                    adopted += 1
                else:
                    self.missing += 1
        return contract.AdoptedFiles(files=adopted, bytes=0, missing=self.missing)

    async def answer_finish_restore(self, call, _: Caller) -> contract.Restored:
        if not self.opened:
            raise Refused("no_copy")
        if {name[:2] for name in self.wanted} - {name[:2] for name in self.rows} and not self.missing:
            raise Refused("folders_left")
        erased = [] if call.without_list else self.fetched_list()
        self.opened = 0
        return contract.Restored(contents=self.contents, erased=len(erased), missing=self.missing, shares=0)

    async def answer_abandon_restore(self, _, __: Caller) -> Done:
        self.rows.clear()
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.opened = 0
        return Done()

    def fetched_list(self) -> list[list]:
        path = self.restored / "snapshot/erased.json"
        if not path.is_file():
            raise NotFound("erased_list")
        if path.read_text() in self.unproven:
            raise Tampered("erased_list")
        return json.loads(path.read_text())

    def copied_rows(self) -> dict[str, str]:
        try:
            return json.loads((self.copy / "records.db").read_text())
        except FileNotFoundError as error:
            raise NotFound("copy") from error
