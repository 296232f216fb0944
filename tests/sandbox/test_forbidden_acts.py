"""What each process must not do, tried inside its sandbox by a probe, and done by the same probe without one."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.architecture.test_units import may_ask, service_name
from tests.sandbox.conftest import PROCESSES, PROGRAM_THAT_SAYS_ITS_USER, STAND_IN_BUTTON, STAND_IN_TPM, Captured
from tests.sandbox.probes import FOLDER, Probes

BOX = "/var/lib/praxissafe"
WORLD = "/var/lib/praxissafe-demo"
SPOOL = f"{BOX}/records/spool"
BOOT = f"{WORLD}/boot"
SNAPSHOT, RESTORED = f"{BOX}/records/snapshot", f"{BOX}/backup/restored"
WITH_STATE = {"vault", "records", "audit", "practice", "gateway", "tunnel", "watch", "backup"}
#: What is bound into a process of another's state, read only, and the folders passed through on the way.
SEEN_OF_OTHERS = {"gateway": {f"{BOX}/records": ["spool"]}, "records": {f"{BOX}/backup": ["restored"]}}
DIAL = {"tunnel", "backup", "certificate", "watch"}
USERS = {"vault": 701, "records": 702, "audit": 703, "practice": 704, "gateway": 705, "tunnel": 706, "certificate": 707, "watch": 708,
         "backup": 710, "enrol": 713, "preview": 714, "presence": 715}  # fmt: skip
NOT_THERE = {"ENOENT", "EACCES"}
TPM_SOCKETS = ("/run/praxissafe-demo/tpm/tpm.sock", "/run/praxissafe-demo/tpm/tpm.sock.ctrl")
SYSTEMD_HEARS = {"/run/systemd/notify", "/run/systemd/journal/socket"}
AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK = 16, 17, 38, 40
#: Nothing in the container can do these, free or not.
NOT_EVEN_FREE = {"load_module", "count_performance", "take_descriptor"}


def own_state(process: str) -> set[str]:
    return {f"{BOX}/{process}"} if process in WITH_STATE else set()


def writable_places(process: str) -> set[str]:
    """Its own state, its own temporary files and queues.

    preview has no temporary files either: a library that wants some would leave a document on the disk.
    """
    if process == "preview":
        return {"/dev/mqueue"}
    return {"/tmp", "/var/tmp", "/dev/mqueue"} | own_state(process)


def is_below(path: str, folders: set[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


# --- another's files --------------------------------------------------------------------------------------------


@pytest.fixture
def all_state(free: Captured) -> dict[str, str]:
    """Give path -> kind of everything the box and the world around it keep; root without a sandbox sees it."""
    found = [("d", top) for top in (BOX, WORLD)] + [found for top in (BOX, WORLD) for found in free.does("walk", top)]
    return {path: kind for kind, path in found if kind in "df"}


def test_the_state_of_each_process_is_there_to_be_read(free: Captured, all_state: dict[str, str]) -> None:
    for process in WITH_STATE:
        files = [path for path, kind in all_state.items() if kind == "f" and is_below(path, own_state(process))]
        assert files, process
        assert not [outcome for outcome in free.try_all(*(("read_file", path) for path in files)) if outcome.failed]


def test_a_process_reads_and_lists_no_state_of_another(
    process: str, captured: Captured, all_state: dict[str, str]
) -> None:
    others = {path: kind for path, kind in all_state.items() if not is_below(path, own_state(process))}
    if process == "gateway":  # has a test of its own
        others = {path: kind for path, kind in others.items() if not (kind == "f" and is_below(path, {SPOOL}))}
    if process == "vault":  # the signed boots and the firmware's variables, which are public; nobody else reads them
        others = {path: kind for path, kind in others.items() if not is_below(path, {BOOT})}
    seen = SEEN_OF_OTHERS.get(process, {})
    if process == "records":  # has a test of its own
        others = {path: kind for path, kind in others.items() if not is_below(path, {RESTORED})}
    passed_through = {BOX, WORLD, *seen}  # empty but for what is bound in
    acts = [("read_file" if kind == "f" else "list_folder", path) for path, kind in others.items()]
    opened = {act[1]: said.did for act, said in zip(acts, captured.try_all(*acts), strict=True) if not said.failed}
    assert opened.keys() <= passed_through
    assert set(opened.get(BOX, [])) <= {process, *(PurePosixPath(path).name for path in seen)}
    assert {path: opened.get(path, []) for path in seen} == seen


@pytest.mark.parametrize("process", sorted(WITH_STATE))
def test_a_process_reads_its_own_state(process: str, captured: Captured) -> None:
    assert captured.does("list_folder", f"{BOX}/{process}")


@pytest.fixture
def spool(all_state: dict[str, str]) -> dict[str, str]:
    return {path: kind for path, kind in all_state.items() if is_below(path, {SPOOL})}


@pytest.mark.parametrize("process", ["gateway"])
def test_gateway_cannot_list_documents(captured: Captured, free: Captured, spool: dict[str, str]) -> None:
    folders = [path for path, kind in spool.items() if kind == "d"]
    assert len(folders) >= 2  # the spool and a share
    assert all(free.does("list_folder", folder) for folder in folders)
    assert {said.failed for said in captured.try_all(*(("list_folder", folder) for folder in folders))} == {"EACCES"}
    assert captured.does("walk", f"{BOX}/records") == [["d", SPOOL]]


@pytest.mark.parametrize("process", ["gateway"])
def test_gateway_opens_a_sealed_file_only_by_its_name(captured: Captured, spool: dict[str, str]) -> None:
    files = [path for path, kind in spool.items() if kind == "f"]
    assert files
    for path in files:
        captured.does("read_file", path)
        assert captured.tries("open_device", path).failed in {"EROFS", "EACCES"}  # to write
    names = [PurePosixPath(path).name for path in files]
    aside = [f"{BOX}/records/{folder}/{name}" for name in names for folder in ("sealed", "incoming")]
    aside += [f"{BOX}/records/records.db", f"{SPOOL}/../records.db", f"{SPOOL}/{uuid.uuid4().hex}/manifest"]
    assert {said.failed for said in captured.try_all(*(("read_file", path) for path in aside))} == {"ENOENT"}


@pytest.mark.parametrize("process", ["backup"])
def test_backup_reads_a_snapshot_and_changes_nothing_of_it(captured: Captured, free: Captured) -> None:
    place = f"{BOX}/backup/work/snapshot"
    free.does("list_folder", SNAPSHOT)
    captured.does("list_folder", place)
    assert captured.tries("create_file", place).failed == "EROFS"
    for path in (SNAPSHOT, f"{BOX}/records/sealed", f"{BOX}/records/records.db", SPOOL):
        assert captured.tries("list_folder", path).failed in NOT_THERE


@pytest.mark.parametrize("process", ["records"])
def test_records_reads_what_was_fetched_back_and_nothing_else_of_backup(captured: Captured, free: Captured) -> None:
    captured.does("list_folder", RESTORED)
    assert captured.tries("create_file", RESTORED).failed == "EROFS"
    for path in (f"{BOX}/backup/private", f"{BOX}/backup/work"):
        free.does("list_folder", path)
        assert captured.tries("list_folder", path).failed == "ENOENT"


def test_a_process_sees_of_the_machine_s_settings_who_is_who_and_its_own(
    process: str, captured: Captured, free: Captured
) -> None:
    shared = {"passwd", "group", "nsswitch.conf", "ld.so.cache", "localtime"}
    shared |= {"hosts", "resolv.conf"} if process in DIAL else set()
    shared |= (
        {"ssl"} if process in ("backup", "certificate", "watch") else set()
    )  # the public authorities' certificates
    assert set(captured.does("list_folder", "/etc")) - {"praxissafe"} <= shared
    settings = set(free.does("list_folder", "/etc/praxissafe"))
    assert "vault.toml" in settings
    seen = captured.tries("list_folder", "/etc/praxissafe").did or []
    authority = {"demo-authority.pem"} if process == "certificate" else set()  # signed the demo's directory
    assert set(seen) == settings & {f"{process}.toml"} | authority
    for path in ("/etc/shadow", "/etc/machine-id"):
        free.does("read_file", path)
        assert captured.tries("read_file", path).failed == "ENOENT"


def test_a_process_sees_no_journal_no_home_and_no_root(captured: Captured, free: Captured) -> None:
    for path in ("/var/log/journal", "/root", "/home", "/srv", "/boot"):
        free.does("list_folder", path)
        assert captured.tries("list_folder", path).failed in NOT_THERE


# --- writing ----------------------------------------------------------------------------------------------------


def test_a_process_writes_its_own_state_and_its_own_temporary_files_only(process: str, captured: Captured) -> None:
    assert set(captured.does("find_writable_places")) == writable_places(process)


@pytest.mark.parametrize(
    "folder", ["/", "/usr", "/usr/lib/systemd", "/etc", "/var/lib", BOX, "/run", "/run/praxissafe"]
)
def test_a_process_cannot_write_to(folder: str, captured: Captured, free: Captured) -> None:
    free.does("create_file", folder)
    # Read-only to whomever it belongs; below /usr/lib, a mount of its own by ExecPaths=, because it belongs to root.
    expected = {"EACCES", "EROFS"} if folder.startswith("/usr/lib") else {"EROFS", "ENOENT"}
    assert captured.tries("create_file", folder).failed in expected


def test_a_process_cannot_change_the_program_it_runs(captured: Captured) -> None:
    for folder in ("", "/appliance", "/appliance/core", "/.venv/bin"):
        assert captured.tries("create_file", f"/usr/lib/praxissafe{folder}").failed in {"EROFS", "EACCES"}


def test_a_process_leaves_no_file_for_another(cast: dict[str, Captured], free: Captured) -> None:
    """Temporary files are each process's own, and no folder is shared."""
    free.does("create_file", "/dev/shm")
    for process in PROCESSES:
        assert cast[process].tries("create_file", "/dev/shm").failed == "EACCES"
        assert cast[process].does("list_folder", "/tmp") == []


