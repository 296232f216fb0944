"""One control session: prove this box, then follow the portal until either side ends it.

Rules it keeps: the proof is vault's, over the portal's nonce and the certificate this very connection was shown; no
order is followed before the portal accepted it; anything outside docs/formats/tunnel.md ends the session. The
captured tunnel process can divert ciphertext, no more: it holds no key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from appliance.contracts.vault import DeviceProof, ProveDevice
from appliance.core.errors import Invalid, PraxisError, Refused, Unavailable
from appliance.core.varlink import Peer, PeerGone, ask_patiently
from appliance.formats import tunnel_control as control
from appliance.tunnel.conversation import Conversation
from appliance.tunnel.settings import TunnelSettings

PROOF_TIMEOUT_S = 20.0

Follow = Callable[[bytes], None]
Beside = Callable[[], Coroutine[Any, Any, None]]


async def run_session(
    conversation: Conversation,
    certificate_sha256: bytes,
    vault: Peer,
    settings: TunnelSettings,
    *,
    accepted: Callable[[], None],
    order: Follow | None,
    beside: tuple[Beside, ...],
) -> None:
    """Prove, call `accepted`, then run `beside` and `order(token)` for each order; ends only by raising.

    Raises Refused("portal_refused"), Invalid when the portal breaks the protocol, Unavailable when it is lost or
    silent, what vault answers, and what `beside` raises.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(conversation.write())
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                await _prove(conversation, certificate_sha256, vault, settings)
            accepted()
            health = control.Health(asyncio.get_running_loop().time(), settings.ping_interval_s)
            group.create_task(_ask_for_life(conversation, health))
            for one in beside:
                group.create_task(one())
            await asyncio.sleep(0)  # what runs beside has begun before the portal says more
            await _listen(conversation, health, order)
    except BaseExceptionGroup as failures:  # except* would wrap what is raised here in a group again
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # before Python 3.13 a TaskGroup that fails loses a cancellation
            raise asyncio.CancelledError from failures
        raise _one_of(failures) from failures


async def _prove(
    conversation: Conversation, certificate_sha256: bytes, vault: Peer, settings: TunnelSettings
) -> None:
    asked = await conversation.next_frame()
    if not isinstance(asked, control.Nonce):
        raise Invalid("tunnel_turn")
    call = ProveDevice(nonce=asked.nonce, portal_certificate_sha256=certificate_sha256)
    proof = await ask_patiently(vault, call, patience_s=settings.peer_patience_s)
    conversation.say(_prove_frame(proof))
    if isinstance(await conversation.next_frame(), control.Refused):
        raise Refused("portal_refused")


def _prove_frame(proof: DeviceProof) -> control.Prove:
    """Turn vault's DER signature into the frame's r | s."""
    r, s = decode_dss_signature(proof.signature)
    return control.Prove(bytes.fromhex(proof.box), r.to_bytes(32, "big") + s.to_bytes(32, "big"))


async def _listen(conversation: Conversation, health: control.Health, order: Follow | None) -> None:
    while True:
        match await conversation.next_frame():
            case control.Open(token) if order is not None:
                order(token)
            case control.Ping(value):
                conversation.say(control.Pong(value))
            case control.Pong() as pong:
                health.heard(pong)
            case _:
                raise Invalid("tunnel_turn")


async def _ask_for_life(conversation: Conversation, health: control.Health) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(health.next_at - loop.time())
        match health.due(loop.time()):
            case control.Ping() as ping:
                conversation.say(ping)
            case "dead":
                raise Unavailable("portal_silent")


def _one_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the failure that tells the caller most: a bug as it is, then a lost peer, then why the session ended."""
    leaves = list(_leaves(failures))
    if not all(isinstance(leaf, PraxisError | TimeoutError) for leaf in leaves):
        return failures
    for kind in (PeerGone, Refused, PraxisError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return Unavailable("portal_silent")


def _leaves(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure
