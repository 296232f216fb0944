"""The box itself: history in words, status of its processes, static files."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from appliance.contracts.process import ReadMetrics
from appliance.contracts.records import ReadHistory
from appliance.contracts.vault import DescribeKit, KitState, ListAccounts
from appliance.core import metrics
from appliance.core.errors import NotFound, PraxisError
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.history import lines
from appliance.practice.internet_routes import hindrance, read_state, standing, way
from appliance.practice.metrics_words import Sample, read_samples
from appliance.practice.peers import OTHERS
from appliance.practice.visit import Visit

ASK_TIMEOUT_S = 3.0
ICON = "icon.svg"
STATIC_FOLDER = Path(__file__).parent / "static"
STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MAX_RELEASE_BYTES = 4096


@dataclass(frozen=True)
class ProcessHealth:
    """One process as the status page shows it."""

    name: str
    answers: bool
    samples: list[Sample]


class BoxRoutes:
    """Pages about the box."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._static = {
            path.name: (path.read_bytes(), STATIC_TYPES[path.suffix])
            for path in STATIC_FOLDER.iterdir()
            if path.suffix in STATIC_TYPES
        }
        self._release = read_release(desk.settings.release)

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        everyone, staff = self._desk.guard.everyone, self._desk.guard.staff
        return [
            web.get("/history", staff(self.show_history)),
            web.get("/status", staff(self.show_status)),
            web.get("/static/{name}", everyone(self.give_static)),
            web.get("/favicon.ico", everyone(self.give_icon)),
        ]

    async def show_history(self, visit: Visit) -> web.StreamResponse:
        """Show the audit log, newest first, of one patient if asked."""
        query = visit.request.query
        before = fields.position(query, "before")
        patient = fields.identifier(query["patient"], "patient") if "patient" in query else None
        history = await self._desk.peers.records.ask(ReadHistory(session=visit.token, before=before, patient=patient))
        accounts = await self._desk.peers.vault.ask(ListAccounts(session=visit.token))
        names = {member.principal: member.name for member in accounts.staff}
        names |= {device.principal: device.label for device in accounts.devices}
        last = history.entries[-1].entry.index if history.entries else 0
        return self._desk.pages.show(
            visit,
            "history.html",
            lines=lines(history.entries),
            size=history.size,
            names=names,
            patient=patient,
            older=last if last > 0 else None,
        )

    async def show_status(self, visit: Visit) -> web.StreamResponse:
        """Show whether patients can reach the box, and how its processes are."""
        (tunnel, kit), healths = await asyncio.gather(
            asyncio.gather(read_state(self._desk), self._ask_kit(visit)),
            asyncio.gather(*(self._ask_process(name) for name in OTHERS)),
        )
        own = ProcessHealth("practice", True, list(read_samples(metrics.render())))
        return self._desk.pages.show(
            visit,
            "status.html",
            tunnel=tunnel,
            standing=standing(tunnel),
            way=way(visit.texts, tunnel),
            hindrance=hindrance(visit.texts, tunnel),
            kit=kit,
            processes=[own, *healths],
            release=self._release,
            certificate=self._desk.certificate,
            patients_address=_origin(self._desk.pages.box.page_host, self._desk.pages.box.page_port),
            staff_address=_origin(self._desk.pages.box.lan_host, self._desk.pages.box.lan_port),
        )

    async def give_static(self, visit: Visit) -> web.StreamResponse:
        """Give one of the files that belong to the pages: a fixed list, read at start."""
        return self._give(visit.part("name"))

    async def give_icon(self, _: Visit) -> web.StreamResponse:
        """Give the icon where browsers ask for it beside what is no page of ours, such as a document."""
        answer = self._give(ICON)
        # A document is shown as another origin (headers.py), and its tab has an icon too.
        answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return answer

    def _give(self, name: str) -> web.Response:
        try:
            content, media_type = self._static[name]
        except KeyError:
            raise NotFound("page") from None
        answer = web.Response(body=content, content_type=media_type, charset="utf-8")
        # The same for everyone; asked again with each page, so that a new release shows at once.
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    async def _ask_kit(self, visit: Visit) -> KitState | None:
        try:
            return await self._desk.peers.vault.ask(DescribeKit(session=visit.token), timeout_s=ASK_TIMEOUT_S)
        except PraxisError:
            return None

    async def _ask_process(self, name: str) -> ProcessHealth:
        try:
            given = await self._desk.peers.processes[name].ask(ReadMetrics(), timeout_s=ASK_TIMEOUT_S)
        except PraxisError:
            return ProcessHealth(name, False, [])
        return ProcessHealth(name, True, list(read_samples(given.text)))


def read_release(path: Path) -> str:
    """Give the image's version (os-release(5), IMAGE_VERSION), else the system's name; "" if neither is there."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(MAX_RELEASE_BYTES).splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    values = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    return values.get("IMAGE_VERSION") or values.get("PRETTY_NAME", "")


def _origin(host: str, port: int) -> str:
    return f"https://{host}" if port == 443 else f"https://{host}:{port}"
