"""Answers local calls: whether patients can reach the box."""

from __future__ import annotations

from appliance.contracts.tunnel import ReadState, TunnelState
from appliance.core.varlink import Answers, Caller
from appliance.tunnel.status import Status


def make_answers(status: Status) -> Answers:
    """Give the table of de.praxissafe.Tunnel."""

    async def answer_read_state(_: ReadState, __: Caller) -> TunnelState:
        return TunnelState(state=status.state, since=status.since, spares=status.spares)

    return {ReadState: answer_read_state}
