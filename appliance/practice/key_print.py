"""The page's key for people: the beginning of its fingerprint in words and digits, for papers and pages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from appliance.contracts.page_key import ListPageKeys
from appliance.core.errors import PraxisError
from appliance.core.varlink import Call, Peer
from appliance.core.varlink.call import ReplyType
from appliance.formats.fingerprint_words import short_digits, short_words
from appliance.practice.desk import Desk

ASK_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class KeyPrint:
    """SHA-256 of the key's SubjectPublicKeyInfo: its beginning twice, all of it, and since when (unix time)."""

    words: str
    digits: str
    whole: str
    since: int


async def read_key_print(desk: Desk) -> KeyPrint | None:
    """Give the present key's print; None if there is no key yet, or vault does not tell."""
    keys = await ask_briefly(desk.peers.page_key, ListPageKeys())
    if keys is None or not keys.keys:
        return None
    digest = hashlib.sha256(keys.keys[0].public_key).digest()
    return KeyPrint(short_words(digest), short_digits(digest), digest.hex(" ", 2), keys.keys[0].since)


async def ask_briefly(peer: Peer, call: Call[ReplyType]) -> ReplyType | None:
    """Ask what a page can do without; None if there is no answer."""
    try:
        return await peer.ask(call, timeout_s=ASK_TIMEOUT_S)
    except PraxisError:
        return None
