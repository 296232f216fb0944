"""The key of the patients' page: how its certificate is, who watches, what was found, and one button for a new key.

The button is for a key that may be in strange hands. Its order: vault ends the shares that were requested since then,
records lists them to be made anew (earlier_routes.py), certificate has a new key made. The first needs the password
and is done even if all else is away; what could not be done is said, and the button may be pressed again.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from appliance.contracts.certificate import CertificateState, ReplaceKey
from appliance.contracts.certificate import ReadState as ReadCertificate
from appliance.contracts.records import TakeRevoked
from appliance.contracts.vault import RevokeRequestedSince
from appliance.contracts.watch import Acknowledge, ReadState, WatchState
from appliance.core.errors import PraxisError, Refused, Unavailable
from appliance.practice import alarm, fields
from appliance.practice.account_routes import is_session
from appliance.practice.certificate_standing import standing
from appliance.practice.desk import Desk
from appliance.practice.key_print import ask_briefly, read_key_print
from appliance.practice.visit import Visit, see_other

PATH = "/status/page-key"
DEFAULT_DAYS = 7
DAY_S = 86_400
#: A practice may have thousands of shares, each with an entry in the log.
REVOKE_TIMEOUT_S = 120.0


class PageKeyRoutes:
    """The page about the patients' page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get(PATH, staff(self.show)),
            web.post(f"{PATH}/replace", staff(self.replace)),
            web.post(f"{PATH}/acknowledge", staff(self.acknowledge)),
        ]

    async def show(self, visit: Visit) -> web.StreamResponse:
        """Show it."""
        return await self._page(visit)

    async def replace(self, visit: Visit) -> web.StreamResponse:
        """End what was requested since then, list it, replace the key."""
        peers = self._desk.peers
        try:
            call = RevokeRequestedSince(
                session=visit.token,
                password=fields.password(visit.form, "password"),
                since=fields.past_moment(visit.form, "since", self._desk.now()),
                every=visit.form.get("scope") == "every",
            )
        except PraxisError as error:
            return await self._page(visit, error)
        try:
            revoked = (await peers.vault.ask(call, timeout_s=REVOKE_TIMEOUT_S)).shares
        except PraxisError as error:
            if is_session(error):
                raise
            if error.code == "login":
                error = Refused("own_password", field="password")
            elif error.code == "audit_away":
                error = Unavailable("key_log_away")
            return await self._page(visit, error)
        failed: PraxisError | None = None
        try:
            if revoked:
                await peers.records.ask(TakeRevoked(session=visit.token, shares=revoked), timeout_s=REVOKE_TIMEOUT_S)
        except PraxisError as error:
            failed = error if is_session(error) else Unavailable("key_list_away")
        try:
            await peers.certificate.ask(ReplaceKey())
        except PraxisError:
            failed = Unavailable("key_not_replaced")
        if failed is not None:
            return await self._page(visit, failed)
        return see_other("/shares/earlier?done=key_replaced" if revoked else f"{PATH}?done=key_replaced")

    async def acknowledge(self, visit: Visit) -> web.StreamResponse:
        """Note that a finding was taken care of."""
        finding = fields.identifier(visit.form.get("finding", ""), "finding")
        await self._desk.peers.watcher.ask(Acknowledge(finding=finding))
        await alarm.look(self._desk.peers.watcher, self._desk.pages)
        return see_other(f"{PATH}?done=finding_acknowledged")

    async def _page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        desk, now = self._desk, self._desk.now()
        found, watch, certificate, key = await asyncio.gather(
            alarm.look(desk.peers.watcher, desk.pages),
            ask_briefly(desk.peers.watcher, ReadState()),
            ask_briefly(desk.peers.certificate, ReadCertificate()),
            read_key_print(desk),
        )
        findings = found.findings if found else []
        return desk.pages.show(
            visit,
            "page_key.html",
            error=error,
            findings=[one for one in findings if not one.acknowledged_at],
            done_findings=[one for one in findings if one.acknowledged_at],
            watch=watch,
            heard=_is_heard(watch),
            certificate=certificate,
            standing=standing(certificate, now),
            problem=_problem(visit, certificate),
            key=key,
            since=visit.form.get("since") or fields.typed_moment(now - DEFAULT_DAYS * DAY_S),
            latest=fields.typed_moment(now),
            scope=visit.form.get("scope") or ("every" if desk.pages.alarm == "certificate" else "requested"),
        )


def _is_heard(watch: WatchState | None) -> bool:
    return watch is not None and any(not source.trouble and source.heard_at for source in watch.sources)


def _problem(visit: Visit, certificate: CertificateState | None) -> str:
    """Give what went wrong last, in words; "" if nothing did."""
    if certificate is None or not certificate.last_problem:
        return ""
    key = f"page_key.problem.{certificate.last_problem}"
    return visit.texts(key if visit.texts.known(key) else "page_key.problem.unknown")
