"""The question before a document or a patient is erased: how long it must be kept, and else why it is erased.

What is kept and by which rule, records says and checks; here are words. A reason that is stated goes into the log.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, get_args

from aiohttp import web

from appliance.contracts.records import ErasureReason, ReadRetention
from appliance.core.errors import PraxisError
from appliance.practice.desk import Desk
from appliance.practice.visit import Visit

PERIOD_OVER: ErasureReason = "period_over"
#: What a member of staff may state while the period is not over.
REASONS: tuple[ErasureReason, ...] = tuple(reason for reason in get_args(ErasureReason) if reason != PERIOD_OVER)


def reason_of(form: Mapping[str, str]) -> ErasureReason:
    """Give the reason that was stated; that the period is over, if none was: records checks that."""
    return next((reason for reason in REASONS if reason == form.get("reason")), PERIOD_OVER)


async def erase_page(
    desk: Desk,
    visit: Visit,
    *,
    document: str | None = None,
    patient: str | None = None,
    error: PraxisError | None = None,
    **values: Any,
) -> web.StreamResponse:
    """Ask before erasing a document, or a patient; `values` are the page's words (confirm.html)."""
    retention = await desk.peers.records.ask(ReadRetention(session=visit.token, document=document, patient=patient))
    last_day = datetime.datetime.fromtimestamp(retention.until, datetime.UTC).date() - datetime.timedelta(days=1)
    return desk.pages.show(
        visit,
        "erase.html",
        error=error,
        nav="patients",
        retention=retention,
        keep_until=last_day.isoformat(),
        reasons=REASONS,
        **values,
    )
