"""One slot for the kit in use, on a real LUKS2 header: made, replaced, repaired, and nobody else's touched."""

import json
import os
import subprocess

import pytest

from appliance.core.errors import Invalid, Tampered, Unavailable
from appliance.disk_slot.keeping import keep_slot
from appliance.disk_slot.luks import BY_TPM, Luks, by_key_file
from appliance.disk_slot.open_disk import open_slot
from tests.disk_slot.disk import BOX, Disk, Kit, cryptsetup_with, run
from tests.simulators.software_tpm import software_tpm

OLD, NEW = Kit.of(1), Kit.of(2)


def keep(disk, kit):
    return keep_slot(disk.luks, disk.files, kit.public, by_key_file(str(disk.key_file)))


def opens(disk, kit):
    """Whether two sheets and some file of the boot partition open the disk."""
    return any(
        disk.luks.opens(open_slot(file.read_bytes(), kit.sheets[0], kit.sheets[2]))
        for file in disk.slot_files()
        if file.read_bytes()[1:17].hex() == kit.opened.kit
    )


def test_two_sheets_open_the_slot_that_was_made(disk):
    assert keep(disk, NEW) is True
    assert opens(disk, NEW)
    (token,) = disk.kit_tokens()
    assert (token["kit"], token["keyslots"]) == (NEW.opened.kit, [str(token["slot"])])
    assert [file.name for file in disk.slot_files()] == [f"disk-slot-{token['slot']}"]


def test_nothing_is_written_when_all_is_as_it_should_be(disk):
    keep(disk, NEW)
    before = disk.path.read_bytes(), disk.slot_files()[0].read_bytes()
    assert keep(disk, NEW) is False
    assert (disk.path.read_bytes(), disk.slot_files()[0].read_bytes()) == before


def test_a_new_kit_has_a_new_slot_and_the_old_one_opens_nothing(disk):
    keep(disk, OLD)
    (old_file,) = disk.slot_files()
    old = open_slot(old_file.read_bytes(), *OLD.sheets[:2])
    assert disk.luks.opens(old)
    keep(disk, NEW)
    assert opens(disk, NEW)
    assert not disk.luks.opens(old)
    assert len(disk.kit_tokens()) == len(disk.slot_files()) == 1
    assert not old_file.exists()


def test_forty_kits_leave_one_slot(disk):
    """As far as this disk's header goes: slots and tokens are used anew."""
    for number in range(1, 41):
        keep(disk, Kit.of(1 + number % 3))
    assert opens(disk, Kit.of(2))
    assert len(disk.metadata()["keyslots"]) == 2


@pytest.mark.parametrize("damage", ["gone", "damaged", "of another disk", "empty"])
def test_a_file_that_is_not_as_it_was_written_is_replaced_with_its_slot(disk, damage, tmp_path):
    keep(disk, NEW)
    (file,) = disk.slot_files()
    lost = open_slot(file.read_bytes(), *NEW.sheets[:2])
    if damage == "gone":
        file.unlink()
    elif damage == "of another disk":
        other = Disk(tmp_path / "other")
        keep(other, NEW)
        file.write_bytes(other.slot_files()[0].read_bytes())
    else:
        file.write_bytes(b"" if damage == "empty" else file.read_bytes()[:-1] + b"\0")
    assert keep(disk, NEW) is True
    assert opens(disk, NEW)
    assert not disk.luks.opens(lost)
    assert len(disk.kit_tokens()) == len(disk.slot_files()) == 1


def test_a_slot_that_somebody_killed_is_made_again(disk):
    keep(disk, NEW)
    (token,) = disk.kit_tokens()
    disk.luks.kill_slot(token["slot"])
    assert keep(disk, NEW) is True
    assert opens(disk, NEW)


def test_a_key_that_was_published_wrong_is_replaced(disk):
    """vault may be captured for a time: a slot counts for the key that it was sealed to, not for the kit's name."""
    false = Kit.of(3).public
    keep_slot(
        disk.luks, disk.files, type(false)(NEW.opened.kit, BOX, false.public_key), by_key_file(str(disk.key_file))
    )
    assert keep(disk, NEW) is True
    assert opens(disk, NEW)


def test_other_slots_and_tokens_stay_as_they_are(disk, tcti):
    disk.enrol_tpm(tcti)
    quick = (
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
    )  # looks like ours, but no token of ours names it
    run(
        "cryptsetup",
        "luksAddKey",
        "-q",
        *quick,
        "--key-file",
        str(disk.key_file),
        str(disk.path),
        "-",
        sent=b"recovery",
    )
    before = disk.not_ours()
    for kit in (OLD, NEW):
        keep(disk, kit)
    assert disk.not_ours() == before
    assert disk.luks.opens(b"installer", 0)
    assert disk.luks.opens(b"recovery", 2)


