"""PROXY protocol headers: the specification's bytes, every cut, every way to be wrong."""

from ipaddress import ip_address

import pytest

from appliance.core.errors import Invalid
from appliance.formats.proxy_header import SIGNATURE, decode_proxy_header, encode_proxy_header

IPV4 = SIGNATURE + bytes.fromhex("2111000c") + bytes([203, 0, 113, 7, 0, 0, 0, 0]) + bytes.fromhex("c3500000")


def test_a_header_has_the_bytes_of_the_specification():
    assert encode_proxy_header(("203.0.113.7", 50000)) == IPV4
    assert encode_proxy_header(("::ffff:203.0.113.7", 50000)) == IPV4
    assert encode_proxy_header(None) == SIGNATURE + b"\x20\0\0\0"


@pytest.mark.parametrize("source", [("203.0.113.7", 1), ("2001:db8::7", 65535), ("fe80::1%eth0", 2)])
def test_what_is_written_is_read_and_any_part_of_it_waits_for_more(source):
    data = encode_proxy_header(source)
    header = decode_proxy_header(data + b"hello")
    assert header is not None
    assert header.source == (ip_address(source[0].split("%")[0]), source[1])
    assert header.length == len(data)
    assert all(decode_proxy_header(data[:short]) is None for short in range(len(data)))


def test_what_follows_the_addresses_is_skipped():
    data = IPV4[:14] + (12 + 5).to_bytes(2, "big") + IPV4[16:] + b"\x04\0\x02ab"
    header = decode_proxy_header(data)
    assert header is not None
    assert header.length == len(data)
    assert header.source == (ip_address("203.0.113.7"), 50000)


@pytest.mark.parametrize(
    "bad",
    [
        b"\x16",
        b"PROXY TCP4",
        SIGNATURE + b"\x11\x11\0\x0c",
        SIGNATURE + b"\x22\x11\0\x0c",
        SIGNATURE + b"\x21\x12\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x31\0\xd8" + bytes(216),
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_anything_else_is_refused_at_once(bad):
    with pytest.raises(Invalid):
        decode_proxy_header(bad)
