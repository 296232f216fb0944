"""de.praxissafe.Gateway: a patient's connection arrives. There is no verb that lists or reads anything."""

from __future__ import annotations

from typing import ClassVar

from appliance.core.varlink import Call, Done, Interface


class TakeConnection(Call[Done]):
    """Take one connected TCP socket or one end of an unnamed AF_UNIX stream pair (the passed descriptor).

    On it come the relay's PROXY header and the patient's TLS, which ends here.

    Unavailable("full") when gateway serves as many as it may: the caller closes its copy.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"tunnel"})
    descriptors: ClassVar = 1


GATEWAY = Interface.of("de.praxissafe.Gateway", __file__, TakeConnection)
