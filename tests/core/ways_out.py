"""The ways out of a passed socket, as a program: it gets a socket as a process of the box does, and tries one act.

Run with the number of a Unix socket, it waits there for orders and forks for each (`Order` in test_confine.py): an act,
free or confined, a port, and two descriptors: what to talk on ("done", or the number of the error) and the socket to
try. The
port on the loopback is the listener the act tries to reach: what arrives there, and nothing else, counts as getting out.
If the socket to try is a Unix socket, the real one comes over it by SCM_RIGHTS, when the filters stand already.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable

from appliance.core.confine import confine_passed_sockets
from appliance.core.errors import Refused

CANARY = b"canary 5b1f"
LOOPBACK = "127.0.0.1"
MSG_FASTOPEN = 0x20000000
IPPROTO_MPTCP = 262
TCP_REPAIR, TCP_FASTOPEN_CONNECT, TCP_ULP = 19, 30, 31
IP_TOS, IP_OPTIONS = 1, 4
IPV6_RTHDR = 57
UNUSED_HALF = 1 << 40  # the kernel reads an int of the register, a filter sees all of it
OPTIONS = {
    "fast_open_of_a_client": (socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
    "fast_open_of_a_server": (socket.IPPROTO_TCP, socket.TCP_FASTOPEN),
    "repair": (socket.IPPROTO_TCP, TCP_REPAIR),
    "upper_layer_protocol": (socket.IPPROTO_TCP, TCP_ULP),
    "level_beside_the_unused_half": (socket.IPPROTO_TCP | UNUSED_HALF, TCP_FASTOPEN_CONNECT),
    "option_beside_the_unused_half": (socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT | UNUSED_HALF),
    "source_route": (socket.IPPROTO_IP, IP_OPTIONS),
    "source_route_beside_the_unused_half": (socket.IPPROTO_IP | UNUSED_HALF, IP_OPTIONS),
    "routing_header": (socket.IPPROTO_IPV6, IPV6_RTHDR),
    "interface": (socket.SOL_SOCKET, socket.SO_BINDTODEVICE),
    "interface_beside_the_unused_half": (socket.SOL_SOCKET, socket.SO_BINDTODEVICE | UNUSED_HALF),
}
libc = ctypes.CDLL(None, use_errno=True)
Address = tuple[str, int]


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def loopback(sock: socket.socket, last: int = 1) -> str:
    return f"{'::ffff:' if sock.family == socket.AF_INET6 else ''}127.0.0.{last}"


def packed(sock: socket.socket, there: Address) -> bytes:
    """struct sockaddr_in or sockaddr_in6."""
    start = sock.family.to_bytes(2, sys.byteorder) + there[1].to_bytes(2, "big")
    host = socket.inet_pton(sock.family, there[0])
    return start + (bytes(4) + host + bytes(4) if sock.family == socket.AF_INET6 else host + bytes(8))


def disconnect(sock: socket.socket) -> None:
    """connect(2) to AF_UNSPEC: Linux dissolves TCP connections so, and ends listening."""
    checked(libc.connect(sock.fileno(), bytes(28), 28))


# --- out: each brings CANARY to `there` -------------------------------------------------------------------------


def reconnect(sock: socket.socket, there: Address) -> None:
    disconnect(sock)
    sock.connect(there)
    sock.sendall(CANARY)


def shut_down_and_reconnect(sock: socket.socket, there: Address) -> None:
    sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        disconnect(sock)
    sock.connect(there)
    sock.sendall(CANARY)


def connect_with_fast_open(sock: socket.socket, there: Address) -> None:
    disconnect(sock)
    with contextlib.suppress(PermissionError):  # the option is tried by itself too
        sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    sock.connect(there)
    sock.sendall(CANARY)


def sendto_with_fast_open(sock: socket.socket, there: Address) -> None:
    disconnect(sock)
    sock.sendto(CANARY, MSG_FASTOPEN, there)


def sendto_with_fast_open_beside_the_unused_half(sock: socket.socket, there: Address) -> None:
    disconnect(sock)
    flags = ctypes.c_uint64(MSG_FASTOPEN | UNUSED_HALF)
    address = packed(sock, there)
    checked(libc.sendto(sock.fileno(), CANARY, ctypes.c_size_t(len(CANARY)), flags, address, len(address)))


def sendmsg_with_fast_open(sock: socket.socket, there: Address) -> None:
    disconnect(sock)
    sock.sendmsg([CANARY], [], MSG_FASTOPEN, there)


class IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class Message(ctypes.Structure):
    """struct mmsghdr: a struct msghdr and a length."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(IoVector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def sendmmsg_with_fast_open(sock: socket.socket, there: Address) -> None:
    disconnect(sock)
    vector = IoVector(CANARY, len(CANARY))
    address = packed(sock, there)
    message = Message(address, len(address), ctypes.pointer(vector), 1, None, 0, 0, 0)
    checked(libc.sendmmsg(sock.fileno(), ctypes.byref(message), 1, MSG_FASTOPEN))


def bind_and_connect(sock: socket.socket, there: Address) -> None:
    disconnect(sock)
    sock.bind((loopback(sock, 2), 0))
    sock.connect(there)
    sock.sendall(CANARY)


def make_a_socket(_: socket.socket, there: Address) -> None:
    with socket.socket() as fresh:
        fresh.connect((LOOPBACK, there[1]))
        fresh.sendall(CANARY)


def make_an_mptcp_socket(_: socket.socket, there: Address) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as fresh:
        fresh.connect((LOOPBACK, there[1]))
        fresh.sendall(CANARY)


