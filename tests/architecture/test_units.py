"""The unit files held against docs/processes.md and the contracts: who runs as whom, listens, dials, and asks whom.

Units are read as systemd does (systemd.syntax(7)): the file, then its drop-ins sorted by file name, an empty value
forgets the ones before. Whether the container's systemd takes them without a word: tests/sandbox/test_units_in_the_box.py.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.core.varlink import Interface

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
PROCESSES = ("vault", "records", "audit", "practice", "gateway", "tunnel", "backup", "certificate", "watch",
             "preview", "presence", "enrol")  # fmt: skip
#: One process a connection, gone with its answer: an instance of a template (systemd.unit(5)).
SHORT_LIVED = ("preview",)
#: Runs as root for a moment, and ends: a row of its own kind in the table.
AS_ROOT = ("disk-slot",)
#: Asks and is never asked: it has no socket, not even for its metrics.
DEAF = ("presence",)
#: No process of the box: the oneshot that removes the data, once, when the keys are gone.
RESET = "praxissafe-reset.service"
#: Keeps nothing on disk.
STATELESS = ("certificate", "preview", "presence", "enrol")
RESIDENT = tuple(process for process in PROCESSES if process not in SHORT_LIVED)
#: A second interface on a process's socket.
ALSO_ANSWERS = {"records": ("snapshots",), "vault": ("page_key",)}
NUMBERS = {"no": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
#: Lists in systemd.exec(5); a repeated single value replaces the one before.
LISTS = {"BindPaths", "BindReadOnlyPaths", "ReadWritePaths", "SupplementaryGroups", "SystemCallFilter", "DeviceAllow",
         "RestrictAddressFamilies", "Sockets", "ListenStream", "ExecStart", "TemporaryFileSystem", "NoExecPaths",
         "ExecPaths", "InaccessiblePaths", "Environment", "IPAddressDeny", "IPAddressAllow", "ConditionPathExists",
         "Requires", "Wants", "After", "Conflicts"}  # fmt: skip
#: What else a unit may see of /run, and why: systemd's own ears, and gateway's way to its page certificate.
BESIDE_LOCAL_SOCKETS = {"/run/systemd/notify", "/run/systemd/journal/socket"}
SIGNED_BOOT = {"-/run/praxissafe-boot"}
DISKS = {"/run/praxissafe-disks"}
each_resident = pytest.mark.parametrize("process", RESIDENT)
each_process = pytest.mark.parametrize("process", PROCESSES)


@dataclass
class Unit:
    name: str
    values: dict[str, list[str]] = field(default_factory=dict)

    def words(self, key: str) -> list[str]:
        return [word for value in self.values.get(key, []) for word in value.split()]

    def value(self, key: str) -> str:
        return self.values.get(key, [""])[-1]

    def read(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line or line[0] in "#;[":
                continue
            key, _, value = line.partition("=")
            if not value:
                self.values.pop(key, None)
            elif key in LISTS:
                self.values.setdefault(key, []).append(value)
            else:
                self.values[key] = [value]


def drop_in_folders(name: str) -> Iterator[Path]:
    """praxis-a.service has praxis-a.service.d and, cut at its dashes, praxis-.service.d (systemd.unit(5))."""
    stem, _, kind = name.rpartition(".")
    yield UNITS / f"{name}.d"
    for dash in re.finditer("-", stem):
        yield UNITS / f"{stem[: dash.end()]}.{kind}.d"


@functools.cache
def unit(name: str) -> Unit:
    read = Unit(name)
    read.read(UNITS / name)
    drop_ins = {path.name: path for folder in drop_in_folders(name) for path in folder.glob("*.conf")}
    for file_name in sorted(drop_ins):
        read.read(drop_ins[file_name])
    return read


def service_name(process: str) -> str:
    return f"praxis-{process}@.service" if process in SHORT_LIVED else f"praxis-{process}.service"


def service(process: str) -> Unit:
    return unit(service_name(process))


@dataclass(frozen=True)
class Row:
    """A row of the table in docs/processes.md."""

    process: str
    user: str
    listens: str
    dials: str
    may_ask: str


def rows() -> dict[str, Row]:
    found = {}
    for line in (ROOT / "docs/processes.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"praxis-[a-z]+ \d+", cells[1] if len(cells) == 7 else ""):
            found[cells[0]] = Row(*cells[:5])
    return found


def may_ask(process: str) -> dict[str, int | None]:
    """Whom a process may ask by the table, and how many verbs where the table counts them."""
    asked: dict[str, int | None] = {}
    for part in rows()[process].may_ask.split(", "):
        if part == "metrics of all":
            # enrol is gone by the time anybody looks at metrics, and a process of preview with its answer.
            asked |= {other: None for other in RESIDENT if other not in (process, "enrol", *DEAF, *asked)}
        elif part != "–":
            name, word = re.fullmatch(r"([a-z]+)(?: \(([a-z]+)(?: verbs?)?\))?", part).groups()  # type: ignore[union-attr]
            asked[name] = NUMBERS[word] if word else None
    return asked


def verbs_of(caller: str) -> dict[str, list[str]]:
    """Give process -> verbs that `caller` may ask of it, by the contracts."""
    asked: dict[str, list[str]] = {}
    for process in PROCESSES:
        if not (ROOT / f"appliance/contracts/{process}.py").exists():
            continue  # audit's callers and nothing else: enrol and practice answer metrics only
        verbs = []
        for contract in (process, *ALSO_ANSWERS.get(process, ())):
            interface = getattr(importlib.import_module(f"appliance.contracts.{contract}"), contract.upper())
            assert isinstance(interface, Interface)
            verbs += [name for name, verb in interface.verbs.items() if caller in verb.callers]
        if verbs:
            asked[process] = verbs
    return asked


def test_the_table_and_the_units_name_the_same_processes() -> None:
    assert set(rows()) == set(PROCESSES)
    assert {path.name for path in UNITS.glob("*.service")} == {*map(service_name, (*PROCESSES, *AS_ROOT)), RESET}


@each_process
def test_each_process_runs_as_the_user_of_its_row_with_a_fixed_number(process: str) -> None:
    name, number = rows()[process].user.split()
    declared = dict(
        re.findall(r"^u +(\S+) +(\d+)", (UNITS / "sysusers.d/praxissafe.conf").read_text(encoding="utf-8"), re.M)
    )
    assert service(process).value("User") == name == f"praxis-{process}"
    assert declared[name] == number
    assert "Group" not in service(process).values  # its own, then


def test_no_two_processes_share_a_user_and_none_is_root() -> None:
    users = [service(process).value("User") for process in PROCESSES]
    numbers = [row.user.split()[1] for row in rows().values()]
    assert len(set(users)) == len(set(numbers)) == len(PROCESSES)
    assert not {"", "root"} & set(users)
    assert "0" not in numbers


@each_process
def test_a_unit_has_no_door_back_to_root(process: str) -> None:
    """No second command, no `+`, `!` or `-` before it (systemd.service(5)), no right and no right to come."""
    (command,) = service(process).values["ExecStart"]
    # gateway reads from its environment how it frees memory; the environment is the unit's own.
    options = "-sB" if process == "gateway" else "-EsB"
    assert command == f"/usr/lib/praxissafe/.venv/bin/python {options} -m appliance.{process}"
    commands = {key for key in service(process).values if key.startswith("Exec") and not key.endswith("Paths")}
    assert commands == {"ExecStart"}
    assert not service(process).values.keys() & {"CapabilityBoundingSet", "AmbientCapabilities"}  # emptied
    text = (UNITS / "praxis-.service.d/sandbox.conf").read_text(encoding="utf-8")
    assert "\nCapabilityBoundingSet=\n" in text
    assert "\nAmbientCapabilities=\n" in text
    assert not {"PermissionsStartOnly", "RootDirectoryStartOnly", "DynamicUser"} & service(process).values.keys()


@each_process
def test_no_page_of_a_process_goes_to_disk_in_the_clear(process: str) -> None:
    """Neither to swap (systemd.resource-control(5)) nor into a core file; docs/decisions/database-memory.md."""
    assert service(process).value("MemorySwapMax") == "0"
    assert service(process).value("LimitCORE") == "0"


def test_what_gateway_frees_is_overwritten() -> None:
    """Not by Python's own allocator, and not kept aside by the C library's: docs/decisions/freed-memory.md."""
    environment = dict(word.split("=", 1) for word in service("gateway").words("Environment"))
    assert environment["PYTHONMALLOC"] == "malloc"
    tunables = set(environment["GLIBC_TUNABLES"].split(":"))
    assert tunables >= {"glibc.malloc.perturb=90", "glibc.malloc.tcache_count=0"}


@each_resident
def test_a_failing_process_is_started_again_for_ever_and_a_stuck_one_too(process: str) -> None:
    unit = service(process)
    assert unit.value("Restart") == "always"
    assert unit.value("StartLimitIntervalSec") == "0"
    assert unit.value("Type") == "notify"
    assert 0 < int(unit.value("WatchdogSec").removesuffix("s")) <= 60
    assert 0 < int(unit.value("RestartSec").removesuffix("s")) <= 10


@pytest.mark.parametrize("process", SHORT_LIVED)
def test_a_short_lived_process_has_one_document_and_its_limits(process: str) -> None:
    own, socket = service(process), unit(f"praxis-{process}.socket")
    assert [own.value(key) for key in ("Type", "Restart", "WatchdogSec")] == ["exec", "no", "0"]
    assert socket.value("Accept") == "yes"
    assert socket.value("TriggerLimitIntervalSec") == "0"  # a hundred documents at once do not close the socket
    assert 1 <= int(socket.value("MaxConnections")) <= 8
    assert 0 < int(own.value("RuntimeMaxSec").removesuffix("s")) <= 60
    assert 0 < int(own.value("LimitCPU")) <= 60
    assert own.value("MemoryMax") == "512M"
    assert own.value("MemorySwapMax") == "0"
    assert own.value("LimitAS") == "1G"
    assert own.value("LimitFSIZE") == "0"
    assert own.value("CollectMode") == "inactive-or-failed"
    assert own.words("ReadOnlyPaths") == ["/tmp", "/var/tmp"]
    # A library writes what it finds in a file to standard error; here it must reach no log.
    assert {own.value(f"Standard{stream}") for stream in ("Input", "Output", "Error")} == {"null"}


@each_process
def test_a_process_answers_on_its_own_socket(process: str) -> None:
    if process in DEAF:
        assert rows()[process].listens == "–"
        assert not (UNITS / f"praxis-{process}.socket").exists()
        return
    socket = unit(f"praxis-{process}.socket")
    assert f"`{process}.sock`" in rows()[process].listens
    assert socket.values["ListenStream"] == [f"/run/praxissafe/{process}.sock"]
    assert [socket.value(key) for key in ("FileDescriptorName", "SocketUser", "SocketGroup", "SocketMode")] == [
        "" if process in SHORT_LIVED else "local",
        "root",
        "praxis-local",
        "0660",
    ]
    assert ("Accept" in socket.values) == (process in SHORT_LIVED)


@each_process
def test_people_reach_only_the_processes_of_the_table(process: str) -> None:
    lan = re.search(r"LAN (\d+) \(passed in\)", rows()[process].listens)
    name = f"praxis-{process}-lan.socket"
    assert (UNITS / name).exists() == bool(lan)
    if lan:
        assert unit(name).values["ListenStream"] == [lan[1]]
        assert unit(name).value("FileDescriptorName") == "lan"
        assert unit(name).value("Service") == f"praxis-{process}.service"
        assert service(process).words("Sockets") == [f"praxis-{process}.socket", name]


def test_no_other_socket_and_no_datagram_is_listened_on() -> None:
    expected = {f"praxis-{process}.socket" for process in PROCESSES if process not in DEAF} | {
        f"praxis-{process}-lan.socket" for process in PROCESSES if "LAN" in rows()[process].listens
    }
    assert {path.name for path in UNITS.rglob("*.socket")} == expected
    for name in expected:
        listening = [key for key in unit(name).values if key.startswith("Listen")]
        assert listening == ["ListenStream"], name


@each_process
def test_only_a_process_that_dials_has_a_network(process: str) -> None:
    unit, dials = service(process), rows()[process].dials != "–"
    assert unit.value("PrivateNetwork") == ("no" if dials else "yes")
    families = {"AF_UNIX", "AF_INET", "AF_INET6"} if dials else {"AF_UNIX"}
    assert set(unit.words("RestrictAddressFamilies")) == families
    assert unit.words("IPAddressDeny") == ([] if dials else ["any"])
    assert unit.words("IPAddressAllow") == []


def test_a_process_that_faces_people_does_not_dial() -> None:
    for row in rows().values():
        assert row.dials == "–" or ("LAN" not in row.listens and "connected" not in row.listens), row.process


@each_process
def test_a_process_sees_the_sockets_it_may_ask_and_no_other(process: str) -> None:
    unit = service(process)
    assert "/run:ro" in unit.words("TemporaryFileSystem")
    bound = set(unit.words("BindReadOnlyPaths") + unit.words("BindPaths"))
    local = {f"/run/praxissafe/{asked}.sock" for asked in may_ask(process)}
    beside = BESIDE_LOCAL_SOCKETS | {"vault": SIGNED_BOOT, "backup": DISKS}.get(process, set())
    assert {path for path in bound if path.lstrip("-").startswith("/run")} == local | beside


@each_process
def test_the_contracts_let_ask_whom_the_table_lets_ask(process: str) -> None:
    """Metrics aside, which every process answers practice (and root)."""
    counted = {asked: number for asked, number in may_ask(process).items() if number is not None}
    verbs = verbs_of(process)
    metrics_only = set(RESIDENT) - set(DEAF) - set(verbs) if process == "practice" else set()
    assert set(may_ask(process)) - metrics_only == set(verbs)
    assert {asked: len(verbs[asked]) for asked in counted} == counted


@each_process
def test_a_process_writes_its_own_state_and_nothing_else(process: str) -> None:
    unit = service(process)
    own = {f"/var/lib/praxissafe/{process}"} if process not in STATELESS else set()
    disks = DISKS if process == "backup" else set()
    assert unit.value("ProtectSystem") == "strict"
    assert set(unit.words("ReadWritePaths")) == set(unit.words("BindPaths")) == own | disks
    seen = {word.lstrip("-") for word in unit.words("BindReadOnlyPaths")}
    others = {
        "gateway": {"/var/lib/praxissafe/records/spool"},
        "records": {"/var/lib/praxissafe/backup/restored"},
        "backup": {"/var/lib/praxissafe/records/snapshot:/var/lib/praxissafe/backup/work/snapshot"},
    }.get(process, set())
    assert {path for path in seen if path.startswith("/var")} == others
    settings = {path for path in seen if path.startswith("/etc/praxissafe")}
    assert settings == (set() if process in SHORT_LIVED else {f"/etc/praxissafe/{process}.toml"})


@each_process
def test_only_vault_has_the_tpm_and_only_presence_reads_buttons(process: str) -> None:
    unit = service(process)
    devices = {"vault": ["/dev/tpmrm0 rw"], "presence": ["char-input r"]}.get(process, [])
    assert unit.value("DevicePolicy") == "closed"
    assert unit.values.get("DeviceAllow", []) == devices
    assert unit.value("PrivateDevices") == ("no" if process == "vault" else "yes")
    assert ("-/dev/input" in unit.words("BindReadOnlyPaths")) == (process == "presence")


def test_a_group_that_opens_doors_has_the_members_of_the_table() -> None:
    groups = {process: set(service(process).words("SupplementaryGroups")) for process in PROCESSES}
    spool = {process for process in PROCESSES if "praxis-spool" in groups[process]}
    assert spool == {"gateway", "records", "backup"}
    assert {process for process in PROCESSES if "input" in groups[process]} == {"presence"}
    assert all(groups[process] <= {"praxis-local", "praxis-spool", "input"} for process in PROCESSES)


def root_rows() -> dict[str, list[str]]:
    """Give the rows of the table of what runs as root: process -> cells."""
    text = (ROOT / "docs/processes.md").read_text(encoding="utf-8").partition("## Where root is needed")[2]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row for row in cells if row[0] not in ("process", "---")}


def test_what_runs_as_root_has_a_row_and_nothing_else_does() -> None:
    assert set(root_rows()) == set(AS_ROOT)
    without_user = {path.name for path in UNITS.glob("*.service") if "User" not in unit(path.name).values}
    assert without_user == {*(f"praxis-{process}.service" for process in AS_ROOT), RESET}


@pytest.mark.parametrize("process", AS_ROOT)
def test_root_runs_once_listens_to_nobody_calls_nobody_and_has_no_right(process: str) -> None:
    own = service(process)
    assert own.values["ExecStart"] == [
        f"/usr/lib/praxissafe/.venv/bin/python -EsB -m appliance.{process.replace('-', '_')}"
    ]
    assert [own.value(key) for key in ("Type", "Restart", "WatchdogSec")] == ["oneshot", "on-failure", "0"]
    assert (own.value("StartLimitIntervalSec"), own.value("StartLimitBurst")) == ("1h", "20")
    assert not list(UNITS.glob(f"praxis-{process}*.socket"))
    assert own.words("SupplementaryGroups") == []
    bound = set(own.words("BindReadOnlyPaths") + own.words("BindPaths"))
    assert {path for path in bound if path.startswith("/run")} == BESIDE_LOCAL_SOCKETS | {"/run/cryptsetup"}
    assert not own.values.keys() & {"CapabilityBoundingSet", "AmbientCapabilities"}  # emptied
    assert (own.value("PrivateNetwork"), own.value("NoNewPrivileges")) == ("yes", "yes")
    assert own.words("RestrictAddressFamilies") == ["AF_UNIX"]
    assert [own.value(key) for key in ("MemorySwapMax", "LimitCORE")] == ["0", "0"]


def test_disk_slot_writes_its_files_and_the_disk_and_runs_cryptsetup_alone() -> None:
    own = service("disk-slot")
    assert set(own.words("ReadWritePaths")) == {"/boot/praxissafe", "/run/cryptsetup"}
    assert own.value("DevicePolicy") == "closed"
    disk = "/dev/disk/by-partlabel/praxissafe-data"
    assert own.values["DeviceAllow"] == [f"{disk} rw", "/dev/tpmrm0 rw"]
    assert disk in own.values["ConditionPathExists"]  # where there is no such disk, as in the demo, it does not start
    # For root, what may be run would be writable (systemd 252): each is bound read-only.
    assert set(own.words("ExecPaths")) <= set(own.words("BindReadOnlyPaths"))
    assert set(own.words("ExecPaths")) - set(service("vault").words("ExecPaths")) == {"/usr/sbin/cryptsetup"}
    assert {"/boot/praxissafe", "/run/cryptsetup", "/tmp", "/var/tmp", "/"} <= set(own.words("NoExecPaths"))
    assert set(service("vault").words("InaccessiblePaths")) - set(own.words("InaccessiblePaths")) == {"-/boot"}


def test_a_kit_that_is_published_starts_disk_slot_and_so_does_the_box() -> None:
    watch = unit("praxis-disk-slot.path")
    assert watch.values["PathChanged"] == ["/var/lib/praxissafe/vault/kit-public"]
    assert watch.value("Unit") == "praxis-disk-slot.service"
    wanted = unit("praxis-provisioned.target").words("Wants")
    assert {"praxis-disk-slot.path", "praxis-disk-slot.service"} <= set(wanted)


@pytest.mark.parametrize("process", [*PROCESSES, *AS_ROOT])
def test_the_exposure_of_a_unit_is_within_its_bound(process: str) -> None:
    """systemd-analyze(1) `security`, offline: 0 is nothing, 10 is everything."""
    instance = service_name(process).replace("@.", "@1.")
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", instance],
        env=os.environ | {"SYSTEMD_UNIT_PATH": str(UNITS), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(rf"exposure level for {re.escape(instance)}: ([\d.]+)", said)
    assert found, said
    print("\n".join(line for line in said.splitlines() if not line.startswith("✓")))
    assert float(found[1]) <= (
        {"tunnel": 1.5, "backup": 1.5, "certificate": 1.5, "watch": 1.5, "disk-slot": 1.2}.get(process, 1.0)
    ), said
