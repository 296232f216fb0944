"""de.praxissafe.Process: what every process answers, whoever it is."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from appliance.core import metrics
from appliance.core.varlink import Answers, Call, Caller, Interface


class Metrics(msgspec.Struct, forbid_unknown_fields=True):
    """Metrics in the Prometheus text exposition format 0.0.4; no personal data, fixed labels."""

    text: str


class ReadMetrics(Call[Metrics]):
    """Read the process's metrics, for the status page and a technician."""

    reply: ClassVar = Metrics
    callers: ClassVar = frozenset({"practice", "root"})


PROCESS = Interface.of("de.praxissafe.Process", __file__, ReadMetrics)


async def _answer_read_metrics(_: ReadMetrics, __: Caller) -> Metrics:
    return Metrics(metrics.render())


#: Served by every process beside its own interface.
PROCESS_ANSWERS: Answers = {ReadMetrics: _answer_read_metrics}