def test_a_process_makes_no_file_that_gives_rights(process: str, captured: Captured, free: Captured) -> None:
    free.does("set_user_bit", "/tmp")
    expected = "EPERM" if "/tmp" in writable_places(process) else "EROFS"
    assert captured.tries("set_user_bit", "/tmp").failed == expected


# --- the TPM ----------------------------------------------------------------------------------------------------


def test_only_vault_reaches_the_tpm(process: str, captured: Captured, free: Captured) -> None:
    acts = [("open_device", STAND_IN_TPM), *(("connect_local", path) for path in TPM_SOCKETS)]
    assert [said.failed for said in free.try_all(*acts)] == ["", "", ""]
    expected = ["", "", ""] if process == "vault" else ["ENOENT", "ENOENT", "ENOENT"]
    assert [said.failed for said in captured.try_all(*acts)] == expected


def test_only_presence_is_given_the_buttons(process: str, captured: Captured, free: Captured) -> None:
    free.does("open_device", STAND_IN_BUTTON)
    assert free.does("list_folder", "/dev/input")
    seen = captured.tries("open_device", STAND_IN_BUTTON).failed
    assert seen == ("" if process in ("presence", "vault") else "ENOENT")


def test_a_process_has_no_device_but_those_that_are_none(process: str, captured: Captured, free: Captured) -> None:
    pseudo = {f"/dev/{name}" for name in ("full", "null", "random", "urandom", "zero", "pts/ptmx", "tty")}
    # vault sees all of /dev, and the stand-ins are null(4), which nobody is denied.
    own = {"vault": {STAND_IN_TPM, STAND_IN_BUTTON}, "presence": {STAND_IN_BUTTON}}
    assert set(captured.does("find_devices")) <= pseudo | own.get(process, set())
    assert "/dev/net/tun" in free.does("find_devices")


