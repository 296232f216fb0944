"""de.praxissafe.Tunnel: whether patients can reach the box."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from appliance.contracts.values import Seconds
from appliance.core.varlink import Call, Interface


class TunnelState(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The control connection's state, since when (unix seconds), and the spare connections at the portal."""

    state: Literal["connected", "connecting", "refused"]
    since: Seconds
    spares: int


class ReadState(Call[TunnelState]):
    """Say whether the box is connected to its portal."""

    reply: ClassVar = TunnelState
    callers: ClassVar = frozenset({"certificate", "practice", "root"})


TUNNEL = Interface.of("de.praxissafe.Tunnel", __file__, ReadState)
