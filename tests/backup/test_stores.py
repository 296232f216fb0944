"""Each kind of store, the real thing: what works, what each failure is called, and what captured credentials can do."""

from __future__ import annotations

import asyncio
import base64
import http.client
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.backup.store import check_store
from appliance.contracts.backup import Store
from appliance.core.errors import Invalid, PraxisError, Unavailable
from tests.backup.bench import Box, box, folder_store
from tests.backup.stores import (
    SECRET,
    certificate_of,
    client_context,
    make_certificate,
    rest_store,
    s3_client,
    s3_store,
    sftp_server,
)


@pytest.fixture
async def running(tmp_path: Path):
    async with box(tmp_path / "box") as one:
        one.records.fill(24)
        yield one


async def refusal(running: Box, store: Store) -> tuple[str, str]:
    with pytest.raises(PraxisError) as caught:
        await running.set_store(store)
    assert running.desk.stores.kept is None
    return caught.value.family, caught.value.code


# --- rest, append only ------------------------------------------------------------------------------------------


async def test_a_captured_credential_cannot_remove_a_copy_from_an_append_only_store(
    running: Box, tmp_path: Path
) -> None:
    with rest_store(tmp_path / "store") as store:
        assert not (await running.set_store(store)).overwritable
        assert (await running.back_up()).code == ""
        kept = {path: path.read_bytes() for path in (tmp_path / "store/data").rglob("*") if path.is_file()}
        kept = {path: content for path, content in kept.items() if "locks" not in path.parts}
        login = base64.b64encode(f"{store.user}:{store.secret}".encode()).decode()
        for path in kept:
            place = path.relative_to(tmp_path / "store/data/praxis").parts
            name = "/".join(("/praxis", *(place if place[0] != "data" else (place[0], place[-1]))))
            for method in ("DELETE", "POST"):
                address = store.place.split("/")[2]
                connection = http.client.HTTPSConnection(address, context=client_context(store), timeout=10)
                connection.request(method, name, body=b"x", headers={"Authorization": f"Basic {login}"})
                assert connection.getresponse().status in (403, 409), (method, name)
                connection.close()
        assert all(path.read_bytes() == content for path, content in kept.items())


async def test_a_box_that_may_only_append_says_that_nothing_lapses(running: Box, tmp_path: Path) -> None:
    with rest_store(tmp_path / "store") as store:
        await running.set_store(store)
        assert (await running.state()).keep_days == 0
    with rest_store(tmp_path / "other", append_only=False) as store:
        assert (await running.set_store(store)).overwritable
        assert (await running.state()).keep_days == 183


async def test_a_wrong_password_a_foreign_certificate_and_a_server_that_is_away_are_told_apart(
    running: Box, tmp_path: Path
) -> None:
    with rest_store(tmp_path / "store") as store:
        assert await refusal(running, replace(store, secret="wrong")) == ("Unavailable", "store_refused")
        foreign = make_certificate(tmp_path / "foreign").pem
        assert await refusal(running, replace(store, authority=foreign)) == ("Unavailable", "store_certificate")
        assert await refusal(running, replace(store, authority="")) == ("Unavailable", "store_certificate")
    assert await refusal(running, store) == ("Unavailable", "store_away")


# --- sftp -------------------------------------------------------------------------------------------------------


async def test_an_sftp_server_admits_the_box_s_own_key_and_no_other_server_is_talked_to(
    running: Box, tmp_path: Path
) -> None:
    with sftp_server(tmp_path / "store") as server:
        assert await refusal(running, server.store) == ("Unavailable", "store_refused")
        server.authorized.write_text((await running.state()).login_key + "\n")
        with sftp_server(tmp_path / "other") as other:
            foreign = replace(server.store, server_key=other.store.server_key)
            assert await refusal(running, foreign) == ("Invalid", "store_server_key")
        state = await running.set_store(server.store)
        assert state.overwritable
        assert state.login_key == (await running.state()).login_key
        assert (await running.back_up()).code == ""
        assert {path.name for path in (server.data / "praxis").iterdir()} >= {"config", "data", "snapshots"}
    assert (await running.back_up()).code == "store_away"


# --- s3 ---------------------------------------------------------------------------------------------------------