# --- the network ------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    """A listener on this machine, whose network the container shares."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_only_who_must_dial_makes_an_internet_socket(
    process: str, captured: Captured, free: Captured, family: int, kind: int
) -> None:
    free.does("make_socket", family, kind, 0)
    expected = "" if process in DIAL else "EAFNOSUPPORT"
    assert captured.tries("make_socket", family, kind, 0).failed == expected


@pytest.mark.parametrize(
    ("family", "kind"),
    [(AF_NETLINK, socket.SOCK_RAW), (AF_PACKET, socket.SOCK_RAW), (AF_VSOCK, socket.SOCK_STREAM)],
)
def test_nobody_makes_a_socket_of_another_kind(captured: Captured, free: Captured, family: int, kind: int) -> None:
    free.does("make_socket", family, kind, 0)
    assert captured.tries("make_socket", family, kind, 0).failed == "EAFNOSUPPORT"
    assert captured.tries("make_socket", AF_ALG, socket.SOCK_SEQPACKET, 0).failed == "EAFNOSUPPORT"


def test_only_who_must_dial_dials(
    process: str, captured: Captured, free: Captured, listener: tuple[str, int]
) -> None:
    free.does("dial", *listener)
    assert captured.tries("dial", *listener).failed == ("" if process in DIAL else "EAFNOSUPPORT")


