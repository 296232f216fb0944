"""A box that is lost: what is left of it is its kit and what backup fetched of one of its generations.

Everything is real: the keys are made by a vault with a TPM in software, the snapshot is records' own.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from appliance.contracts.records import CreateShare, DeletePatient, EraseDocument
from appliance.contracts.snapshots import AdoptFiles, FinishRestore, MakeSnapshot, OpenCopy, WriteErasedList
from appliance.contracts.vault import BeginRestore, SealGeneration
from tests.records.bench import PDF, Bench, Clock
from tests.records.real_vault import VaultSide, vault_side
from tests.records.test_sealed_for import with_preview
from tests.vault.bench import PASSWORD
from tests.vault.test_kit import made_kit

NOW = 1_900_000_000
DAY_S = 86400


@dataclass
class LostBox:
    """`fetched` is as backup lays it; `contents` what each document was; `gone` what was erased after the snapshot.

    `later_bundle` was sealed a day after it.
    """

    box: str
    sheets: list[str]
    bundle: bytes
    other_bundle: bytes
    later_bundle: bytes
    fetched: Path
    contents: dict[str, bytes] = field(default_factory=dict)
    with_preview: str = ""
    patients: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    @property
    def left(self) -> dict[str, bytes]:
        return {document: content for document, content in self.contents.items() if document not in self.gone}

    def fetch(self, bench_folder: Path) -> Path:
        """Lay what was fetched where records finds it."""
        shutil.rmtree(bench_folder / "restored", ignore_errors=True)
        shutil.copytree(self.fetched, bench_folder / "restored")
        return bench_folder / "restored" / "snapshot"


async def lose_a_box(folder: Path) -> LostBox:
    """Fill a box, seal a generation, erase something afterwards, and lose the box."""
    async with vault_side(folder, Clock(NOW)) as side, side.records() as bench:
        kit = await made_kit(side.vault, side.session)
        muster, other, unwanted = [await bench.add_patient(name) for name in ("Muster", "Anders", "Falsch")]
        lost = LostBox(bench.archive.box.box, kit.sheets, b"", b"", b"", folder / "fetched", patients=[muster, other])
        lost.with_preview = await with_preview(bench, muster)
        lost.contents[lost.with_preview] = PDF + b"old" * 50_000
        for number, patient in enumerate((muster, muster, muster, other, other, unwanted, unwanted)):
            content = PDF + bytes([number]) * (30_000 * number + 1)
            added = await bench.add(content, patient=patient, title=f"Kernspintomographie {number}")
            lost.contents[added.document] = content
        documents = list(lost.contents)
        lost.shared = [documents[0], documents[2]]
        await bench.ask(CreateShare, patient=muster, documents=lost.shared)
        await bench.snapshots.ask(MakeSnapshot())
        lost.bundle = (await side.vault.ask(SealGeneration(generation=NOW))).bundle
        lost.other_bundle = (await side.vault.ask(SealGeneration(generation=NOW + 1))).bundle
        await bench.ask(EraseDocument, document=documents[1], reason="no_record")
        await bench.ask(DeletePatient, patient=unwanted, reason="no_record")
        lost.gone = [documents[1], *documents[6:8]]
        await bench.snapshots.ask(WriteErasedList())
        side.clock.now += DAY_S
        lost.later_bundle = (await side.vault.ask(SealGeneration(generation=NOW + DAY_S))).bundle
        shutil.copytree(bench.state / "snapshot", lost.fetched / "snapshot")
    return lost


@contextlib.asynccontextmanager
async def new_box(folder: Path, lost: LostBox, *, sheets: list[str] | None = None) -> AsyncIterator[VaultSide]:
    """Another box with another TPM, to which two sheets were read and everything fetched."""
    async with vault_side(folder, Clock(NOW + DAY_S)) as side:
        first, second, _ = sheets or lost.sheets
        call = BeginRestore(session=side.session, password=PASSWORD, first=first, second=second)
        await side.vault.ask(call)
        lost.fetch(folder)
        yield side


async def restore_all(bench: Bench, lost: LostBox):
    """Do all steps, as backup does."""
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    if opened.folders:
        await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    return await bench.snapshots.ask(FinishRestore())
