"""The station's files, addresses and words."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from appliance.core.errors import FAMILIES, Invalid, NotFound, PraxisError, Refused
from provisioning.station import words
from provisioning.station.address import split_address
from provisioning.station.sheet import Sheet, fingerprint, print_sheet, read_sheet, write_sheet
from provisioning.station.station_key import make_station_key, public_text, read_station_key

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
    with pytest.raises(Invalid, match="sheet_folder"):
        write_sheet(tmp_path / "none" / "sheet.json", SHEET)


def test_the_paper_has_every_value_in_two_languages() -> None:
    paper = print_sheet(SHEET)
    for value in (SHEET.serial, SHEET.box, SHEET.claim_code, SHEET.practice_url, SHEET.patient_host):
        assert value in paper
    for group in SHEET.device_fingerprint.split():
        assert group in paper
    assert "Übergabeblatt / handover sheet" in paper


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


def test_every_failure_is_explained_in_two_languages() -> None:
    for german, english in words.FAILURES.values():
        assert german.endswith(".")
        assert english.endswith(".")
        assert german != english


def test_every_code_the_station_raises_has_its_words() -> None:
    folder = Path(words.__file__).parent
    codes = {
        argument.value
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILIES
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    assert codes
    assert codes <= words.FAILURES.keys()


def test_every_family_has_a_status() -> None:
    assert words.EXIT_STATUSES.keys() == set(FAMILIES.values())
    assert issubclass(PraxisError, Exception)
    assert not {0, 1} & set(words.EXIT_STATUSES.values())