@pytest.mark.parametrize("process", sorted(DIAL))
def test_who_dials_reaches_nobody_but_the_address_it_has_been_given(captured: Captured, free: Captured) -> None:
    """Here the address is this machine's loopback; the rule is a drop-in of the demo."""
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        host, port = elsewhere.getsockname()
        free.does("dial", host, port)
        free.does("send_datagram", host, port)
        assert captured.tries("dial", host, port).failed in {"TimeoutError", "EPERM"}
        assert captured.tries("send_datagram", host, port).failed == "EPERM"


def test_nobody_listens(process: str, captured: Captured, free: Captured) -> None:
    for act in ("listen_on_a_port", "listen_locally"):
        free.does(act)
    assert captured.tries("listen_locally").failed == "EPERM"
    assert captured.tries("listen_on_a_port").failed == ("EPERM" if process in DIAL else "EAFNOSUPPORT")


# --- local sockets ----------------------------------------------------------------------------------------------


def test_a_process_sees_only_the_sockets_it_may_call(process: str, captured: Captured, free: Captured) -> None:
    everything = set(free.does("find_sockets", "/run", "/dev"))
    allowed = {f"/run/praxissafe/{asked}.sock" for asked in may_ask(process)} | SYSTEMD_HEARS
    allowed |= set(TPM_SOCKETS) if process == "vault" else set()
    assert allowed < everything
    assert set(captured.does("find_sockets")) == allowed


def test_a_process_connects_only_to_the_sockets_it_may_call(process: str, captured: Captured, free: Captured) -> None:
    everything = [
        path
        for path in free.does("find_sockets", "/run", "/dev")
        if not path.startswith((str(FOLDER), "/run/host")) and path not in TPM_SOCKETS
    ]
    assert not [said for said in free.try_all(*(("connect_local", path) for path in everything)) if said.failed]
    outcomes = captured.try_all(*(("connect_local", path) for path in everything))
    reached = {path for path, said in zip(everything, outcomes, strict=True) if not said.failed}
    assert reached == {f"/run/praxissafe/{asked}.sock" for asked in may_ask(process)} | SYSTEMD_HEARS


@pytest.mark.parametrize("process", [process for process in PROCESSES if process not in DIAL])
def test_a_process_without_a_network_reaches_no_abstract_socket(captured: Captured, free: Captured) -> None:
    """Abstract names belong to the network namespace (unix(7)); tunnel, backup and certificate share the machine's."""
    name = f"@praxissafe-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("\0" + name[1:])
        sock.listen()
        free.does("connect_local", name)
        assert captured.tries("connect_local", name).failed == "ECONNREFUSED"


# --- other processes --------------------------------------------------------------------------------------------


def test_a_process_sees_no_process_of_another(
    process: str, captured: Captured, free: Captured, pids: dict[str, int]
) -> None:
    assert set(pids.values()) <= set(free.does("see_processes"))
    own = {pids[name] for name in pids if name == process}
    seen = set(captured.does("see_processes"))
    # Documents of the box may have processes of preview just now: of one user, but closed to each other.
    assert seen.isdisjoint(pids.values()) if process == "preview" else seen <= own


@pytest.mark.parametrize(
    "act",
    ["trace", "read_memory", "write_memory", "open_memory", "read_environment", "take_descriptor", "signal_process"],
)
def test_a_process_touches_no_process_of_another(
    act: str, process: str, captured: Captured, free: Captured, pids: dict[str, int]
) -> None:
    others = [pid for name, pid in pids.items() if name != process]
    if act not in NOT_EVEN_FREE:
        assert not [said for said in free.try_all(*((act, pid) for pid in others)) if said.failed]
    failures = {said.failed for said in captured.try_all(*((act, pid) for pid in others))}
    assert failures == ({"ENOENT"} if act in ("open_memory", "read_environment") else {"EPERM"})


# --- the kernel -------------------------------------------------------------------------------------------------

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000


