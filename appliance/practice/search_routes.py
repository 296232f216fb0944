"""Search in documents: a page of its own, and the first few results for the page of patients."""

from __future__ import annotations

from aiohttp import web

from appliance.contracts.records import FoundDocuments, SearchDocuments
from appliance.core.errors import Unavailable
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.visit import Visit

PAGE_COUNT = 20
#: What a page of patients shows below them.
FIRST_COUNT = 5
SEARCH_LIMIT = "search_limit"


class SearchRoutes:
    """Pages about what stands in documents."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [web.get("/documents", self._desk.guard.staff(self.find))]

    async def find(self, visit: Visit) -> web.StreamResponse:
        """List the documents that have the words, the last that came first."""
        visit.form = visit.request.query
        text = fields.search_text(visit.form)
        before = fields.position(visit.form, "before")
        found = await self._desk.peers.records.ask(
            SearchDocuments(session=visit.token, text=text, before=before, count=PAGE_COUNT)
        )
        return self._desk.pages.show(
            visit, "documents.html", found=found.documents, older=found.older, before=before, text=text
        )


async def first_found(desk: Desk, visit: Visit, text: str) -> tuple[FoundDocuments, Unavailable | None]:
    """Find the first few documents; with the failure instead, if the member of staff has searched too much."""
    if not text:
        return FoundDocuments(documents=[]), None
    search = SearchDocuments(session=visit.token, text=text, count=FIRST_COUNT)
    try:
        return await desk.peers.records.ask(search), None
    except Unavailable as error:
        if error.code != SEARCH_LIMIT:
            raise
        return FoundDocuments(documents=[]), error
