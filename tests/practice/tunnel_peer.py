"""tunnel, played for the practice's pages: what it answers is set here, what it is told is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from appliance.contracts.tunnel import ReadState, RemoveProxy, SetProxy, TunnelState
from appliance.core.errors import PraxisError
from appliance.core.varlink import Done


def reached() -> TunnelState:
    return TunnelState(
        state="connected",
        since=int(time.time()) - 3600,
        spares=4,
        mode="raw",
        connected=1,
        relays=1,
        problem="",
        proxy="",
        proxy_user="",
    )


@dataclass
class PlayedTunnel:
    """How the box is connected; `fails` is what the next SetProxy ends with."""

    state: TunnelState = field(default_factory=reached)
    proxies: list[SetProxy] = field(default_factory=list)
    fails: PraxisError | None = None

    def table(self) -> dict[Any, Any]:
        return {ReadState: self._read, SetProxy: self._set, RemoveProxy: self._remove}

    def changed(self, **more: object) -> None:
        self.state = replace(self.state, **more)

    def hindered(self, problem: str) -> None:
        self.changed(state="connecting", mode="", connected=0, problem=problem)

    async def _read(self, *_: object) -> TunnelState:
        return self.state

    async def _set(self, call: SetProxy, *_: object) -> Done:
        self.proxies.append(call)
        if self.fails is not None:
            raise self.fails
        self.changed(proxy=call.address, proxy_user=call.user, mode="streams")
        return Done()

    async def _remove(self, *_: object) -> Done:
        self.changed(proxy="", proxy_user="", mode="raw")
        return Done()