async def test_what_a_captured_credential_deletes_under_object_lock_is_still_there(
    running: Box, tmp_path: Path
) -> None:
    """Deleting hides: restic sees no repository then, until the markers are taken away again; no version is lost."""
    with s3_store(tmp_path / "store") as store:
        assert not (await running.set_store(store)).overwritable
        assert (await running.back_up()).code == ""
        client = s3_client(store, certificate_of(tmp_path / "store"))
        versions = client.list_object_versions(Bucket="praxis")["Versions"]
        for version in versions:
            client.delete_object(Bucket="praxis", Key=version["Key"])
            with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
                client.delete_object(Bucket="praxis", Key=version["Key"], VersionId=version["VersionId"])
        assert (await running.back_up()).code == "repository"
        left = client.list_object_versions(Bucket="praxis")
        locks = {version["Key"] for version in versions if "/locks/" in version["Key"]}
        assert {(one["Key"], one["VersionId"]) for one in left["Versions"]} >= {
            (one["Key"], one["VersionId"]) for one in versions
        }
        for marker in left["DeleteMarkers"]:
            if marker["Key"] not in locks:
                client.delete_object(Bucket="praxis", Key=marker["Key"], VersionId=marker["VersionId"])
        assert (await running.back_up()).code == ""
        assert len((await running.state()).generations) == 2


async def test_a_bucket_without_object_lock_is_overwritable(running: Box, tmp_path: Path) -> None:
    with s3_store(tmp_path / "store", locked=False) as store:
        assert (await running.set_store(store)).overwritable


# --- disk and folder --------------------------------------------------------------------------------------------


async def test_a_disk_that_is_not_mounted_is_away_and_nothing_is_written_in_its_place(running: Box) -> None:
    assert await refusal(running, Store(kind="disk", place="usb1")) == ("Unavailable", "store_away")
    assert not any(running.disks.iterdir())


async def test_a_full_disk_is_called_full(running: Box) -> None:
    mount = running.disks / "small"
    mount.mkdir()
    process = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(mount))
    assert await process.wait() == 0
    try:
        await running.set_store(folder_store("small"))
        running.records.put("aa/" + "a" * 32, os.urandom(2_000_000))
        assert (await running.back_up()).code == "store_full"
    finally:
        process = await asyncio.create_subprocess_exec("umount", str(mount))
        assert await process.wait() == 0


# --- forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("folder", "../records"),
        ("disk", "a/b"),
        ("disk", ""),
        ("disk", ".."),
        ("rest", "http://host/x"),
        ("rest", "https://user:secret@host/x"),
        ("rest", "https://host/x?y"),
        ("rest", "https://host:0/x"),
        ("s3", "https://host/"),
        ("s3", "s3:https://host/bucket"),
        ("sftp", "sftp://host/x"),
        ("sftp", "sftp://-oProxyCommand=x@host/x"),
        ("sftp", "sftp://user@-oProxyCommand=x/x"),
        ("sftp", "sftp://user@host/../x"),
        ("sftp", "sftp://user@host"),
    ],
)
def test_a_place_of_another_form_is_refused(kind: str, place: str) -> None:
    with pytest.raises(Invalid, match="store_place"):
        check_store(Store(kind=kind, place=place, user="user", secret="secret"))


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "host ssh-dss AAAAB3NzaC1kc3M=", "ssh-ed25519 %%"]
)
def test_a_server_key_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(Invalid, match="store_server_key"):
        check_store(Store(kind="sftp", place="sftp://user@host/x", server_key=line))


# --- secrets ----------------------------------------------------------------------------------------------------


async def test_no_secret_is_in_any_argument_of_any_process_or_in_what_is_shown(running: Box, tmp_path: Path) -> None:
    seen: set[bytes] = set()

    async def look() -> None:
        while True:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue
            await asyncio.sleep(0)

    with rest_store(tmp_path / "store") as store:
        looking = asyncio.ensure_future(look())
        await running.set_store(store)
        assert (await running.back_up()).code == ""
        looking.cancel()
        ours = [line for line in seen if b"restic" in line and b"rclone" not in line]
        assert any(b"backup" in line for line in ours)
        for secret in (SECRET.encode(), b"password-of-the-kit"):
            assert not [line for line in ours if secret in line]
        shown = repr(await running.state()) + repr(store) + repr(running.desk.stores.kept)
        assert SECRET not in shown
        modes = {path.name: path.stat().st_mode & 0o777 for path in running.desk.folders.private.iterdir()}
        assert all(mode in (0o600, 0o700) for mode in modes.values()), modes


async def test_a_store_that_was_refused_leaves_the_one_before_in_place(running: Box) -> None:
    (running.disks / "share").mkdir()
    await running.set_store(folder_store())
    with pytest.raises(Unavailable, match="store_away"):
        await running.set_store(folder_store("elsewhere"))
    assert (await running.state()).store.place == "share"
