"""What a captured process would try, as a program for a probe: each act in a child of its own, so that none spoils the next.

A question is a list of [act, argument…]; the answer is, for each, {"did": what it got} or {"failed": name of the error}.
Every act leaves things as they were. Standard library only. It tries and reports; what may succeed, the tests know.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
SYSCALLS = {  # x86-64, aarch64; numbers from 424 on are the same everywhere
    "init_module": (175, 105),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "execveat": (322, 281),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
}
PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
MACHINES = {"x86_64": 0, "aarch64": 1}
PAGE = mmap.PAGESIZE


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name: str, *arguments: Any) -> int:
    wide = (ctypes.c_long(word) if isinstance(word, int) else word for word in arguments)
    return checked(libc.syscall(ctypes.c_long(SYSCALLS[name][MACHINES[os.uname().machine]]), *wide))


# --- files ------------------------------------------------------------------------------------------------------


def list_folder(path: str) -> list[str]:
    return sorted(os.listdir(path))


def read_file(path: str) -> int:
    with open(path, "rb") as file:
        return len(file.read(1))


def open_device(path: str) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


def create_file(folder: str) -> None:
    path = Path(folder, "probe-was-here")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    path.unlink()


def set_user_bit(folder: str) -> None:
    path = Path(folder, "probe-was-here")
    path.write_bytes(b"")
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


def walk(top: str) -> list[tuple[str, str]]:
    """Give (kind, path) of all that can be found below a folder: f, d, s (socket) or o."""
    found = []
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                mode = os.lstat(path).st_mode
                kinds = (("d", stat.S_ISDIR), ("f", stat.S_ISREG), ("s", stat.S_ISSOCK))
                found.append((next((kind for kind, test in kinds if test(mode)), "o"), path))
    return found


def own_tops() -> list[str]:
    """Give the folders of / in which a process could find something of another: not the programs, not the kernel's."""
    return [
        f"/{name}"
        for name in list_folder("/")
        if name not in ("proc", "sys", "usr") and not Path("/", name).is_symlink()
    ]


def find_sockets(*tops: str) -> list[str]:
    return sorted(path for top in tops or own_tops() for kind, path in walk(top) if kind == "s")


def find_devices() -> list[str]:
    """Give the device nodes that can be opened."""
    found = []
    for folder, _, files in os.walk("/dev"):
        for name in files:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if not path.is_symlink() and stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
                    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
                    found.append(str(path))
    return sorted(found)


def find_writable_places() -> list[str]:
    """Give the mounts that hold a folder in which a file can be made; /proc, /sys and /usr are tried at their tops."""
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    folders = {*mounts, *(path for top in own_tops() for kind, path in walk(top) if kind == "d")}
    found = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            create_file(folder)
            found.add(max((mount for mount in mounts if f"{folder}/".startswith(f"{mount.rstrip('/')}/")), key=len))
    return sorted(found)


# --- sockets ----------------------------------------------------------------------------------------------------


def make_socket(family: int, kind: int, protocol: int) -> None:
    socket.socket(family, kind, protocol).close()


def dial(host: str, port: int) -> None:
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.connect((host, port))


def send_datagram(host: str, port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"canary", (host, port))


def connect_local(path: str) -> None:
    """`path` may be abstract: then it begins with @."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            try:
                sock.connect("\0" + path[1:] if path[0] == "@" else path)
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    raise
            else:
                return
    raise OSError(errno.EPROTOTYPE, path)


def listen_locally() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0probe-{os.getpid()}")
        sock.listen()


def listen_on_a_port() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()


# --- other processes --------------------------------------------------------------------------------------------


def see_processes() -> list[int]:
    """Give the pids in /proc that are not our own children."""
    own = {os.getpid(), os.getppid()}
    return sorted(int(name) for name in list_folder("/proc") if name.isdigit() and int(name) not in own)


def trace(pid: int) -> None:
    checked(libc.ptrace(ctypes.c_long(PTRACE_SEIZE), ctypes.c_long(pid), None, None))
    libc.ptrace(ctypes.c_long(PTRACE_DETACH), ctypes.c_long(pid), None, None)


def _vector() -> ctypes.Array[ctypes.c_uint64]:
    """struct iovec of nothing: the permission is asked for all the same (process_vm_readv(2))."""
    buffer = ctypes.create_string_buffer(8)
    return (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 1)


def read_memory(pid: int) -> None:
    try:
        call("process_vm_readv", pid, _vector(), 1, _vector(), 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:  # may, but nothing is mapped there
            raise


def write_memory(pid: int) -> None:
    nothing = (ctypes.c_uint64 * 2)(0, 1)
    try:
        call("process_vm_writev", pid, _vector(), 1, nothing, 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


def open_memory(pid: int) -> None:
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))


def read_environment(pid: int) -> None:
    Path(f"/proc/{pid}/environ").read_bytes()


def take_descriptor(pid: int) -> None:
    os.close(call("pidfd_getfd", call("pidfd_open", pid, 0), 0, 0))


def signal_process(pid: int) -> None:
    os.kill(pid, 0)


# --- the kernel -------------------------------------------------------------------------------------------------


def load_module() -> None:
    call("init_module", ctypes.create_string_buffer(64), 64, b"")


def mount_something() -> None:
    checked(libc.mount(b"none", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None))
    libc.umount2(b"/tmp", 2)


def open_a_tree() -> None:
    os.close(call("open_tree", -100, b"/", 1))  # OPEN_TREE_CLONE


def unshare(flag: int) -> None:
    checked(libc.unshare(ctypes.c_int(flag)))


def change_root() -> None:
    os.chroot("/usr")


def become_root() -> None:
    """setuid(2) to 0, or to a neighbour's number."""
    os.setuid(0 if os.getuid() else 705)


