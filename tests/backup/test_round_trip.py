"""Backup and restore with real restic, from one box to another, over a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.contracts import backup as contract
from appliance.core.errors import NotFound, Refused
from tests.backup.bench import Box, box, folder_store


@pytest.fixture
async def old_box(tmp_path: Path):
    async with box(tmp_path / "old") as running:
        (running.disks / "share").mkdir()
        yield running


async def test_what_was_backed_up_comes_back_on_another_box_byte_for_byte(old_box: Box, tmp_path: Path) -> None:
    old_box.records.fill(120)
    old_box.records.erased = [["5" * 32, 7]]
    await old_box.set_store(folder_store())
    outcome = await old_box.back_up()
    assert (outcome.code, outcome.documents) == ("", 120)
    (generation,) = (await old_box.state()).generations
    assert generation.tested_at == old_box.clock.now
    assert (generation.documents, generation.bytes) == (120, old_box.records.contents.bytes)
    async with box(tmp_path / "new", disks=old_box.disks) as new_box:
        new_box.vault.password, new_box.vault.sheets = None, old_box.vault.password
        await new_box.set_store(folder_store(), old=True)
        (offered,) = (await new_box.ask(contract.ReadGenerations)).generations
        assert (offered.generation, offered.tested_at, offered.documents) == (generation.generation, 0, 120)
        outcome = await new_box.restore(offered.generation)
        assert (outcome.code, outcome.documents, outcome.erased, outcome.missing) == ("", 120, 1, 0)
        assert new_box.records.rows == old_box.records.rows
        assert not any(new_box.desk.folders.restored.iterdir())


async def test_the_store_of_a_restore_is_kept_and_its_repository_gets_the_new_kit_s_password(
    old_box: Box, tmp_path: Path
) -> None:
    old_box.records.fill(20)
    await old_box.set_store(folder_store())
    await old_box.back_up()
    async with box(tmp_path / "new", disks=old_box.disks) as new_box:
        new_box.vault.password, new_box.vault.sheets = None, old_box.vault.password
        await new_box.set_store(folder_store(), old=True)
        await new_box.restore((await new_box.state()).generations[0].generation)
        new_box.vault.sheets = None
        with pytest.raises(Refused, match="no_kit"):
            await new_box.back_up()
        new_box.vault.password = "password-of-the-new-kit"
        assert (await new_box.back_up()).code == ""
        assert len((await new_box.state()).generations) == 2
        assert new_box.vault.existing == [one.generation for one in (await new_box.state()).generations]
        assert b"password-of-the-kit" not in (new_box.desk.folders.private / "store.json").read_bytes()
        assert (await new_box.back_up()).code == ""


async def test_a_repository_of_another_kit_is_refused_and_one_of_an_earlier_kit_gets_the_new_password(
    old_box: Box,
) -> None:
    await old_box.set_store(folder_store())
    old_box.vault.password = "password-of-the-next-kit"
    with pytest.raises(Refused, match="repository_password"):
        await old_box.set_store(folder_store())
    old_box.vault.earlier = ["password-of-the-kit"]
    await old_box.set_store(folder_store())
    old_box.vault.earlier = []
    await old_box.set_store(folder_store())


async def test_a_restore_makes_no_repository(old_box: Box) -> None:
    old_box.vault.sheets = "password-of-the-sheets"
    with pytest.raises(NotFound, match="repository"):
        await old_box.set_store(folder_store(), old=True)
    assert not any((old_box.disks / "share").iterdir())
