"""Which relays the portal has, and which of them this box keeps: asked over the same pinned TLS (GET /relays)."""

from __future__ import annotations

import ssl
from typing import Annotated

import msgspec

from appliance.core.errors import Invalid, Unavailable
from appliance.formats.rendezvous import choose_relays
from appliance.tunnel.dial import Dialling, ask_portal
from appliance.tunnel.portal_address import PortalAddress

RELAYS_PATH = "/relays"
MAX_ANSWER_BYTES = 8192


class _Relays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    relays: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=3, max_length=262)]], msgspec.Meta(min_length=1, max_length=16)
    ]


async def read_relays(
    portal: PortalAddress, box: bytes, dialling: Dialling, context: ssl.SSLContext
) -> list[PortalAddress]:
    """Give where this box keeps a control connection: two relays, or the portal's own address if it has none.

    Raises what a dial raises, Unavailable("portal_answer") for an answer that is neither.
    """
    body = await ask_portal(portal, RELAYS_PATH, dialling, context, MAX_ANSWER_BYTES)
    if body is None:
        return [portal]
    try:
        listed = msgspec.json.decode(body, type=_Relays).relays
        return [portal.at(relay) for relay in choose_relays(box, listed)]
    except (msgspec.DecodeError, Invalid) as error:
        raise Unavailable("portal_answer") from error
