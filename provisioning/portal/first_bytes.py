"""What the first bytes of a connection say it is. Pure; nothing is taken."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.formats.client_hello import ClientHello, read_client_hello
from appliance.formats.tunnel_control import WorkPreface, decode_work_preface


@dataclass(frozen=True, slots=True)
class PlainHttp:
    """The portal's own name, its TLS ended in front."""


def read_first_bytes(first_bytes: bytes) -> ClientHello | WorkPreface | None:
    """Give the ClientHello, or what a work connection says; None for more bytes. Raises Invalid otherwise."""
    if first_bytes.startswith(b"P"):
        return decode_work_preface(first_bytes)
    return read_client_hello(first_bytes)


def read_first_bytes_behind_front(first_bytes: bytes) -> ClientHello | WorkPreface | PlainHttp | None:
    """The same for the listener behind a front, where a method in capital letters (RFC 9110 9.1) is HTTP."""
    if first_bytes == b"P":  # PXW1, or POST
        return None
    if first_bytes[:1].isupper() and not first_bytes.startswith(b"PX"):
        return PlainHttp()
    return read_first_bytes(first_bytes)