def set_host_name() -> None:
    name = socket.gethostname().encode()
    checked(libc.sethostname(name, ctypes.c_size_t(len(name))))


def run_in_real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def change_personality() -> None:
    call("personality", 0x0040000)  # ADDR_NO_RANDOMIZE


def ask_io_uring() -> None:
    os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(256)))


def watch_page_faults() -> None:
    os.close(call("userfaultfd", 0))


def load_a_program_into_the_kernel() -> None:
    os.close(call("bpf", 0, (ctypes.c_uint32 * 12)(2, 4, 4, 1), 48))  # BPF_MAP_CREATE of an array, bpf(2)


def count_performance() -> None:
    attributes = ctypes.create_string_buffer(128)
    attributes.raw = b"\x01\0\0\0\x80".ljust(128, b"\0")  # PERF_TYPE_SOFTWARE, size 128
    os.close(call("perf_event_open", attributes, 0, -1, -1, 0))


# --- running what was not shipped -------------------------------------------------------------------------------


def run_program(*words: str, passed: Sequence[int] = ()) -> str:
    """Give the first line a program says."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, pass_fds=passed)
    if done.returncode:
        raise OSError(errno.ENOEXEC, done.stderr)
    return done.stdout.partition("\n")[0]


def become_by_the_set_user_bit(path: str) -> str:
    """Run a program that says its user, and belongs to root with the set-user bit; from a user that is not root."""
    if os.getuid() == 0:
        os.setuid(713)
    return run_program(path, "-u")


def run_by_the_loader(path: str) -> str:
    """Run a program by naming it to the dynamic loader, which is executable itself (ld.so(8))."""
    (loader,) = [str(path) for path in Path("/usr/lib64").glob("ld-linux-*")] or [
        str(path) for path in Path("/usr/lib").glob("ld-linux-*")
    ]
    return run_program(loader, path)


def run_from_a_file(folder: str) -> str:
    path = Path(folder, "probe-program")
    shutil.copyfile("/bin/true", path)
    path.chmod(0o700)
    try:
        return run_program(str(path))
    finally:
        path.unlink()


def run_from_memory() -> str:
    """memfd_create(2) and then its descriptor as program: no file system is asked."""
    descriptor = call("memfd_create", b"probe", 0)
    os.write(descriptor, Path("/bin/true").read_bytes())
    return run_program(f"/proc/self/fd/{descriptor}", passed=[descriptor])


def map_executable_from_memory() -> None:
    descriptor = call("memfd_create", b"probe", 0)
    os.write(descriptor, bytes(PAGE))
    mmap.mmap(descriptor, PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()


def map_executable_from_a_file(folder: str) -> None:
    path = Path(folder, "probe-program")
    path.write_bytes(bytes(PAGE))
    try:
        with path.open("rb") as file:
            mmap.mmap(file.fileno(), PAGE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()
    finally:
        path.unlink()


def map_writable_and_executable() -> None:
    mmap.mmap(
        -1, PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ).close()


def make_memory_executable() -> None:
    libc.mmap.restype = ctypes.c_void_p
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address = libc.mmap(None, ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, ctypes.c_long(0))
    checked(libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_EXEC))


def say_status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


ACTS: dict[str, Callable[..., Any]] = {
    name: act
    for name, act in globals().items()
    if callable(act) and getattr(act, "__module__", "") == __name__ and name[0].islower()
}


def attempt(name: str, *arguments: Any) -> dict[str, Any]:
    """Do one act in a child and say how it went."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said: dict[str, Any] = {"did": ACTS[name](*arguments)}
        except subprocess.TimeoutExpired:
            said = {"failed": "timeout"}
        except OSError as error:
            said = {"failed": errno.errorcode.get(error.errno or 0, type(error).__name__)}
        except BaseException as error:  # a fault of the probe has to be seen by the test
            said = {"broken": repr(error)}
        with open(theirs, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(said))
        os._exit(0)
    os.close(theirs)
    with open(ours, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if text else {"failed": f"signal {os.WTERMSIG(status)}"}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps([attempt(*words) for words in json.loads(line)]), flush=True)
