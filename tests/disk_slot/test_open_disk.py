"""A technician with two sheets and the disk: what opens, what does not, and what is said."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.core.errors import Invalid, Unavailable
from appliance.disk_slot.keeping import keep_slot
from appliance.disk_slot.luks import Luks, by_key_file
from appliance.disk_slot.open_disk import ask_sheets
from appliance.disk_slot.texts import OTHER, TEXTS, explain
from tests.disk_slot.disk import Disk, Kit

OLD, NEW = Kit.of(1), Kit.of(2)
ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "appliance.disk_slot.open_disk"]


def keep(disk, kit):
    keep_slot(disk.luks, disk.files, kit.public, by_key_file(str(disk.key_file)))
    (file,) = disk.slot_files()
    return file


def open_disk(file, first, second, *words):
    sent = f"{first}\n{second}\n"
    return subprocess.run([*PROGRAM, str(file), *words], input=sent, capture_output=True, text=True, cwd=ROOT)


def tries(file, disk, first, second):
    done = open_disk(file, first, second, "--device", str(disk.path), "--test")
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2), (2, 0)])
def test_any_two_sheets_of_the_newest_kit_open_the_disk(disk, pair):
    file = keep(disk, NEW)
    assert tries(file, disk, *(NEW.sheets[each] for each in pair))[0] == 0


def test_two_sheets_of_the_kit_before_do_not_whatever_was_kept_of_its_file(disk, tmp_path):
    copied = tmp_path / "copied"
    copied.write_bytes(keep(disk, OLD).read_bytes())
    assert tries(copied, disk, *OLD.sheets[:2])[0] == 0
    file = keep(disk, NEW)
    code, said = tries(copied, disk, *OLD.sheets[:2])
    assert (code, "neuere Notfallblätter" in said, "newer emergency sheets" in said) == (1, True, True)
    code, said = tries(file, disk, *OLD.sheets[:2])
    assert (code, "andere Notfallblätter" in said) == (1, True)


def test_one_sheet_does_not_not_even_twice(disk):
    file = keep(disk, NEW)
    code, said = tries(file, disk, NEW.sheets[0], NEW.sheets[0])
    assert (code, "zweimal dasselbe Blatt" in said, "same sheet twice" in said) == (1, True, True)
    code, said = tries(file, disk, NEW.sheets[0], "")
    assert (code, "2. Blatt sind es 0 Wörter" in said) == (1, True)


def test_a_sheet_of_each_of_two_kits_does_not(disk):
    code, said = tries(keep(disk, NEW), disk, NEW.sheets[0], OLD.sheets[1])
    assert (code, "gehören nicht zusammen" in said) == (1, True)


def test_the_file_of_another_disk_does_not_and_is_told_before_anything_is_opened(disk, tmp_path):
    keep(disk, NEW)
    other = Disk(tmp_path / "other")
    code, said = tries(keep(other, NEW), disk, *NEW.sheets[:2])
    assert (code, "anderen Festplatte" in said, "another disk" in said) == (1, True, True)


def test_the_file_of_another_disk_whose_uuid_was_changed_does_not(disk, tmp_path):
    """The UUID is bound to the seal, so nobody makes one file pass for another."""
    file = keep(disk, NEW)
    other = keep(Disk(tmp_path / "other"), NEW)
    other.write_bytes(other.read_bytes()[:33] + file.read_bytes()[33:49] + other.read_bytes()[49:])
    code, said = tries(other, disk, *NEW.sheets[:2])
    assert (code, "beschädigt" in said) == (1, True)


def test_a_wrong_word_is_named_by_sheet_and_place_in_both_languages(disk):
    words = NEW.sheets[1].split()
    words[11] = "acid" if words[11] != "acid" else "acne"
    code, said = tries(keep(disk, NEW), disk, NEW.sheets[0], " ".join(words))
    assert code == 1
    assert "Beim 2. Blatt ist das Wort Nummer 12 falsch" in said
    assert "Sheet entry 2: word number 12" in said
    assert NEW.sheets[1].split()[11] not in said.split()


def test_cryptsetup_is_told_to_open_the_disk_under_its_name_and_reads_the_passphrase(tmp_path):
    """There may be no device mapper where tests run, so a script stands in for this one call."""
    said, heard, spy = tmp_path / "said", tmp_path / "heard", tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\necho "$@" >{said}\ncat >{heard}\nexit $(cat {tmp_path}/code)\n')
    spy.chmod(0o755)
    for code, opened in ((0, True), (2, False)):
        (tmp_path / "code").write_text(str(code))
        assert Luks("/dev/sdb3", (str(spy),)).open_as(b"\n" * 32, "praxissafe-data") is opened
        assert said.read_text() == "open --key-file=- /dev/sdb3 praxissafe-data\n"
        assert heard.read_bytes() == b"\n" * 32
    (tmp_path / "code").write_text("5")  # the name is in use
    with pytest.raises(Unavailable, match="cryptsetup"):
        Luks("/dev/sdb3", (str(spy),)).open_as(b"", "praxissafe-data")


def test_the_passphrase_is_shown_only_when_asked_for(disk):
    file = keep(disk, NEW)
    quiet = open_disk(file, *NEW.sheets[:2], "--device", str(disk.path), "--test")
    shown = open_disk(file, *NEW.sheets[:2], "--show")
    digits = shown.stdout.strip()
    assert disk.luks.opens(bytes.fromhex(digits))
    assert digits not in quiet.stdout + quiet.stderr
    assert open_disk(file, *NEW.sheets[:2]).returncode == 2  # neither --device nor --show


def test_a_device_that_is_none_and_a_file_that_is_away_are_told(disk, tmp_path):
    file = keep(disk, NEW)
    done = open_disk(file, *NEW.sheets[:2], "--device", str(file), "--test")
    assert (done.returncode, "keine verschlüsselte Partition" in done.stderr) == (1, True)
    done = open_disk(tmp_path / "away", *NEW.sheets[:2], "--show")
    assert (done.returncode, "lässt sich nicht lesen" in done.stderr) == (1, True)


def test_who_types_is_asked_again_for_the_sheet_that_is_wrong_and_no_word_shows(disk):
    file = keep(disk, NEW)
    terminal, its_side = pty.openpty()
    command = [*PROGRAM, str(file), "--device", str(disk.path), "--test"]
    program = subprocess.Popen(
        ["setsid", "--ctty", *command], cwd=ROOT, stdin=its_side, stdout=its_side, stderr=its_side
    )
    os.close(its_side)
    said = b""
    typed = [NEW.sheets[0], "acid acid", NEW.sheets[1]]
    asked = 0
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # EIO: it ended (pty(7))
            break
        said += piece
        if said.count(b"hidden): ") > asked:
            os.write(terminal, typed[asked].encode() + b"\n")
            asked += 1
    assert program.wait(60) == 0
    assert asked == 3
    assert "2. Blatt sind es 2 Wörter".encode() in said
    assert not any(words.encode() in said for words in typed)


def test_asking_goes_on_until_a_sheet_can_be_read():
    answers, complaints = iter(["nothing", NEW.sheets[2], NEW.sheets[0]]), []
    assert ask_sheets(lambda _: next(answers), complaints.append) == (NEW.sheets[2], NEW.sheets[0])
    assert len(complaints) == 1


@pytest.mark.parametrize("code", TEXTS)
def test_every_text_is_there_in_both_languages_and_fills_in(code):
    german, english = explain(Invalid(code, sheet=1, word=7, count=3)).splitlines()
    assert german != english
    assert "{" not in german + english
    assert explain(Invalid("some_other_code")) == "\n".join(OTHER).format(code="some_other_code")
