"""de.praxissafe.Tunnel: whether patients can reach the box, and by which way it reaches its portal."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from appliance.contracts.values import Seconds
from appliance.core.varlink import Call, Done, Interface

#: raw: a TCP connection for each patient; wrapped: the same in TLS to the portal; streams: all in the one connection.
Mode = Literal["raw", "wrapped", "streams"]
#: host:port of an HTTP proxy that takes CONNECT.
ProxyAddress = Annotated[str, msgspec.Meta(min_length=3, max_length=262)]
ProxyUser = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[^:\x00-\x1f\x7f]*$")]
ProxyPassword = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class TunnelState(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The control connections' state, since when (unix seconds), and the spare connections at the portal.

    `mode`: how patients come in at the moment, "" before that is known. `connected` of `relays` are reached (a portal
    without relays counts as one). `problem`: the code that the last connection ended with, or could not be made for;
    "" while all stand. `proxy`: host:port of the proxy that is used, "" for none; its password is never given.
    """

    state: Literal["connected", "connecting", "refused"]
    since: Seconds
    spares: int
    mode: Literal["", "raw", "wrapped", "streams"]
    connected: int
    relays: int
    problem: str
    proxy: str
    proxy_user: str


class ReadState(Call[TunnelState]):
    """Say whether the box is connected to its portal, and how."""

    reply: ClassVar = TunnelState
    callers: ClassVar = frozenset({"certificate", "practice", "root"})


class SetProxy(Call[Done]):
    """Try an HTTP proxy by dialling the portal through it; if that works keep it and connect anew.

    `password` None keeps the one that is kept for the same address and user, else there is none: who may name a new
    address does not get the old one's password sent there. Invalid("proxy_address"); Unavailable("proxy_unreachable",
    "proxy_silent", "portal_unreachable", "portal_tls", "portal_answer", "portal_busy", "storage": it works and could
    not be kept),
    Refused("proxy_refused": wrong user or password; "proxy_forbids": not to the portal; "portal_certificate",
    "portal_certificate_expired", "portal_certificate_early"). After a failure everything is as before.
    """

    address: ProxyAddress
    user: ProxyUser = ""
    password: ProxyPassword | None = None
    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    def __repr__(self) -> str:
        return "SetProxy"


class RemoveProxy(Call[Done]):
    """Forget the proxy and its password, and connect anew without it. Unavailable("storage"): it is still used."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})


TUNNEL = Interface.of("de.praxissafe.Tunnel", __file__, ReadState, SetProxy, RemoveProxy)
