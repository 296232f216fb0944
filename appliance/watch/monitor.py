"""Ask a monitor, which searches all public logs, for certificates for the box's name.

Cert Spotter's search: pages of certificates in the order the monitor found them, from `after` on, until one is empty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from appliance.core.errors import Invalid
from appliance.formats.seen_certificate import SeenCertificate, read_monitor
from appliance.watch.fetching import Fetcher
from appliance.watch.judging import OwnKeys
from appliance.watch.state import MonitorState

MAX_PAGES = 50


async def ask_monitor(
    fetcher: Fetcher, state: MonitorState, own: OwnKeys, seen: Callable[[SeenCertificate], Awaitable[None]]
) -> MonitorState:
    """Read what is new and give where that ends; Invalid("monitor_answer") for a monitor that never ends."""
    for _ in range(MAX_PAGES):
        query = [
            ("domain", own.host),
            ("match_wildcards", "true"),
            ("expand", "dns_names"),
            ("expand", "issuer"),
        ]
        if state.after:
            query.append(("after", state.after))
        told, after = read_monitor(await fetcher.get("", query), own.host)
        if not after:
            return state
        for one in told:
            await seen(one)
        own_not_before = [one.not_before for one in told if own.wrong_with(one) is None]
        state = replace(
            state,
            after=after,
            told=state.told + len(told),
            own_not_before=max([state.own_not_before, *own_not_before]),
        )
    raise Invalid("monitor_answer")
