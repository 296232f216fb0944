"""The ClientHello: OpenSSL's own, hand-made ones, every split, and garbage."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import Invalid
from appliance.formats.client_hello import MAX_CLIENT_HELLO_BYTES, ClientHello, read_client_hello


def openssl_hello(name: str | None, protocols: list[str] | None = None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def name_extension(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, bytes([kind]) + vector(2, name)))


def message(extensions: bytes | None, tail: bytes = b"") -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, extensions)
    return b"\x01" + vector(3, body + tail)


def records(content: bytes, piece: int = 1 << 14) -> bytes:
    return b"".join(b"\x16\x03\x01" + vector(2, content[at : at + piece]) for at in range(0, len(content), piece))


def test_the_name_and_the_protocols_of_openssl_are_read() -> None:
    hello = openssl_hello("praxis-0a0b0c0d.localhost", ["acme-tls/1", "http/1.1"])
    expected = ClientHello("praxis-0a0b0c0d.localhost", (b"acme-tls/1", b"http/1.1"))
    assert read_client_hello(hello) == expected
    assert read_client_hello(hello + b"early data of any kind") == expected


def test_a_client_without_a_name_is_read_as_such() -> None:
    assert read_client_hello(openssl_hello(None)) == ClientHello(None, ())
    assert read_client_hello(records(message(None))) == ClientHello(None, ())


def test_every_shorter_piece_asks_for_more() -> None:
    hello = openssl_hello("praxis-0a0b0c0d.localhost")
    assert all(read_client_hello(hello[:length]) is None for length in range(len(hello)))


@pytest.mark.parametrize("piece", [6, 7, 20, 1000])
def test_the_message_may_be_split_over_records(piece: int) -> None:
    hello = records(message(name_extension(b"a.example")), piece)
    assert read_client_hello(hello) == ClientHello("a.example", ())


def test_two_records_split_within_the_handshake_header() -> None:
    content = message(name_extension(b"a.example"))
    hello = records(content[:2]) + records(content[2:])
    assert read_client_hello(hello) == ClientHello("a.example", ())
    assert all(read_client_hello(hello[:length]) is None for length in range(len(hello)))


def test_the_name_comes_back_in_lower_case() -> None:
    assert read_client_hello(records(message(name_extension(b"A.Example")))) == ClientHello("a.example", ())


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x16\x02",  # SSL 2
        b"\x16\x03\x01\x00\x00",  # an empty record
        b"\x16\x03\x01\x40\x01",  # a record over 2^14
        records(b"\x02\x00\x00\x00"),  # a ServerHello
        records(b"\x01\xff\xff\xff"),  # a message over the cap
        records(b"\x01\x00\x00\x02\x03\x03"),  # cut short inside
        records(message(b"", tail=b"x")),
        records(message(name_extension(b"a.example") * 2)),  # twice, RFC 8446 4.2
        records(message(name_extension(b"a.example", kind=1))),
        records(message(name_extension(b""))),
        records(message(name_extension(b"a.example."))),
        records(message(name_extension(b"a..example"))),
        records(message(name_extension(b"-a.example"))),
        records(message(name_extension(b"a\0.example"))),
        records(message(name_extension("ä.example".encode()))),
        records(message(name_extension(b"a" * 300))),
        records(message(name_extension(b"a/../b"))),
        records(message(extension(0, b""))),
        records(message(extension(16, vector(2, b"\x05ab")))),
        records(message(extension(16, vector(2, b"\x00")))),
        records(message(extension(16, vector(2, b"\x01a" * 33)))),
        records(message(b"\0")),
        records(message(name_extension(b"a.example")), piece=3),  # more records than anyone needs
    ],
)
def test_what_is_no_client_hello_is_invalid(bad: bytes) -> None:
    with pytest.raises(Invalid):
        read_client_hello(bad)


def test_nobody_can_make_it_wait_beyond_the_cap() -> None:
    content = b"\x01" + (MAX_CLIENT_HELLO_BYTES - 4).to_bytes(3, "big") + bytes(MAX_CLIENT_HELLO_BYTES)
    with pytest.raises(Invalid):
        read_client_hello(records(content, piece=4000)[:MAX_CLIENT_HELLO_BYTES])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_garbage_is_invalid_or_incomplete_but_never_a_crash(data: bytes, at: int) -> None:
    hello = records(message(name_extension(b"a.example") + extension(16, vector(2, b"\x02h2"))))
    for candidate in (data, records(b"\x01" + vector(3, data)), hello[:at] + data + hello[at + len(data) :]):
        with contextlib.suppress(Invalid):
            read_client_hello(candidate)
