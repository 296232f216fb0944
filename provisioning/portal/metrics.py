"""The portal's counts for Prometheus, on a loopback port of its own: `GET /metrics`.

Rule it keeps (docs/threats.md): what is written is METRICS, a fixed list of names and label values, and a number
for each; there is no place in it for an address, a host name or a box.

Source: Prometheus text exposition format 0.0.4.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import fields

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from provisioning.portal.counts import Counts
from provisioning.portal.settings import loopback_of

AGAIN_S = 30.0


class _CountsCollector(Collector):
    """Reads the counts whenever it is asked."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Give every count."""
        for field in fields(self._counts):
            name, value = f"praxis_portal_{field.name}", getattr(self._counts, field.name)
            kind = GaugeMetricFamily if field.name in GAUGES else CounterMetricFamily
            if field.name in REFUSALS:
                continue
            yield kind(name, f"Portal: {field.name.replace('_', ' ')}.", value=value)
        refusals = CounterMetricFamily(
            "praxis_portal_refusals", "Portal: connections and proofs that were not taken.", labels=["reason"]
        )
        for reason in REFUSALS:
            refusals.add_metric([reason], getattr(self._counts, reason))
        yield refusals


def render(counts: Counts) -> bytes:
    """Give the counts in the text format."""
    registry = CollectorRegistry()
    registry.register(_CountsCollector(counts))
    return generate_latest(registry)


async def serve_metrics(listen: str, counts: Counts) -> None:
    """Answer on the loopback address `listen` until cancelled; does nothing if it is empty.

    If the port is taken, that is said on standard error and tried again: patients do not wait for numbers.
    """
    if not listen:
        return

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=render(counts), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        while True:
            try:
                await web.TCPSite(runner, *loopback_of(listen), reuse_port=True).start()
                break
            except OSError as error:
                print(f"portal metrics not served: {listen}: {error.strerror}", file=sys.stderr, flush=True)
            await asyncio.sleep(AGAIN_S)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


#: What can go down.
GAUGES = ("connections_now", "relays_now", "boxes_now", "draining_now", "accepted_number", "accepted_expired")
#: These are one metric, by reason.
REFUSALS = (
    "unknown_names",
    "absent_boxes",
    "malformed",
    "over_limit",
    "timeouts",
    "proofs_refused",
    "tokens_refused",
    "devices_refused",
    "duplicates_refused",
    "broken_connections",
)
