"""The first message of a TLS connection: which name it asks for, which protocols it offers.

Purpose: the portal routes a connection by the server name and passes it on unopened; a box chooses a certificate
by the offered protocol. Both read bytes that are still in the kernel (MSG_PEEK) and decide nothing else by them.

Rules it keeps: at most MAX_CLIENT_HELLO_BYTES and MAX_RECORDS are looked at; every length is checked against its
container; names come back in lower case and only in the letters a host name may have. It does not judge versions,
cipher suites or key shares: that is for whoever ends the TLS.

Sources: RFC 8446 4.1.2 (ClientHello), 4.2 (extensions), 5.1 (record layer); RFC 6066 3 (server_name);
RFC 7301 3.1 (ALPN). RFC 6066 3 has exactly one host_name and no trailing dot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.core.errors import Invalid

MAX_CLIENT_HELLO_BYTES = 16 * 1024
MAX_RECORDS = 16  # a real one takes 1 or 2; more is somebody making us work
MAX_PROTOCOLS = 32

RECORD_HEADER_BYTES = 5
HANDSHAKE_HEADER_BYTES = 4
CONTENT_HANDSHAKE = 22
HANDSHAKE_CLIENT_HELLO = 1
EXTENSION_SERVER_NAME = 0
EXTENSION_PROTOCOLS = 16
NAME_TYPE_HOST = 0

HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the client asks for; None and () where it does not say."""

    server_name: str | None
    protocols: tuple[bytes, ...]


def read_client_hello(first_bytes: bytes) -> ClientHello | None:
    """Read the ClientHello at the start of `first_bytes`, however it is split over TLS records.

    Gives None when more bytes are needed. Raises Invalid as soon as no continuation could make it one.
    """
    message = bytearray()
    position = 0
    for _ in range(MAX_RECORDS):
        header = first_bytes[position : position + RECORD_HEADER_BYTES]
        _check_record_header(header)
        if len(header) < RECORD_HEADER_BYTES:
            break
        length = int.from_bytes(header[3:5], "big")
        position += RECORD_HEADER_BYTES
        message += first_bytes[position : position + length]
        position += length
        wanted = _message_bytes(message)
        if wanted is not None and len(message) >= wanted:
            return _read_message(bytes(message[HANDSHAKE_HEADER_BYTES:wanted]))
        if position > len(first_bytes):
            break
    else:
        raise Invalid("client_hello_records")
    if len(first_bytes) >= MAX_CLIENT_HELLO_BYTES:
        raise Invalid("client_hello_size")
    return None


def _check_record_header(header: bytes) -> None:
    """RFC 8446 5.1: handshake, version 3.x, 1 to 2^14 bytes; judged as far as it is there."""
    expected = (CONTENT_HANDSHAKE, 3)
    if tuple(header[:2]) != expected[: len(header[:2])]:
        raise Invalid("client_hello_record")
    if len(header) == RECORD_HEADER_BYTES and not 1 <= int.from_bytes(header[3:5], "big") <= 1 << 14:
        raise Invalid("client_hello_record")


def _message_bytes(message: bytearray) -> int | None:
    """Give the whole length of the handshake message with its header, once its header is there."""
    if message and message[0] != HANDSHAKE_CLIENT_HELLO:
        raise Invalid("client_hello_type")
    if len(message) < HANDSHAKE_HEADER_BYTES:
        return None
    length = HANDSHAKE_HEADER_BYTES + int.from_bytes(message[1:4], "big")
    if length > MAX_CLIENT_HELLO_BYTES:
        raise Invalid("client_hello_size")
    return length


class _Fields:
    """Takes length-prefixed fields off the front of `data`; a field that overruns it is Invalid."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise Invalid("client_hello_length")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int, at_least: int = 0) -> bytes:
        length = self.number(size)
        if length < at_least:
            raise Invalid("client_hello_length")
        return self.take(length)

    def end(self) -> bool:
        return self._position == len(self._data)


def _read_message(body: bytes) -> ClientHello:
    fields = _Fields(body)
    if fields.take(2)[0] != 3:  # legacy_version
        raise Invalid("client_hello_version")
    fields.take(32)  # random
    if len(fields.vector(1)) > 32:  # legacy_session_id
        raise Invalid("client_hello_length")
    if len(fields.vector(2, 2)) % 2:  # cipher_suites
        raise Invalid("client_hello_length")
    fields.vector(1, 1)  # legacy_compression_methods
    if fields.end():  # before TLS 1.3 a client may send no extensions
        return ClientHello(None, ())
    extensions = _Fields(fields.vector(2))
    if not fields.end():
        raise Invalid("client_hello_length")
    server_name: str | None = None
    protocols: tuple[bytes, ...] = ()
    seen: set[int] = set()
    while not extensions.end():
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:  # RFC 8446 4.2
            raise Invalid("client_hello_extension")
        seen.add(kind)
        if kind == EXTENSION_SERVER_NAME:
            server_name = _read_server_name(content)
        elif kind == EXTENSION_PROTOCOLS:
            protocols = _read_protocols(content)
    return ClientHello(server_name, protocols)


def _read_server_name(content: bytes) -> str:
    """RFC 6066 3: a list that in practice, and here, holds exactly one host name."""
    outer = _Fields(content)
    entries = _Fields(outer.vector(2, 1))
    if entries.number(1) != NAME_TYPE_HOST:
        raise Invalid("client_hello_name")
    name = entries.vector(2, 1)
    if not (outer.end() and entries.end() and name.isascii()):
        raise Invalid("client_hello_name")
    return check_host_name(name.decode().lower())


def check_host_name(name: str) -> str:
    """Give `name` back if it is a host name in lower case (RFC 1123 2.1); Invalid otherwise."""
    if not HOST_NAME.match(name):
        raise Invalid("client_hello_name")
    return name


def _read_protocols(content: bytes) -> tuple[bytes, ...]:
    outer = _Fields(content)
    entries = _Fields(outer.vector(2, 2))
    if not outer.end():
        raise Invalid("client_hello_protocols")
    protocols: list[bytes] = []
    while not entries.end():
        protocols.append(entries.vector(1, 1))
        if len(protocols) > MAX_PROTOCOLS:
            raise Invalid("client_hello_protocols")
    return tuple(protocols)
