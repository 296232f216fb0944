"""An ACME client without a key: it asks vault to sign, posts what vault made, and reads what the authority says.

Rules: whatever the authority says is checked before use; a nonce is used once; a refused nonce is tried anew, nothing
else is. Failures are codes of contracts/certificate.py, with `wait_s` where the authority said how long.
Sources: RFC 8555 sections 6.5 to 6.7, 7; draft-ietf-acme-profiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from appliance.certificate.dial import Answer, Door
from appliance.certificate.schedule import RATE_LIMITED_S, retry_after_s
from appliance.contracts.page_key import SignAcmeAccount, SignedRequest
from appliance.core.errors import PraxisError, Refused, Unavailable
from appliance.core.varlink import Call, Peer, ask_patiently

NONCE_TRIES = 12
ERROR_PREFIX = "urn:ietf:params:acme:error:"


class Problem(msgspec.Struct, frozen=True):
    """RFC 7807, as far as we look: the error's name."""

    type: str = ""

    @property
    def name(self) -> str:
        """The name without its prefix; "" for another kind of error."""
        return self.type.removeprefix(ERROR_PREFIX) if self.type.startswith(ERROR_PREFIX) else ""


class Meta(msgspec.Struct, frozen=True):
    """What the directory offers."""

    profiles: dict[str, str] = {}


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """Where things are (section 7.1.1)."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str
    meta: Meta = Meta()


class Order(msgspec.Struct, frozen=True):
    """Section 7.1.3."""

    status: str
    finalize: str
    authorizations: list[str] = []
    certificate: str = ""


class Challenge(msgspec.Struct, frozen=True):
    """Section 8."""

    type: str
    url: str = ""
    token: str = ""
    error: Problem = Problem()


class Authorization(msgspec.Struct, frozen=True):
    """Section 7.1.4."""

    status: str
    challenges: list[Challenge] = []


Kind = TypeVar("Kind")


class Acme:
    """A conversation with one authority."""

    def __init__(self, door: Door, vault: Peer, peer_patience_s: float) -> None:
        self._door = door
        self._vault = vault
        self._patience_s = peer_patience_s
        self._nonce = ""
        self.directory: Directory
        self.account = ""

    async def begin(self, directory: str) -> None:
        """Read the directory."""
        answer = await self._door.ask("GET", directory)
        if answer.status != 200:
            raise failure(answer, "authority_failed")
        self.directory = decode(answer, Directory)

    async def log_in(self) -> None:
        """Make the account, or find it again: the authority knows it by its key (section 7.3.1)."""
        url = self.directory.new_account
        answer = await self.post(url, lambda nonce: SignAcmeAccount(url=url, nonce=nonce), "account_refused")
        if not answer.location:
            raise Unavailable("authority_failed")
        self.account = answer.location

    async def post(self, url: str, make: Callable[[str], Call[SignedRequest]], code: str) -> Answer:
        """Have vault sign and post it; a refusal of the authority is Refused(`code`) unless it says more."""
        for _ in range(NONCE_TRIES):
            signed = await ask_patiently(self._vault, make(await self._take_nonce()), patience_s=self._patience_s)
            answer = await self._door.ask("POST", url, signed.body)
            self._nonce = answer.nonce
            if answer.status < 300:
                return answer
            if problem_of(answer).name != "badNonce":
                raise failure(answer, code)
        raise Unavailable("authority_busy")

    async def _take_nonce(self) -> str:
        nonce, self._nonce = self._nonce, ""
        if not nonce:
            answer = await self._door.ask("HEAD", self.directory.new_nonce)
            nonce = answer.nonce
        if not nonce:
            raise failure(answer, "authority_failed")
        return nonce


def decode(answer: Answer, kind: type[Kind]) -> Kind:
    """Read JSON as a structure; Unavailable("authority_failed") for anything else."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable("authority_failed") from error


def problem_of(answer: Answer) -> Problem:
    """Give the problem that an answer tells; an empty one if it tells none."""
    try:
        return msgspec.json.decode(answer.body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem()


def failure(answer: Answer, code: str) -> PraxisError:
    """Give the failure that an answer means."""
    name = problem_of(answer).name
    wait_s = int(retry_after_s(answer.retry_after, time.time()))
    if name == "rateLimited" or answer.status == 429:
        return Unavailable("rate_limited", wait_s=wait_s or int(RATE_LIMITED_S))
    if answer.status >= 500:
        return Unavailable("authority_busy", wait_s=wait_s)
    if 300 <= answer.status < 400:
        return Unavailable("authority_failed")
    return refusal(name, code)


def refusal(name: str, code: str) -> PraxisError:
    """Give the failure that an error's name means; `code` where the name says nothing more."""
    if name == "rateLimited":
        return Unavailable("rate_limited", wait_s=int(RATE_LIMITED_S))
    if name == "caa":
        return Refused("caa")
    if name == "invalidProfile":
        return Refused("profile")
    if name == "alreadyRevoked":
        return Refused("already_revoked")
    return Refused(code)
