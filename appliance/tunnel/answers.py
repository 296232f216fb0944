"""Answers local calls: whether patients can reach the box and how; the proxy of the practice's network."""

from __future__ import annotations

from appliance.contracts.tunnel import ReadState, RemoveProxy, SetProxy, TunnelState
from appliance.core.varlink import Answers, Caller, Done
from appliance.tunnel.keepers import Keepers
from appliance.tunnel.portal_address import split_address
from appliance.tunnel.route import Proxy, Route
from appliance.tunnel.status import Status


def make_answers(status: Status, route: Route, keepers: Keepers) -> Answers:
    """Give the table of de.praxissafe.Tunnel."""

    async def answer_read_state(_: ReadState, __: Caller) -> TunnelState:
        return TunnelState(
            state=status.state,
            since=status.since,
            spares=status.spares,
            mode=status.mode or "",
            connected=status.connected,
            relays=status.relays,
            problem=status.problem,
            proxy=route.proxy.address if route.proxy else "",
            proxy_user=route.proxy.user if route.proxy else "",
        )

    async def answer_set_proxy(call: SetProxy, _: Caller) -> Done:
        host, port = split_address(call.address, "proxy_address")
        proxy = Proxy(host=host, port=port, user=call.user, password=call.password or "")
        kept = route.proxy
        if call.password is None and kept is not None and (kept.address, kept.user) == (proxy.address, proxy.user):
            proxy = kept
        await keepers.try_proxy(proxy)
        route.use_proxy(proxy)
        await keepers.connect_anew()
        return Done()

    async def answer_remove_proxy(_: RemoveProxy, __: Caller) -> Done:
        if route.proxy is not None:
            route.use_proxy(None)
            await keepers.connect_anew()
        return Done()

    return {ReadState: answer_read_state, SetProxy: answer_set_proxy, RemoveProxy: answer_remove_proxy}