def test_the_tpm_that_opens_the_disk_authorises_the_slot(disk, tmp_path):
    """It starts anew each time: systemd leaves a session in it, which the kernel's resource manager would end."""
    with software_tpm(tmp_path / "tpm") as tcti:
        disk.enrol_tpm(tcti)
    run("cryptsetup", "luksKillSlot", "--batch-mode", str(disk.path), "0")  # from here on only the TPM can
    luks = Luks(str(disk.path), cryptsetup_with(tcti, tmp_path / "stand-in"))
    for kit in (OLD, NEW):
        with software_tpm(tmp_path / "tpm"):
            assert keep_slot(luks, disk.files, kit.public, BY_TPM) is True
    assert opens(disk, NEW)
    assert not opens(disk, OLD)


def test_without_its_tpm_no_slot_is_made_and_the_old_one_stays(disk, tcti):
    disk.enrol_tpm(tcti)
    keep(disk, OLD)
    with pytest.raises(Unavailable, match="slot_not_added"):
        keep_slot(disk.luks, disk.files, NEW.public, BY_TPM)  # this machine has no TPM where systemd looks
    assert opens(disk, OLD)
    keep(disk, NEW)
    assert len(disk.kit_tokens()) == 1


def test_a_wrong_key_file_makes_no_slot(disk, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"wrong")
    with pytest.raises(Unavailable, match="unlock"):
        keep_slot(disk.luks, disk.files, NEW.public, by_key_file(str(wrong)))
    assert list(disk.metadata()["keyslots"]) == ["0"]


def test_a_boot_partition_that_is_full_or_away_costs_no_slot(disk):
    keep(disk, OLD)
    files = disk.files
    disk.boot.rename(disk.boot.with_name("away"))
    with pytest.raises(Unavailable, match="boot_partition"):
        keep_slot(disk.luks, files, NEW.public, by_key_file(str(disk.key_file)))
    disk.boot.with_name("away").rename(disk.boot)
    assert opens(disk, OLD)
    keep(disk, NEW)
    assert opens(disk, NEW)
    assert len(disk.metadata()["keyslots"]) == 2


def test_a_boot_partition_that_gives_back_other_bytes_is_noticed(disk, monkeypatch):
    keep(disk, OLD)
    files = disk.files
    monkeypatch.setattr(files, "write", lambda slot, sealed: None)
    with pytest.raises(Tampered, match="disk_slot"):
        keep_slot(disk.luks, files, NEW.public, by_key_file(str(disk.key_file)))
    assert opens(disk, OLD)


def test_a_slot_that_does_not_open_replaces_nothing(disk, monkeypatch):
    keep(disk, OLD)
    luks = disk.luks
    monkeypatch.setattr(luks, "opens", lambda passphrase, slot=None: False)
    with pytest.raises(Unavailable):
        keep_slot(luks, disk.files, NEW.public, by_key_file(str(disk.key_file)))
    assert opens(disk, OLD)


def test_a_header_without_room_is_told(disk):
    while True:
        more = subprocess.run(
            ["cryptsetup", "luksAddKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
             "--key-file", str(disk.key_file), str(disk.path), "-"], input=os.urandom(8), capture_output=True)  # fmt: skip
        if more.returncode:
            break
    before = disk.not_ours()
    with pytest.raises(Unavailable, match="slot_not_added"):
        keep(disk, NEW)
    assert disk.not_ours() == before


def test_a_file_that_is_no_disk_is_told(tmp_path):
    (tmp_path / "none").write_bytes(bytes(1 << 20))
    with pytest.raises(Invalid, match="no_luks"):
        keep_slot(Luks(str(tmp_path / "none")), Disk(tmp_path / "d").files, NEW.public, BY_TPM)


def test_the_passphrase_is_in_no_argument_no_variable_and_no_file(disk, tmp_path):
    """cryptsetup is a script here that writes down all it is given, and what processes and files there are meanwhile."""
    seen = tmp_path / "seen"
    spy = tmp_path / "spy"
    spy.write_text(
        f'#!/bin/sh\n{{ printf "%s\\n" "$@"; env; cat /proc/$$/cmdline /proc/$$/environ /proc/$PPID/environ {disk.boot}/*; }} >>{seen} 2>/dev/null\n'
        f'case "$*" in *luksAddKey*|*test-passphrase*) cat >"{tmp_path}/sent"; exec /usr/sbin/cryptsetup "$@" <"{tmp_path}/sent";; esac\n'
        'exec /usr/sbin/cryptsetup "$@"\n'
    )
    spy.chmod(0o755)
    keep_slot(Luks(str(disk.path), (str(spy),)), disk.files, NEW.public, by_key_file(str(disk.key_file)))
    passphrase = (tmp_path / "sent").read_bytes()
    assert passphrase == open_slot(disk.slot_files()[0].read_bytes(), *NEW.sheets[:2])
    for form in (passphrase, passphrase.hex().encode(), json.dumps(passphrase.hex()).encode()):
        assert form not in seen.read_bytes()
        for file in (disk.path, *disk.slot_files()):
            assert form not in file.read_bytes()
