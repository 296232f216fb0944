"""What the box learnt about its way to the portal: the mode that worked, when better ones were tried, the proxy.

Kept in one small file, written whole, so that the next start tries first what worked. Rules: a file that cannot be
read counts as none (the box must come back by itself); the proxy's password leaves this module for the dial alone.
A proxy that is set is always used: it is a rule of the practice's network, and not gone around.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.contracts.tunnel import Mode
from appliance.core.errors import Unavailable
from appliance.core.files import write_whole
from appliance.core.journal import say

FILE = "route.json"
MAX_FILE_BYTES = 8192
LOOK_S = 30.0


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP proxy that takes CONNECT, with Basic credentials if it wants some."""

    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def address(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self.address})"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    mode: Mode | None = None
    tried_at: float = 0.0
    proxy: Proxy | None = None


class Route:
    """The knowledge, and its file. `now()` gives unix seconds."""

    def __init__(self, folder: Path, now: Callable[[], float], retry_better_s: float) -> None:
        self._path = folder / FILE
        self._now = now
        self._retry_better_s = retry_better_s
        self._kept = _read(self._path)

    @property
    def mode(self) -> Mode | None:
        """The mode that worked last; None: not known."""
        return self._kept.mode

    @property
    def proxy(self) -> Proxy | None:
        """The proxy to use."""
        return self._kept.proxy

    def found(self, mode: Mode) -> None:
        """Keep a mode that works now, after better ones were tried; nothing is written if nothing new is known."""
        if mode == self._kept.mode and not self.better_is_due():
            return
        if mode != self._kept.mode:
            say("tunnel_mode", mode=mode)
        self._write(msgspec.structs.replace(self._kept, mode=mode, tried_at=self._now()))

    def better_is_due(self) -> bool:
        """Say whether a better mode is to be tried again; a clock that was set back counts as due."""
        age_s = self._now() - self._kept.tried_at
        return self._kept.mode not in (None, "raw") and not 0 <= age_s < self._retry_better_s

    async def until_better_is_due(self) -> None:
        """Wait until better modes than streams are to be tried, or another connection found one."""
        while True:
            if self.mode != "streams" or self.better_is_due():
                return
            await asyncio.sleep(min(LOOK_S, self._retry_better_s))

    def tries_better(self) -> None:
        """Note that better modes are tried now, so that nobody else does."""
        self._write(msgspec.structs.replace(self._kept, tried_at=self._now()))

    def use_proxy(self, proxy: Proxy | None) -> None:
        """Keep a proxy, or forget it; what was learnt on the other way is forgotten. Unavailable("storage")."""
        if not self._write(_Kept(proxy=proxy)):
            raise Unavailable("storage")

    def _write(self, kept: _Kept) -> bool:
        """Keep in memory and on disk; a disk that is full must not keep the box off the network."""
        try:
            write_whole(self._path, msgspec.json.encode(kept), mode=0o600)
        except OSError:
            say("route_not_kept", priority="warning")
            if kept.proxy != self._kept.proxy:
                return False
            self._kept = kept
            return False
        self._kept = kept
        return True


def _read(path: Path) -> _Kept:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=_Kept)
    except FileNotFoundError:
        return _Kept()
    except (OSError, ValueError):
        say("route_unreadable", priority="warning")
        return _Kept()
