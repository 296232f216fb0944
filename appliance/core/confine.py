"""Close the ways out of a passed socket, before the first byte of a stranger is read.

A passed socket belongs to the network it was made in, so an empty network namespace does not hold it: it can be
disconnected (connect to AF_UNSPEC) and connected elsewhere, send to an address with MSG_FASTOPEN, listen anew, or
have its packets led to another address by a source route. gateway, practice and enrol therefore call
`confine_passed_sockets()` first thing, and from then on, for this process and all it starts, on sockets it holds and
sockets it will receive:

- Landlock (kernel 6.7, ABI 4): TCP bind and connect are denied everywhere. Only Landlock can deny connect: local
  calls need connect(2) too, and seccomp sees a pointer where the address is.
- seccomp, through Debian's libseccomp2: no `bind`, no `listen`, no io_uring (it goes round seccomp), no MSG_FASTOPEN,
  no socket but AF_UNIX, no socket option but those a server needs, no question about the other network's interfaces.
- A passed socket must be AF_UNIX or plain TCP: Landlock does not see MPTCP or SMC, and UDP needs no connect.

Rules it keeps: what can be denied is denied or the process does not start; where the kernel has no Landlock for TCP
the returned `Confinement` says so, and connect stays open. What it does not do: deny disconnecting (it leads
nowhere), or hold a process of another user that it could pass a socket to.

Sources: landlock(7), seccomp(2), seccomp_rule_add(3), tcp(7), ip(7); kernel security/landlock/net.c.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import Refused, Unavailable
from appliance.core.journal import say

# Landlock: linux/landlock.h; the numbers are the same on every architecture (asm-generic/unistd.h).
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_ACCESS_NET_BIND_TCP, LANDLOCK_ACCESS_NET_CONNECT_TCP = 1, 2
LANDLOCK_ABI_TCP = 4
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38

# seccomp.h of libseccomp.
LIBRARY = "libseccomp.so.2"
ALLOW = 0x7FFF0000
DENY = 0x00050000 | errno.EPERM
NOT_EQUAL, GREATER, MASKED_EQUAL = 1, 6, 7
ERROR_NUMBER = -1  # __NR_SCMP_ERROR: there is no system call of this name

INT_MASK = 0xFFFFFFFF  # the kernel reads an int and ignores what the upper half of the register holds
MSG_FASTOPEN = 0x20000000
INTERFACE_REQUESTS, INTERFACE_MASK = 0x8900, 0xFFFFFF00  # netdevice(7): SIOC…

SOL_IP, SOL_SOCKET, SOL_TCP = 0, 1, 6
#: Of SOL_SOCKET all but those that choose the way: SO_DONTROUTE, SO_BINDTODEVICE, SO_MARK, SO_BINDTOIFINDEX.
DENIED_SOCKET_OPTIONS = (5, 25, 36, 62)
#: Of SOL_TCP only TCP_NODELAY, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, QUICKACK, USER_TIMEOUT, NOTSENT_LOWAT. Not: fast
#: open of either side, TCP_ULP (makes it another kind of socket), TCP_REPAIR. Of other levels none (source routes).
ALLOWED_TCP_OPTIONS = (1, 3, 4, 5, 6, 12, 18, 25)


@dataclass(frozen=True)
class Confinement:
    """What holds now: the kernel's Landlock ABI (0 for none) and whether it denies TCP connect.

    All else is denied whenever this is returned.
    """

    landlock_abi: int
    connect_denied: bool

    def say(self) -> None:
        """Write it to the journal: a warning while connect is open."""
        priority = "info" if self.connect_denied else "warning"
        connect = "denied" if self.connect_denied else "open"
        say("confined", priority=priority, landlock_abi=self.landlock_abi, tcp_connect=connect)


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _LandlockRuleset(ctypes.Structure):
    """struct landlock_ruleset_attr, as of ABI 4."""

    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64))


def confine_passed_sockets() -> Confinement:
    """Confine this process for good; call it before any thread or event loop is there.

    Raises Refused("passed_socket") for a socket that could not be held, Unavailable("confinement") if the kernel or
    libseccomp2 does not do its part. Landlock and seccomp bind the calling thread: a second one is a bug.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise RuntimeError
    _check_passed_sockets()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unavailable("confinement", errno=ctypes.get_errno())
    abi = _landlock_abi(libc)
    if abi >= LANDLOCK_ABI_TCP:
        _deny_tcp_bind_and_connect(libc)
    _load_filter()
    return Confinement(abi, connect_denied=abi >= LANDLOCK_ABI_TCP)


