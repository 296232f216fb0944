"""The box's way to the internet: by what it gets through, why it does not, and the proxy of the practice's network.

The proxy is tried before it is kept. Its password goes to tunnel and onto no page.
"""

from __future__ import annotations

from aiohttp import web

from appliance.contracts.tunnel import ReadState, RemoveProxy, SetProxy, TunnelState
from appliance.core.errors import Invalid, PraxisError, Unavailable
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.texts import ErrorText, Texts
from appliance.practice.visit import Visit, see_other

PATH = "/status/internet"
ASK_TIMEOUT_S = 3.0
#: A dial through a proxy that says nothing.
TRY_TIMEOUT_S = 60.0
MAX_ADDRESS_CHARACTERS = 262
MAX_USER_CHARACTERS = 256


class InternetRoutes:
    """The page about the way to the internet."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tunnel = desk.peers.tunnel

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get(PATH, staff(self.show)),
            web.post(PATH, staff(self.set_proxy)),
            web.get(f"{PATH}/remove", staff(self.show_remove)),
            web.post(f"{PATH}/remove", staff(self.remove)),
        ]

    async def show(self, visit: Visit) -> web.StreamResponse:
        """Show the way, and the proxy's form."""
        return await self._page(visit)

    async def set_proxy(self, visit: Visit) -> web.StreamResponse:
        """Have tunnel try the proxy and keep it."""
        try:
            await self._tunnel.ask(_read_proxy(visit), timeout_s=TRY_TIMEOUT_S)
        except PraxisError as error:
            return await self._page(visit, error)
        return see_other(f"{PATH}?done=proxy_set")

    async def show_remove(self, visit: Visit) -> web.StreamResponse:
        """Ask before the proxy is forgotten."""
        state, t = await read_state(self._desk), visit.texts
        if state is None or not state.proxy:
            return see_other(PATH)
        return self._desk.pages.show(
            visit,
            "confirm.html",
            nav="practice",
            title=t("internet.remove.title"),
            subject=state.proxy,
            facts=[state.proxy_user] if state.proxy_user else [],
            warning=t("internet.remove.warning"),
            action=f"{PATH}/remove",
            button=t("internet.remove.button"),
            back=PATH,
        )

    async def remove(self, visit: Visit) -> web.StreamResponse:
        """Forget the proxy."""
        try:
            await self._tunnel.ask(RemoveProxy())
        except PraxisError as error:
            return await self._page(visit, error)
        return see_other(f"{PATH}?done=proxy_removed")

    async def _page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        state = await read_state(self._desk)
        return self._desk.pages.show(
            visit,
            "internet.html",
            error=error,
            state=state,
            standing=standing(state),
            way=way(visit.texts, state),
            hindrance=hindrance(visit.texts, state),
        )


async def read_state(desk: Desk) -> TunnelState | None:
    """Ask tunnel how it stands; None while it is away."""
    try:
        return await desk.peers.tunnel.ask(ReadState(), timeout_s=ASK_TIMEOUT_S)
    except PraxisError:
        return None


def standing(state: TunnelState | None) -> str:
    """Say how it stands: connected, connecting, hindered (`hindrance` says why), away."""
    if state is None:
        return "away"
    if state.state == "connected":
        return "connected"
    return "hindered" if state.problem else "connecting"


def way(t: Texts, state: TunnelState | None) -> str:
    """Say in one sentence how the box gets through; "" while it does not, or that is not known yet."""
    if state is None or state.state != "connected" or not state.mode:
        return ""
    return t(f"internet.way.{'proxy' if state.proxy else state.mode}", proxy=state.proxy)


def hindrance(t: Texts, state: TunnelState | None) -> ErrorText | None:
    """Say what keeps the box from its portal, and what to do; None if nothing does.

    With one of two relays reached patients come in, and nobody has to be told.
    """
    if state is None or state.state == "connected" or not state.problem:
        return None
    known = t.known(f"error.{state.problem}.what")
    return t.error(Unavailable(state.problem if known else "portal_answer"))


def _read_proxy(visit: Visit) -> SetProxy:
    """Give what was typed; an empty password keeps the one of the same address and user."""
    address, user = (fields.clean(visit.form.get(name, "")) for name in ("address", "user"))
    password = visit.form.get("proxy_password", "")
    if not address:
        raise Invalid("field_empty", field="address")
    for name, text, limit in (
        ("address", address, MAX_ADDRESS_CHARACTERS),
        ("user", user, MAX_USER_CHARACTERS),
        ("proxy_password", password, MAX_USER_CHARACTERS),
    ):
        if len(text) > limit:
            raise Invalid("field_long", field=name, limit=limit)
    if ":" in user:  # RFC 7617, 2: it would end the name
        raise Invalid("characters", field="user")
    if not password.isprintable():
        raise Invalid("characters", field="proxy_password")
    if len(address) < len("a:1"):
        raise Invalid("proxy_address", field="address")
    return SetProxy(address=address, user=user, password=password or None)
