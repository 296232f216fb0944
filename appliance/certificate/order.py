"""One order from its beginning to a served certificate, and a revocation. Source: RFC 8555 section 7.4, RFC 8737.

The request is gateway's, every signature vault's; gateway answers the challenge and checks the chain itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from appliance.certificate.acme import Acme, Authorization, Kind, Order, decode, refusal
from appliance.certificate.dial import Answer, open_door
from appliance.certificate.schedule import retry_after_s
from appliance.certificate.settings import CertificateSettings
from appliance.certificate.status import Status
from appliance.contracts.gateway import AnswerChallenge, NoteRevoked, PageRequest, TakePageCertificate
from appliance.contracts.page_key import (
    SignAcmeChallenge,
    SignAcmeFinalize,
    SignAcmeOrder,
    SignAcmeRead,
    SignAcmeRevocation,
)
from appliance.core.errors import Invalid, Refused, Unavailable
from appliance.core.varlink import Call, Peer, ask_patiently

CHALLENGE = "tls-alpn-01"
FIRST_POLL_S = 0.2
LONGEST_POLL_S = 5.0
LONGEST_RETRY_AFTER_S = 60.0


class Ordering:
    """What an order needs."""

    def __init__(self, vault: Peer, gateway: Peer, settings: CertificateSettings, status: Status) -> None:
        self._vault = vault
        self._gateway = gateway
        self._settings = settings
        self._status = status

    async def obtain(self, page: PageRequest) -> None:
        """Order a certificate for the request and have gateway serve it; failures as contracts/certificate.py has."""
        async with self._conversation() as acme:
            self._status.step = "order"
            url, order = await self._order(acme)
            for authorization in order.authorizations:
                await self._authorize(acme, authorization)
            order = await self._poll(acme, url, Order, lambda order: order.status not in ("pending", "processing"))
            if order.status == "ready":
                self._status.step = "finalize"
                await self._finalize(acme, order.finalize, page.request)
                order = await self._poll(acme, url, Order, lambda order: order.status not in ("ready", "processing"))
            if order.status != "valid" or not order.certificate:
                raise Refused("order_refused")
            self._status.step = "download"
            chain = await self._read(acme, order.certificate)
            await self._ask_gateway(TakePageCertificate(chain=chain.body))

    async def learn_account(self) -> None:
        """Ask the authority which account is this box's; ReadState says it, for a CAA record."""
        async with self._conversation():
            pass

    async def revoke(self, certificate: bytes) -> None:
        """Have a replaced key's certificate revoked; one that is already is done with too."""
        async with self._conversation() as acme:
            self._status.step = "revoke"
            url = acme.directory.revoke_cert
            try:
                await acme.post(
                    url,
                    lambda nonce: SignAcmeRevocation(
                        url=url, nonce=nonce, account=acme.account, certificate=certificate
                    ),
                    "revocation_refused",
                )
            except Refused as error:
                if error.code != "already_revoked":
                    raise
            await self._ask_gateway(NoteRevoked())

    @asynccontextmanager
    async def _conversation(self) -> AsyncIterator[Acme]:
        settings = self._settings
        self._status.step = "account"
        async with open_door(settings.directory, settings.directory_ca, settings.request_timeout_s) as door:
            acme = Acme(door, self._vault, settings.peer_patience_s)
            await acme.begin(settings.directory)
            await acme.log_in()
            self._status.account = acme.account
            yield acme

    async def _order(self, acme: Acme) -> tuple[str, Order]:
        """Make an order, of the profile if the authority offers it and lets this account have it."""
        offered = self._settings.profile if self._settings.profile in acme.directory.meta.profiles else ""
        try:
            return await self._make_order(acme, offered)
        except Refused as error:
            if error.code != "profile" or not offered:
                raise
            return await self._make_order(acme, "")

    async def _make_order(self, acme: Acme, profile: str) -> tuple[str, Order]:
        url = acme.directory.new_order
        answer = await acme.post(
            url,
            lambda nonce: SignAcmeOrder(url=url, nonce=nonce, account=acme.account, profile=profile),
            "order_refused",
        )
        if not answer.location:
            raise Unavailable("authority_failed")
        return answer.location, decode(answer, Order)

    async def _authorize(self, acme: Acme, url: str) -> None:
        """Prove control of the name: gateway answers, then the authority is told to look (section 7.5)."""
        authorization = decode(await self._read(acme, url), Authorization)
        if authorization.status == "valid":
            return
        self._status.step = "challenge"
        challenge = next((one for one in authorization.challenges if one.type == CHALLENGE), None)
        if challenge is None:
            raise Refused("challenge_missing")
        await self._ask_gateway(AnswerChallenge(token=challenge.token, url=self._settings.directory))
        await acme.post(
            challenge.url,
            lambda nonce: SignAcmeChallenge(url=challenge.url, nonce=nonce, account=acme.account),
            "challenge_failed",
        )
        decided = await self._poll(acme, url, Authorization, lambda one: one.status != "pending")
        if decided.status != "valid":
            name = next((one.error.name for one in decided.challenges if one.error.name), "")
            raise refusal(name, "challenge_failed")

    async def _finalize(self, acme: Acme, url: str, request: bytes) -> None:
        await acme.post(
            url,
            lambda nonce: SignAcmeFinalize(url=url, nonce=nonce, account=acme.account, request=request),
            "order_refused",
        )

    async def _read(self, acme: Acme, url: str) -> Answer:
        return await acme.post(
            url, lambda nonce: SignAcmeRead(url=url, nonce=nonce, account=acme.account), "order_refused"
        )

    async def _poll(self, acme: Acme, url: str, kind: type[Kind], is_decided: Callable[[Kind], bool]) -> Kind:
        """Read until it is decided; Unavailable("authority_busy") after the order's time."""
        pause_s = FIRST_POLL_S
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.order_timeout_s
        while True:
            answer = await self._read(acme, url)
            read = decode(answer, kind)
            if is_decided(read):
                return read
            if loop.time() >= give_up_at:
                raise Unavailable("authority_busy")
            asked_s = min(retry_after_s(answer.retry_after, time.time()), LONGEST_RETRY_AFTER_S)
            await asyncio.sleep(max(pause_s, asked_s))
            pause_s = min(pause_s * 1.5, LONGEST_POLL_S)

    async def _ask_gateway(self, call: Call[Any]) -> None:
        try:
            await ask_patiently(self._gateway, call, patience_s=self._settings.peer_patience_s)
        except Invalid as error:  # a token or a chain that is none: the contract refuses it
            raise Unavailable("authority_failed") from error
