"""Several relays: their addresses, and which of them a patient's connection is passed on to. Pure.

A box keeps a control connection to its first and its second choice (formats/rendezvous.py); a front sends patients to
the first that is up. A relay that a patient reaches and that has no tunnel to the box passes the connection on, to
the choice after itself: to the first from outside both, from the first to the second, from the second to nobody. So a
connection is passed on at most twice and never comes back, without a word about it on the wire.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from appliance.core.errors import Invalid
from appliance.formats.rendezvous import choose_relays

MAX_RELAYS = 16
MAX_ADDRESS = 255


def check_relays(relays: Sequence[str], fronts: Mapping[str, str]) -> None:
    """Raise Invalid("settings") unless `relays` are at most 16 different host:port and `fronts` names such only."""
    if len(relays) > MAX_RELAYS or len(set(relays)) != len(relays) or not set(fronts) <= set(relays):
        raise Invalid("settings")
    for address in (*relays, *fronts.values()):
        split_address(address)


def split_address(address: str) -> tuple[str, int]:
    """Give host and port of host:port, an IPv6 address in brackets; Invalid("settings") for what is none."""
    host, colon, digits = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if (
        not colon
        or not bare
        or len(address) > MAX_ADDRESS
        or (":" in bare) != bracketed
        or not bare.isascii()
        or any(character.isspace() or character in "[]/@" for character in bare)
        or not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 1 << 16)
    ):
        raise Invalid("settings")
    return bare, int(digits)


def next_relay(box: bytes, this_relay: str | None, relays: Collection[str]) -> str | None:
    """Give the relay that a connection for `box` is passed on to from here; None for the end of the way."""
    if this_relay is None:
        return None
    choices = choose_relays(box, relays)
    after = choices.index(this_relay) + 1 if this_relay in choices else 0
    return choices[after] if after < len(choices) else None
