from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.core.errors import NotFound
from appliance.gateway.spool import CHUNK_BYTES, Spool, Withdrawn

LOCATOR, FILE = "0" * 31 + "a", "0" * 31 + "b"
CONTENT = os.urandom(CHUNK_BYTES * 2 + 100)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    folder = tmp_path / LOCATOR
    folder.mkdir()
    (folder / FILE).write_bytes(CONTENT)
    (folder / "manifest").write_bytes(b"sealed")
    with ThreadPoolExecutor(1) as executor:
        yield Spool(tmp_path, executor)


async def test_a_document_is_given_whole_and_in_part(spool: Spool) -> None:
    file = await spool.open_document(LOCATOR, FILE)
    assert file.length == len(CONTENT)
    assert b"".join([piece async for piece in file.pieces(0, file.length)]) == CONTENT
    assert b"".join([piece async for piece in file.pieces(7, CHUNK_BYTES + 9)]) == CONTENT[7 : CHUNK_BYTES + 9]
    file.close()


@pytest.mark.parametrize(
    ("locator", "name"),
    [("", FILE), ("..", FILE), (LOCATOR.upper(), FILE), (LOCATOR + "\n", FILE), (LOCATOR, "manifest"),
     (LOCATOR, ".."), (LOCATOR, f"../{LOCATOR}/{FILE}"), ("*" * 32, FILE), (LOCATOR, "0" * 32), ("0" * 32, FILE)],
)  # fmt: skip
async def test_only_exact_names_open(spool: Spool, locator: str, name: str) -> None:
    with pytest.raises(NotFound):
        await spool.open_document(locator, name)


async def test_a_symbolic_link_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / LOCATOR / ("c" * 32)).symlink_to(tmp_path / LOCATOR / FILE)
    (tmp_path / ("d" * 32)).symlink_to(tmp_path / LOCATOR)
    for locator, name in ((LOCATOR, "c" * 32), ("d" * 32, FILE)):
        with pytest.raises(NotFound):
            await spool.open_document(locator, name)


async def test_what_is_no_regular_file_is_not_there(spool: Spool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCATOR / ("e" * 32))
    (tmp_path / LOCATOR / ("f" * 32)).mkdir()
    for name in ("e" * 32, "f" * 32):
        with pytest.raises(NotFound):
            await spool.open_document(LOCATOR, name)


@pytest.mark.parametrize("how", ["unlink", "rename", "replace"])
async def test_a_share_withdrawn_while_it_is_read_ends_at_the_next_piece(
    spool: Spool, tmp_path: Path, how: str
) -> None:
    file = await spool.open_document(LOCATOR, FILE)
    pieces = file.pieces(0, file.length)
    assert await anext(pieces) == CONTENT[:CHUNK_BYTES]
    if how == "unlink":
        (tmp_path / LOCATOR / FILE).unlink()
    elif how == "rename":
        (tmp_path / LOCATOR).rename(tmp_path / "withdrawn")
    else:
        (tmp_path / LOCATOR / FILE).unlink()
        (tmp_path / LOCATOR / FILE).write_bytes(CONTENT)
    with pytest.raises(Withdrawn):
        await anext(pieces)
    file.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_gateway_cannot_list_documents_and_opens_what_it_can_name(spool: Spool, tmp_path: Path) -> None:
    group = 54321
    for folder in (tmp_path, tmp_path / LOCATOR):
        folder.chmod(0o710)
        os.chown(folder, 0, group)
    (tmp_path / LOCATOR / FILE).chmod(0o640)
    os.chown(tmp_path / LOCATOR / FILE, 0, group)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and parent.stat().st_mode & 0o7777 == 0o700:
            parent.chmod(0o711)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([group])
            os.setresgid(54322, 54322, 54322)
            os.setresuid(54322, 54322, 54322)
            from appliance.gateway.spool import SealedFile

            with ThreadPoolExecutor(1) as executor:
                assert SealedFile(tmp_path, LOCATOR, FILE, executor).length == len(CONTENT)
            for folder in (tmp_path, tmp_path / LOCATOR):
                with pytest.raises(PermissionError):
                    os.scandir(folder)
        except BaseException:  # a forked test reports by its status
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


async def test_a_manifest_is_given_whole(spool: Spool) -> None:
    assert await spool.read_manifest(LOCATOR) == b"sealed"
