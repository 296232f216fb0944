"""disk-slot as systemd starts it, in its sandbox, on a real block device; and what the one root process cannot do.

The device is a loop device of this machine under the name that the unit knows. The TPM is not there: a key file on the
boot partition authorises the slot; by the TPM: tests/disk_slot/test_keeping.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.disk_slot.open_disk import open_slot
from appliance.formats.kit_public import encode_kit_public
from tests.disk_slot.disk import Disk, Kit
from tests.sandbox.conftest import ACTS, Captured
from tests.sandbox.probes import Probes

UNIT, WATCH = "praxis-disk-slot.service", "praxis-disk-slot.path"
DEVICE = "/dev/disk/by-partlabel/praxissafe-data"
BOOT = "/boot/praxissafe"
PUBLISHED = "/var/lib/praxissafe/vault/kit-public"
OTHER_DEVICE = "/dev/praxissafe-other"
PATIENCE = 300


class BoxWithDisk:
    """The demo box, to which a disk was given."""

    def __init__(self, probes: Probes, disk: Disk) -> None:
        self.probes, self.disk = probes, disk

    def publish(self, kit: Kit) -> None:
        """As vault does: written beside, as its user, and renamed."""
        path = self.probes.here(PUBLISHED)
        path.with_name("kit-public.new").write_bytes(encode_kit_public(kit.public))
        self.probes.run("chown", "praxis-vault:praxis-vault", f"{PUBLISHED}.new")
        self.probes.run("mv", f"{PUBLISHED}.new", PUBLISHED)

    def slot_files(self) -> list[Path]:
        return sorted(self.probes.here(BOOT).glob("disk-slot-*"))

    def opens(self, kit: Kit) -> bool:
        subprocess.run(["blockdev", "--flushbufs", self.probes.run("readlink", "-f", DEVICE).strip()], check=True)
        (file,) = self.slot_files()
        sealed = file.read_bytes()
        return sealed[1:17].hex() == kit.opened.kit and self.disk.luks.opens(open_slot(sealed, *kit.sheets[:2]))

    def journal(self) -> str:
        return self.probes.run("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}")


@pytest.fixture(scope="module")
def with_disk(probes: Probes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoxWithDisk]:
    disk = Disk(tmp_path_factory.mktemp("disk"))
    loop = subprocess.run(
        ["losetup", "--find", "--show", str(disk.path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    minor = loop.removeprefix("/dev/loop")
    try:
        probes.run("mkdir", "--parents", "/dev/disk/by-partlabel", "/run/cryptsetup")
        probes.run("mknod", "--mode=0660", loop, "b", "7", minor)
        probes.run("mknod", "--mode=0660", OTHER_DEVICE, "b", "7", str(int(minor) + 1))
        probes.run("ln", "--symbolic", loop, DEVICE)
        probes.run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/boot")
        probes.run("mkdir", BOOT)
        probes.here(f"{BOOT}/installer.key").write_bytes(disk.key_file.read_bytes())
        settings = probes.here("/etc/praxissafe/disk-slot.toml")
        settings.write_text(f'key_file = "{BOOT}/installer.key"\n')
        yield BoxWithDisk(probes, disk)
    finally:
        probes.run("systemctl", "stop", WATCH, UNIT, check=False)
        probes.run("umount", "/boot", check=False)
        probes.run("rm", "-f", DEVICE, loop, OTHER_DEVICE, "/etc/praxissafe/disk-slot.toml", PUBLISHED, check=False)
        subprocess.run(["losetup", "--detach", loop], check=True)


def test_without_an_encrypted_disk_it_is_not_started(probes: Probes) -> None:
    """As in the demo, whose box has none; nothing failed."""
    for unit in (UNIT, WATCH):
        assert probes.run("systemctl", "is-active", unit, check=False).strip() == "inactive"
        assert probes.run("systemctl", "show", "--value", "--property=ConditionResult", unit).strip() == "no"


def test_in_its_sandbox_it_makes_a_slot_that_two_sheets_open(with_disk: BoxWithDisk) -> None:
    with_disk.publish(Kit.of(1))
    with_disk.probes.run("systemctl", "start", UNIT)
    assert with_disk.journal().splitlines()[-3:].count("disk_slot_made") == 1, with_disk.journal()
    assert with_disk.opens(Kit.of(1))


def test_a_kit_that_is_published_starts_it(with_disk: BoxWithDisk) -> None:
    with_disk.probes.run("systemctl", "start", WATCH)
    with_disk.publish(Kit.of(2))
    for _ in range(PATIENCE):
        state = with_disk.probes.run("systemctl", "is-active", UNIT, check=False).strip()
        if state == "inactive" and with_disk.journal().count("disk_slot_made") == 2:
            break
    assert with_disk.journal().count("disk_slot_made") == 2, with_disk.journal()
    assert with_disk.opens(Kit.of(2))
    assert not with_disk.opens(Kit.of(1))


@pytest.fixture(scope="module")
def captured_root(with_disk: BoxWithDisk) -> Iterator[Captured]:
    """disk-slot in an attacker's hands."""
    probes = with_disk.probes
    probes.write_probe("disk-slot", probes.sandbox_of(UNIT))
    probes.reload()
    with probes.start("disk-slot", [("main", ACTS)]) as probe:
        yield Captured(probe)


def test_it_is_root_without_a_single_right(captured_root: Captured) -> None:
    status = captured_root.does("say_status")
    assert set(status["Uid"].split()) == {"0"}
    assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_it_opens_its_disk_and_no_other_device(captured_root: Captured, free: Captured) -> None:
    captured_root.does("open_device", DEVICE)
    free.does("open_device", OTHER_DEVICE)
    assert captured_root.tries("open_device", OTHER_DEVICE).failed == "EPERM"


def test_it_reads_of_vault_the_published_kit_alone(captured_root: Captured, free: Captured) -> None:
    captured_root.does("read_file", PUBLISHED)
    files = [path for kind, path in free.does("walk", "/var/lib/praxissafe") if kind == "f" and path != PUBLISHED]
    assert any(path.startswith("/var/lib/praxissafe/vault/") for path in files)
    opened = captured_root.try_all(*(("read_file", path) for path in files))
    read = {path for path, said in zip(files, opened, strict=True) if not said.failed}
    assert read <= {"/var/lib/praxissafe/vault/provisioned"}


def test_it_has_no_network_and_no_socket_of_another_process(captured_root: Captured) -> None:
    assert captured_root.tries("dial", "127.0.0.1", 9).failed == "EAFNOSUPPORT"
    assert captured_root.does("find_sockets") == ["/run/systemd/journal/socket", "/run/systemd/notify"]


def test_it_writes_the_boot_partition_s_folder_and_nothing_else_that_stays(captured_root: Captured) -> None:
    places = set(captured_root.does("find_writable_places"))
    assert places == {BOOT, "/run/cryptsetup", "/tmp", "/var/tmp", "/dev", "/dev/mqueue"}
