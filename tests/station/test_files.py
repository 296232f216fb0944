"""The station's files, addresses, lists and settings."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.core.errors import FAMILIES, Invalid, NotFound, Refused, Unavailable
from provisioning.station.__main__ import EXIT_STATUSES, INTERRUPTED
from provisioning.station.address import split_address
from provisioning.station.arguments import read_arguments
from provisioning.station.commands import NOT_ALL_DONE
from provisioning.station.progress import Progress, next_step, state_of, with_failure, with_step
from provisioning.station.settings import read_station_settings
from provisioning.station.several import Listed, read_list
from provisioning.station.sheet import Sheet, fingerprint, read_sheet, write_sheet
from provisioning.station.station_key import make_station_key, public_text, read_station_key
from provisioning.station.workbench import Workbench

SHEET = Sheet(
    serial="PS-0001",
    box="ab" * 16,
    claim_code="CODE",
    practice_url="https://praxis.example/",
    patient_host="praxis.example",
    device_fingerprint=fingerprint(b"key"),
    finished=True,
)


def test_a_key_is_what_was_made(tmp_path: Path) -> None:
    public = make_station_key(tmp_path / "key")
    assert public_text(read_station_key(tmp_path / "key")) == public
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_the_station_key_is_never_written_over(tmp_path: Path) -> None:
    make_station_key(tmp_path / "key")
    kept = (tmp_path / "key").read_bytes()
    with pytest.raises(Refused, match="key_exists"):
        make_station_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == kept


def test_a_station_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    make_station_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Refused, match="key_open"):
        read_station_key(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"short", b"A" * 44, b"A" * 4096, b"\xff" * 44])
def test_a_file_that_is_no_key_is_invalid(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(Invalid, match="station_key"):
        read_station_key(tmp_path / "key")
    with pytest.raises(NotFound, match="station_key"):
        read_station_key(tmp_path / "none")
    with pytest.raises(Invalid, match="key_folder"):
        make_station_key(tmp_path / "none" / "key")


def test_a_sheet_is_kept_whole_and_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "sheet.json"
    assert read_sheet(file) is None
    (tmp_path / "sheet.json.draft").write_text("left by a power cut")
    write_sheet(file, SHEET)
    assert read_sheet(file) == SHEET
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.json"]
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Invalid, match="folder"):
        write_sheet(tmp_path / "none" / "sheet.json", SHEET)


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("192.0.2.1:8443", ("192.0.2.1", 8443)),
        ("https://192.0.2.1:8443", ("192.0.2.1", 8443)),
        ("https://192.0.2.1:8443/", ("192.0.2.1", 8443)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
        ("portal.example:443", ("portal.example", 443)),
        ("praxis-portal.localhost:443", ("127.0.0.1", 443)),
        ("localhost:443", ("127.0.0.1", 443)),
        ("notlocalhost:443", ("notlocalhost", 443)),
    ],
)
def test_an_address_is_read_as_typed(typed: str, address: tuple[str, int]) -> None:
    assert split_address(typed) == address


@pytest.mark.parametrize("typed", ["", "host", "host:", ":443", "host:0", "host:65536", "host:x", "::1:443", "h:1²"])
def test_what_is_no_address_is_said(typed: str) -> None:
    with pytest.raises(Invalid, match="address"):
        split_address(typed)


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the name would else leave an empty file under it (rename(2), fsync(2))."""
    told: list[str] = []
    really_sync, really_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        told.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        really_sync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        told.append("name")
        return really_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_sheet(tmp_path / "sheet.json", SHEET)
    assert told == ["file", "name", "folder"]


def test_a_state_is_kept_whole_and_for_its_owner(tmp_path: Path) -> None:
    bench = Workbench(tmp_path / "boxes")
    with bench.hold("PS-0001") as files:
        assert files.read_progress() is None
        progress = with_step(Progress(serial="PS-0001"), "reached", 7, bench_sha256="ab" * 32)
        files.write_progress(progress)
        assert files.read_progress() == progress
    assert files.state.stat().st_mode & 0o777 == 0o600
    assert files.folder.stat().st_mode & 0o777 == 0o700
    assert bench.serials() == ["PS-0001"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"serial": "PS-0002"}', b'{"serial": "PS-0001", "more": 1}']
)
def test_a_state_that_is_none_is_said_with_its_serial(tmp_path: Path, content: bytes) -> None:
    files = Workbench(tmp_path).files("PS-0001")
    files.folder.mkdir()
    files.state.write_bytes(content)
    with pytest.raises(Invalid, match="state") as raised:
        files.read_progress()
    assert raised.value.details == {"serial": "PS-0001"}


@pytest.mark.parametrize("serial", ["", "PS", "../PS-1", "ps-0001", "PS-0001\n", "P" * 33, "PS/0001"])
def test_what_is_no_serial_names_no_folder(tmp_path: Path, serial: str) -> None:
    with pytest.raises(Invalid, match="serial"):
        Workbench(tmp_path).files(serial)


def test_a_step_that_is_done_keeps_its_time_and_ends_the_failure() -> None:
    failed = with_failure(Progress(serial="PS-0001"), Unavailable("box_away"), 5)
    assert state_of(failed, "reached") == "failed"
    assert state_of(failed, "keys") == "missing"
    once = with_step(failed, "reached", 6)
    assert (once.failure, next_step(once)) == (None, "keys")
    assert with_step(once, "reached", 9).done == {"reached": 6}


def test_a_list_of_boxes_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "boxes.txt"
    path.write_text(f"# shelf 3\nPS-0001 192.0.2.1:8443\n\nPS-0002 192.0.2.2:8443 {'AB:' * 31}ab # pinned\n")
    assert read_list(path) == [
        Listed("PS-0001", "192.0.2.1:8443"),
        Listed("PS-0002", "192.0.2.2:8443", b"\xab" * 32),
    ]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "boxes", 0),
        ("# nothing\n", "boxes", 0),
        ("PS-0001\n", "boxes", 1),
        ("PS-0001 a:1\nps-0002 a:2\n", "boxes", 2),
        ("PS-0001 a:1 abc\n", "boxes", 1),
        ("PS-0001 a:1 abcd\n", "boxes", 1),
        ("PS-0001 a:1\n\nPS-0001 a:2\n", "boxes_twice", 3),
        ("PS-0001 a:1\nPS-0002 a:1\n", "boxes_twice", 2),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, code: str, line: int) -> None:
    path = tmp_path / "boxes.txt"
    path.write_text(text)
    with pytest.raises(Invalid) as raised:
        read_list(path)
    assert (raised.value.code, raised.value.details) == (code, {"line": line})


def test_settings_are_read_with_paths_from_their_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text('folder = "boxes"\nkey = "/srv/key"\nportal = "192.0.2.9:443"\n')
    assert read_station_settings(path) == {
        "folder": str(tmp_path / "boxes"),
        "key": "/srv/key",
        "portal": "192.0.2.9:443",
    }
    chosen = read_arguments(["status", f"--settings={path}", f"--folder={tmp_path}"])
    assert chosen.folder == tmp_path  # what is typed counts more


def test_every_family_has_a_status() -> None:
    assert EXIT_STATUSES.keys() == set(FAMILIES.values())
    assert len({0, 1, NOT_ALL_DONE, INTERRUPTED, *EXIT_STATUSES.values()}) == 8
