"""One-time codes that people type from paper: the claim code and invitations. Pure.

20 characters in 4 groups of 5 = 100 random bits, in Crockford's base32: no I, L, O, U; when read, O counts as 0, I
and L as 1, case and separators do not count. Source: crockford.com/base32. Kept is only a SHA-256: 100 bits need no
slow hash.
"""

from __future__ import annotations

import hashlib
import hmac

CODE_BYTES = 13
CHARACTERS = 20
GROUP = 5
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CONTEXT = b"praxissafe code 1\0"

_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def format_code(random: bytes) -> str:
    """Give the code of 13 random bytes (the last 4 bits are not used)."""
    number = int.from_bytes(random[:CODE_BYTES], "big") >> 4
    letters = "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(CHARACTERS)))
    return "-".join(letters[start : start + GROUP] for start in range(0, CHARACTERS, GROUP))


def normalized(typed: str) -> str:
    """Give a code as it was made, without its separators, from however it was typed."""
    return typed.upper().translate(_READ_AS)


def code_verifier(typed: str) -> bytes:
    """Give what is kept of a code, from the code as made or as typed."""
    return hashlib.sha256(CONTEXT + normalized(typed).encode()).digest()


def code_matches(typed: str, verifier: bytes) -> bool:
    """True if this is the code, in constant time."""
    return hmac.compare_digest(code_verifier(typed), verifier)