@pytest.mark.parametrize(
    "act",
    [
        ("load_module",),
        ("mount_something",),
        ("open_a_tree",),
        ("unshare", CLONE_NEWUSER),
        ("unshare", CLONE_NEWNS),
        ("unshare", CLONE_NEWPID),
        ("unshare", CLONE_NEWNET),
        ("change_root",),
        ("become_root",),
        ("set_host_name",),
        ("run_in_real_time",),
        ("change_personality",),
        ("ask_io_uring",),
        ("watch_page_faults",),
        ("load_a_program_into_the_kernel",),
        ("count_performance",),
    ],
    ids=lambda act: "_".join(map(str, act)),
)
def test_a_process_cannot(act: tuple[str, ...], captured: Captured, free: Captured) -> None:
    if act[0] not in NOT_EVEN_FREE:
        free.does(*act)
    assert captured.tries(*act).failed == "EPERM"


# --- running what was not shipped -------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["/usr/bin/su", "/usr/bin/passwd", "/bin/sh", "/usr/bin/openssl"])
def test_a_process_runs_no_program_of_the_machine(program: str, captured: Captured, free: Captured) -> None:
    words = ["-c", "true"] if program == "/bin/sh" else ["version"] if "openssl" in program else ["--help"]
    free.does("run_program", program, *words)
    assert captured.tries("run_program", program, *words).failed == "EACCES"


@pytest.mark.parametrize(("program", "word"), [("/usr/bin/restic", "version"), ("/usr/bin/ssh", "-V")])
def test_only_backup_runs_restic_and_ssh(
    program: str, word: str, process: str, captured: Captured, free: Captured
) -> None:
    free.does("run_program", program, word)
    assert captured.tries("run_program", program, word).failed == ("" if process == "backup" else "EACCES")


def test_a_process_runs_no_program_by_way_of_the_loader(captured: Captured, free: Captured) -> None:
    free.does("run_by_the_loader", "/bin/true")
    assert captured.tries("run_by_the_loader", "/bin/true").failed == "ENOEXEC"  # the loader may not map it


def test_a_set_user_bit_gives_a_process_nothing(process: str, captured: Captured, free: Captured) -> None:
    act = ("become_by_the_set_user_bit", PROGRAM_THAT_SAYS_ITS_USER)
    assert free.does(*act) == "0"
    assert captured.does(*act) == str(USERS[process])


@pytest.mark.parametrize("act", ["run_from_a_file", "map_executable_from_a_file"])
def test_what_a_process_can_write_it_cannot_run(act: str, process: str, captured: Captured, free: Captured) -> None:
    free.does(act, "/tmp")
    for folder in writable_places(process) - {"/dev/mqueue"}:  # a queue takes no file's bytes
        assert captured.tries(act, folder).failed in {"EACCES", "EPERM"}, folder


@pytest.mark.parametrize(
    "act",
    ["map_writable_and_executable", "make_memory_executable", "run_from_memory", "map_executable_from_memory"],
)
def test_a_process_makes_no_program_in_memory(act: str, process: str, captured: Captured, free: Captured) -> None:
    free.does(act)
    assert captured.tries(act).failed == "EPERM"


# --- the probe itself -------------------------------------------------------------------------------------------


def test_a_probe_stands_where_its_process_stands(process: str, captured: Captured) -> None:
    status = captured.does("say_status")
    assert set(status["Uid"].split()) == {str(USERS[process])}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


def test_a_probe_differs_from_its_process_only_in_what_it_runs(process: str, probes: Probes) -> None:
    """systemd says of both units what it does for them; the sandbox is the same."""

    def shown(unit: str) -> dict[str, str]:
        lines = probes.run("systemctl", "show", "--no-pager", f"{unit}.service").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    theirs = shown(service_name(process).replace("@.", "@1.").removesuffix(".service"))
    ours = shown(f"probe-{process}")
    sandbox = {
        key
        for key in theirs
        if key.startswith(("Private", "Protect", "Restrict", "System", "Capability", "Ambient", "Bind", "ReadWrite",
                           "ReadOnly", "NoExec", "Exec", "Inaccessible", "TemporaryFile", "Device", "IPAddress", "Lock",
                           "MemoryDeny", "NoNew", "User", "Group", "Supplementary", "Keyring", "RemoveIPC", "UMask",
                           "Proc", "Root", "Secure", "Limit", "Environment", "Socket", "Mount", "Dynamic"))
    } - {"RestartUSec", "ExecMainStartTimestamp"}  # fmt: skip
    sandbox = {key for key in sandbox if not key.startswith(("ExecMain", "ExecStart", "RestartU"))}
    assert len(sandbox) > 60
    assert {key: ours.get(key) for key in sandbox} == {key: theirs[key] for key in sandbox}
