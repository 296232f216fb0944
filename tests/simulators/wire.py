"""A tap on the loopback device: every TCP byte to and from the ports given, as a wiretapper of either side sees it.

Needs root. What was sent is put together again by connection and direction, in the order of its arrival. Dropped
packets would make the tap blind: `lost` counts them. Source: packet(7), bpf(4) (classic filters).
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
BUFFER_BYTES = 64 * 1024 * 1024
MAX_PACKET_BYTES = 256 * 1024
WAKE_S = 0.2


class Wire:
    """What has passed: (from port, to port) -> the bytes sent that way."""

    def __init__(self) -> None:
        self.streams: dict[tuple[int, int], bytearray] = {}
        self.lost = 0

    @property
    def pieces(self) -> Iterator[bytes]:
        """Give every direction of every connection."""
        for stream in self.streams.values():
            yield bytes(stream)

    def note(self, packet: bytes) -> None:
        """Take the payload out of an Ethernet frame with IPv4 and TCP (RFC 791, RFC 9293)."""
        ip = packet[14:]
        ip_bytes = (ip[0] & 15) * 4
        tcp = ip[ip_bytes : int.from_bytes(ip[2:4], "big") or None]
        ports = struct.unpack_from("!HH", tcp)
        self.streams.setdefault(ports, bytearray()).extend(tcp[(tcp[12] >> 4) * 4 :])


@contextmanager
def tapped(ports: Sequence[int]) -> Iterator[Wire]:
    """Listen on loopback until the block ends; what passed is complete after it."""
    wire, over = Wire(), threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        _only_ports(tap, ports)
        tap.bind(("lo", ETH_P_ALL))
        tap.settimeout(WAKE_S)

        def listen() -> None:
            # One look more after the end: what passed before it is in the socket's buffer by then.
            ended = False
            while not ended:
                ended = over.is_set()
                with contextlib.suppress(TimeoutError):
                    while True:
                        packet, (_, _, kind, _, _) = tap.recvfrom(MAX_PACKET_BYTES)
                        if kind != PACKET_OUTGOING:  # loopback shows each packet twice
                            wire.note(packet)

        listener = threading.Thread(target=listen, name="wire")
        listener.start()
        try:
            yield wire
        finally:
            over.set()
            listener.join()
            wire.lost = struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]


def _only_ports(tap: socket.socket, ports: Sequence[int]) -> None:
    """Have the kernel pass IPv4 TCP of these ports only: the machine's other traffic would fill the buffer."""
    per_side = len(ports) + 1
    drop = 5 + 2 * per_side  # the places of the program's last two instructions
    take = drop + 1
    program = [
        (0x28, 0, 0, 12),  # load the frame's type
        (0x15, 0, drop - 2, 0x0800),  # equal: go on; else jump, counted from the next instruction
        (0x30, 0, 0, 23),  # IP's protocol
        (0x15, 0, drop - 4, socket.IPPROTO_TCP),
        (0xB1, 0, 0, 14),  # the IP header's length, into the index
    ]
    for offset in (14, 16):
        program.append((0x48, 0, 0, offset))  # source port, destination port
        for port in ports:
            program.append((0x15, take - len(program) - 1, 0, port))
    program += [(0x06, 0, 0, 0), (0x06, 0, 0, MAX_PACKET_BYTES)]
    code = b"".join(struct.pack("HBBI", *one) for one in program)
    lines = ctypes.create_string_buffer(code)
    tap.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program), ctypes.addressof(lines))
    )