OUT: dict[str, Callable[[socket.socket, Address], None]] = {
    act.__name__: act
    for act in (
        reconnect,
        shut_down_and_reconnect,
        connect_with_fast_open,
        sendto_with_fast_open,
        sendto_with_fast_open_beside_the_unused_half,
        sendmsg_with_fast_open,
        sendmmsg_with_fast_open,
        bind_and_connect,
        make_a_socket,
        make_an_mptcp_socket,
    )
}

# --- a new door of one's own: says the port, and keeps it open until standard input ends -------------------------


def listen(sock: socket.socket) -> None:
    disconnect(sock)
    sock.listen()  # chooses a port by itself
    print(sock.getsockname()[1], flush=True)
    sys.stdin.read()


def bind_and_listen(sock: socket.socket) -> None:
    disconnect(sock)
    sock.bind((loopback(sock), 0))
    listen_port = sock.getsockname()[1]
    sock.listen()
    print(listen_port, flush=True)
    sys.stdin.read()


def share_a_port(sock: socket.socket) -> None:
    """Take a share of the connections of the port it had (SO_REUSEPORT, socket(7))."""
    port = sock.getsockname()[1]
    disconnect(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((loopback(sock), port))
    sock.listen()
    print(port, flush=True)
    sys.stdin.read()


# --- single calls -----------------------------------------------------------------------------------------------


def ask_interfaces(sock: socket.socket) -> None:
    checked(libc.ioctl(sock.fileno(), ctypes.c_ulong(0x8912), bytes(16)))  # SIOCGIFCONF, netdevice(7)


def io_uring(_: socket.socket) -> None:
    checked(libc.syscall(425, 1, ctypes.create_string_buffer(256)))


def set_option(sock: socket.socket, name: str) -> None:
    level, option = (ctypes.c_uint64(number) for number in OPTIONS[name])
    checked(libc.setsockopt(sock.fileno(), level, option, bytes(8), ctypes.c_uint32(4)))


# --- what must go on working -------------------------------------------------------------------------------------


def accept_and_answer(sock: socket.socket) -> None:
    connection, _ = sock.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.sendall(connection.recv(64))


def call_locally(sock: socket.socket) -> None:
    """Connect to the Unix socket whose path the accepted connection brings, and bring back what it says."""
    connection, _ = sock.accept()
    with connection, socket.socket(socket.AF_UNIX) as local:
        local.connect(connection.recv(200).decode())
        connection.sendall(local.recv(64))


def say_confinement(_: socket.socket) -> None:
    try:
        confinement = confine_passed_sockets()
        print(confinement.landlock_abi, confinement.connect_denied)
    except Refused as error:
        print(error.code)


ACTS = {
    act.__name__: act
    for act in (
        listen,
        bind_and_listen,
        share_a_port,
        ask_interfaces,
        io_uring,
        accept_and_answer,
        call_locally,
        say_confinement,
    )
}

# --- source routes: the packets of an established connection, led to another address -----------------------------


def lead_astray(sock: socket.socket) -> None:
    """ip(7) IP_OPTIONS with a loose source route (RFC 791 3.1); IP_TOS makes the kernel choose the way anew."""
    sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, bytes([1, 131, 7, 4]) + socket.inet_aton("127.6.6.6"))
    sock.setsockopt(socket.IPPROTO_IP, IP_TOS, 8)


def watch_a_connection_led_astray(mode: str) -> None:
    """In a network of its own, see with packet(7) to which addresses a connection's bytes go."""
    checked(libc.unshare(0x40000000))  # CLONE_NEWNET
    with socket.socket() as sock:
        up = b"lo".ljust(16, b"\0") + (0x49).to_bytes(2, sys.byteorder) + bytes(22)  # IFF_UP, LOOPBACK, RUNNING
        checked(libc.ioctl(sock.fileno(), ctypes.c_ulong(0x8914), up))  # SIOCSIFFLAGS
    listener = socket.create_server((LOOPBACK, 0))
    ours = socket.create_connection(listener.getsockname())
    passed, _ = listener.accept()
    watcher = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    pid = os.fork()
    if pid == 0:
        watcher.close()
        if mode == "confined":
            confine_passed_sockets()
        with contextlib.suppress(PermissionError):
            lead_astray(passed)
        passed.send(CANARY)
        os._exit(0)
    os.waitpid(pid, 0)
    watcher.setblocking(False)
    destinations = set()
    with contextlib.suppress(BlockingIOError):
        while True:
            packet = watcher.recv(4096)
            if CANARY in packet:
                destinations.add(socket.inet_ntoa(packet[16:20]))
    ours.close()
    print(json.dumps(sorted(destinations)))


def attempt(act: str, mode: str, carrier: socket.socket, port: int) -> None:
    if mode == "confined":
        confine_passed_sockets()
    sock = carrier
    if carrier.family == socket.AF_UNIX:
        _, (descriptor,), _, _ = socket.recv_fds(carrier, 1, 1)
        sock = socket.socket(fileno=descriptor)
    sock.setblocking(True)
    try:
        if act in OUT:
            OUT[act](sock, (loopback(sock), port))
        elif act in OPTIONS:
            set_option(sock, act)
        else:
            ACTS[act](sock)
    except OSError as error:
        print(f"errno {error.errno}")
    else:
        print("done")


def main(control: socket.socket) -> None:
    while True:
        raw, descriptors, _, _ = socket.recv_fds(control, 200, 2)
        if not raw:
            return
        if os.fork() == 0:
            control.close()
            act, mode, port = json.loads(raw)
            talk, passed = descriptors
            os.dup2(talk, 0)
            os.dup2(talk, 1)
            os.close(talk)
            attempt(act, mode, socket.socket(fileno=passed), port)
            return
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    if sys.argv[1] == "watch_a_connection_led_astray":
        watch_a_connection_led_astray(sys.argv[2])
    else:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        main(socket.socket(fileno=int(sys.argv[1])))
