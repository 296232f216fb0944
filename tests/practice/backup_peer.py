"""A backup process and the earlier shares of records, played for the practice's pages: what they answer is set here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from appliance.contracts.backup import (
    AbandonRestore,
    BackupState,
    DescribeBackup,
    ForgetStore,
    Generation,
    Outcome,
    ReadGenerations,
    Running,
    SetStore,
    StartBackup,
    StartRestore,
    StoreState,
)
from appliance.contracts.records import (
    DropEarlierShares,
    EarlierShare,
    EarlierShares,
    ListEarlierShares,
)
from appliance.core.errors import PraxisError, Unavailable
from appliance.core.varlink import Done

LOGIN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF9mYWtlX2tleV9vZl90aGVfYm94X2Zvcl90ZXN0cw praxissafe"
EMPTY = BackupState(
    store=None,
    running=None,
    last_backup=None,
    last_good_at=0,
    last_restore=None,
    next_at=0,
    generations=[],
    keep_days=90,
    login_key=LOGIN_KEY,
)
DAY_S = 86_400


@dataclass
class PlayedBackup:
    """Answers as backup does; what it was asked is in `asked`, without anything secret being kept by practice."""

    state: BackupState = EMPTY
    asked: list[Any] = field(default_factory=list)
    #: Raised by the next call of a verb.
    fails: dict[type, PraxisError] = field(default_factory=dict)
    found: list[Generation] = field(default_factory=list)

    def table(self) -> dict[Any, Any]:
        verbs = (SetStore, ForgetStore, StartBackup, ReadGenerations, StartRestore, AbandonRestore)
        return {DescribeBackup: self._describe, **{verb: self._answer for verb in verbs}}

    def changed(self, **values: Any) -> None:
        self.state = replace(self.state, **values)

    def kept(self, now: int, days: int = 30, *, failed: tuple[int, ...] = ()) -> None:
        """As it is after some weeks of nights."""
        nights = [back for back in range(days) if back not in failed]
        self.changed(
            store=store_state("rest", "https://sicherung.example:8000/praxis", now),
            generations=[
                generation(now - back * DAY_S, tested=back != 4, documents=1840 - back) for back in reversed(nights)
            ],
            last_good_at=now - nights[0] * DAY_S,
            last_backup=Outcome(at=now - nights[0] * DAY_S, code="", documents=1840, bytes=9 * 2**30, took_s=312),
            next_at=now + DAY_S // 2,
        )

    async def _describe(self, *_: object) -> BackupState:
        return self.state

    async def _answer(self, call: Any, *_: object) -> Any:
        self.asked.append(call)
        if type(call) in self.fails:
            raise self.fails.pop(type(call))
        if isinstance(call, SetStore):
            self.changed(store=store_state(call.store.kind, call.store.place, 1_800_000_000, call.store.user))
            return self.state.store
        if isinstance(call, ForgetStore):
            self.changed(store=None)
        if isinstance(call, ReadGenerations):
            self.changed(generations=list(self.found))
            return self.state
        if isinstance(call, StartBackup | StartRestore):
            self.changed(running=running("backup" if isinstance(call, StartBackup) else "restore"))
        if isinstance(call, AbandonRestore):
            self.changed(running=None, last_restore=None)
        return Done()


def running(
    work: str, step: str = "upload", done: int = 3 * 2**29, total: int = 4 * 2**30, began_at: int = 1_800_000_000
) -> Running:
    return Running(
        work=work, step=step, done_bytes=done, total_bytes=total, done_files=412, total_files=1840,
        began_at=began_at,
    )  # fmt: skip


def store_state(kind: str, place: str, now: int, user: str = "") -> StoreState:
    return StoreState(
        kind=kind,
        place=place,
        user=user,
        overwritable=kind != "rest",
        login_key=LOGIN_KEY if kind == "sftp" else "",
        set_at=now,
    )


def generation(made_at: int, *, tested: bool = True, documents: int = 1840) -> Generation:
    return Generation(
        generation=made_at, made_at=made_at, tested_at=made_at + 300 if tested else 0, documents=documents,
        bytes=9 * 2**30,
    )  # fmt: skip


@dataclass
class PlayedEarlier:
    """Answers for shares of the box before, and, while `restoring`, for everything that records is asked."""

    shares: list[EarlierShare] = field(default_factory=list)
    restoring: bool = False
    #: records' own list instead.
    real: bool = False

    def over(self, table: dict[Any, Any]) -> dict[Any, Any]:
        """Give records' own table with these answers before it."""
        played = {ListEarlierShares: self._list, DropEarlierShares: self._drop}
        own = {verb: self._unless_real(table[verb], answer) for verb, answer in played.items()}
        return {verb: self._unless_restoring(answer) for verb, answer in {**table, **own}.items()}

    def _unless_real(self, real: Any, played: Any) -> Any:
        async def answered(*arguments: Any) -> Any:
            return await (real if self.real else played)(*arguments)

        return answered

    def _unless_restoring(self, answer: Any) -> Any:
        async def answered(*arguments: Any) -> Any:
            if self.restoring:
                raise Unavailable("restoring")
            return await answer(*arguments)

        return answered

    async def _list(self, *_: object) -> EarlierShares:
        return EarlierShares(shares=list(self.shares))

    async def _drop(self, call: DropEarlierShares, *_: object) -> Done:
        self.shares = [one for one in self.shares if one.share not in call.shares]
        return Done()


def earlier_share(number: int, patient: str, documents: list[str], name: str = "Mustermann, Erika") -> EarlierShare:
    return EarlierShare(
        share=f"{number:032x}",
        patient=patient,
        patient_name=name,
        documents=documents,
        titles=["Befund A"],
        expires_at=1_800_000_000,
    )