def hide_memory_from_own_user() -> None:
    """Close this process's memory and descriptors to others of its user (PR_SET_DUMPABLE, prctl(2); proc(5))."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise Unavailable("confinement", errno=ctypes.get_errno())


def _check_passed_sockets() -> None:
    """Look at every descriptor this process was started with."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (numbers, not paths)
        try:
            is_socket = stat.S_ISSOCK(os.fstat(int(name)).st_mode)
        except OSError:  # the descriptor of this very listing
            continue
        if not is_socket:
            continue
        sock = socket.socket(fileno=int(name))
        try:
            is_tcp = (
                sock.family in (socket.AF_INET, socket.AF_INET6)
                and sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
            )
            if sock.family != socket.AF_UNIX and not is_tcp:
                raise Refused("passed_socket")
        finally:
            sock.detach()


def _landlock_abi(libc: ctypes.CDLL) -> int:
    """Give the kernel's Landlock ABI, 0 if it has none or was started without it (landlock_create_ruleset(2))."""
    abi = int(libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), LANDLOCK_CREATE_RULESET_VERSION))
    if abi < 0:
        if ctypes.get_errno() not in (errno.ENOSYS, errno.EOPNOTSUPP):
            raise Unavailable("confinement", errno=ctypes.get_errno())
        return 0
    return abi


def _deny_tcp_bind_and_connect(libc: ctypes.CDLL) -> None:
    """Enter a Landlock domain that handles both and allows no port."""
    wanted = _LandlockRuleset(0, LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    ruleset = int(libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(wanted), size, 0))
    if ruleset < 0:
        raise Unavailable("confinement", errno=ctypes.get_errno())
    try:
        if libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0):
            raise Unavailable("confinement", errno=ctypes.get_errno())
    finally:
        os.close(ruleset)


def _equal(argument: int, value: int) -> _Comparison:
    return _Comparison(argument, MASKED_EQUAL, INT_MASK, value)


def _greater(argument: int, value: int) -> _Comparison:
    """Holds for every register above `value`, so for any with something in its upper half."""
    return _Comparison(argument, GREATER, value, 0)


def _denied_calls() -> Iterator[tuple[str, tuple[_Comparison, ...]]]:
    """Give what seccomp denies: a system call, and what must hold of its arguments."""
    for call in ("bind", "listen", "io_uring_setup", "io_uring_enter", "io_uring_register"):
        yield call, ()
    for call in ("socket", "socketpair"):
        yield call, (_Comparison(0, NOT_EQUAL, socket.AF_UNIX, 0),)
    for call, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        yield call, (_Comparison(flags, MASKED_EQUAL, MSG_FASTOPEN, MSG_FASTOPEN),)
    yield "ioctl", (_Comparison(1, MASKED_EQUAL, INTERFACE_MASK, INTERFACE_REQUESTS),)
    level, option = 1, 2
    for number in range(SOL_TCP):
        if number != SOL_SOCKET:
            yield "setsockopt", (_equal(level, number),)
    yield "setsockopt", (_greater(level, SOL_TCP),)
    for number in DENIED_SOCKET_OPTIONS:
        yield "setsockopt", (_equal(level, SOL_SOCKET), _equal(option, number))
    last = max(ALLOWED_TCP_OPTIONS)
    for number in range(last):
        if number not in ALLOWED_TCP_OPTIONS:
            yield "setsockopt", (_equal(level, SOL_TCP), _equal(option, number))
    yield "setsockopt", (_equal(level, SOL_TCP), _greater(option, last))


def _load_filter() -> None:
    """Compile and load the filter; libseccomp knows the numbers and the argument order of this architecture."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise Unavailable("confinement") from error
    library.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    if not filter_:
        raise Unavailable("confinement")
    try:
        for name, comparisons in _denied_calls():
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == ERROR_NUMBER:
                raise Unavailable("confinement")
            array = (_Comparison * len(comparisons))(*comparisons)
            _succeed(library.seccomp_rule_add_array(filter_, ctypes.c_uint32(DENY), number, len(comparisons), array))
        _succeed(library.seccomp_load(filter_))
    finally:
        library.seccomp_release(filter_)


def _succeed(status: int) -> None:
    if status < 0:
        raise Unavailable("confinement", errno=-status)
