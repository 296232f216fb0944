"""Passwords: Argon2id, 64 MiB, 3 passes, one at a time, in a thread of its own.

Source: RFC 9106 section 4 (parameters), NIST SP 800-63B-4 section 3.1.1.2 (NFKC, no composition rules). Checking a
name that does not exist takes the same work: a fixed verifier that no password is known for.
"""

from __future__ import annotations

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import nacl.exceptions
import nacl.pwhash

from appliance.core.errors import Unavailable

PASSES = 3
MEMORY_BYTES = 64 * 1024 * 1024
MAX_WAITING = 16

NOBODY = "$argon2id$v=19$m=65536,t=3,p=1$QmDVZCZIeWs0SR2RrYwVCg$Zx7G1pjPVb0S8f4mTQy3o0u9nCkH2eWlA6iRtJ5sXdE"


class Passwords:
    """Makes and checks verifiers; at most one at a time, so memory stays at one times 64 MiB."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="passwords")
        self._waiting = 0

    async def make(self, password: str) -> str:
        """Give the verifier to keep. Unavailable("slow_down") if too many wait."""
        return await self._in_turn(password, None)

    async def check(self, verifier: str | None, password: str) -> bool:
        """True if right; None stands for a name that does not exist: same work, False."""
        outcome = await self._in_turn(password, verifier or NOBODY)
        return verifier is not None and outcome == "right"

    async def _in_turn(self, password: str, verifier: str | None) -> str:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("slow_down", wait_s=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _hash, password, verifier)
        finally:
            self._waiting -= 1


def _hash(password: str, verifier: str | None) -> str:
    secret = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    if verifier is None:
        return nacl.pwhash.argon2id.str(secret, opslimit=PASSES, memlimit=MEMORY_BYTES).decode()
    try:
        nacl.pwhash.argon2id.verify(verifier.encode(), secret)
    except nacl.exceptions.InvalidkeyError:
        return "wrong"
    return "right"
