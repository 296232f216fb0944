"""A very small browser: follows the practice's own pages by their forms, as staff would.

Keeps: TLS is verified against the authority given; `….localhost` is 127.0.0.1 (RFC 6761 6.3); cookies; a form is sent
with all the hidden fields its page holds. Knows nothing of what the pages are for.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from appliance.core.errors import Invalid, Unavailable

MAX_PAGE_BYTES = 4 * 1024 * 1024
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Form:
    """A form of a page: where it goes and what it holds already."""

    action: str
    method: str
    multipart: bool
    fields: dict[str, str] = field(default_factory=dict)
    #: Every named control, also the empty ones, with the values a choice offers.
    controls: dict[str, list[str]] = field(default_factory=dict)

    def place(self, name: str) -> int:
        """Give a control's place in the form: controls are sent in this order."""
        return list(self.controls).index(name)


@dataclass
class Page:
    """A page as it came."""

    url: str
    status: int
    text: str
    forms: list[Form]
    #: Text of elements by their id.
    by_id: dict[str, str]
    links: list[str]

    def form(self, *controls: str) -> Form:
        """Give the first form that has all these controls; Invalid("form") if there is none."""
        for form in self.forms:
            if all(control in form.controls for control in controls):
                return form
        raise Invalid("form")

    def form_to(self, path_end: str) -> Form:
        """Give the form that is sent to a path ending so; Invalid("form") if there is none."""
        for form in self.forms:
            if urlsplit(form.action).path.endswith(path_end):
                return form
        raise Invalid("form")


@dataclass(frozen=True)
class Upload:
    """A file for a form's file control."""

    name: str
    media_type: str
    content: bytes


class _Reader(HTMLParser):
    """Collects forms, links, and the text of elements that have an id."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._open: list[str | None] = []
        self.forms: list[Form] = []
        self.by_id: dict[str, str] = {}
        self.links: list[str] = []
        self._in_form = False
        self._choice = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag not in VOID:
            self._open.append(values.get("id"))
            if "id" in values:
                self.by_id.setdefault(values["id"], "")
        if tag == "a" and "href" in values:
            self.links.append(urljoin(self._url, values["href"]))
        if tag == "form":
            self._in_form = True
            self.forms.append(
                Form(
                    action=urljoin(self._url, values.get("action", "")),
                    method=values.get("method", "get").lower(),
                    multipart=values.get("enctype") == "multipart/form-data",
                )
            )
        elif self._in_form and values.get("name") and tag in {"input", "select", "textarea", "button"}:
            form, name, kind = self.forms[-1], values["name"], values.get("type", "text")
            self._choice = name if tag == "select" else ""
            offered = form.controls.setdefault(name, [])
            if kind in {"checkbox", "radio", "submit"} or tag == "button":
                offered.append(values.get("value", "on"))
            elif tag == "input" and kind != "file":
                form.fields[name] = values.get("value", "")
        elif tag == "option" and self._choice:
            offered = self.forms[-1].controls[self._choice]
            offered.append(values.get("value", ""))
            if len(offered) == 1 or "selected" in values:
                self.forms[-1].fields[self._choice] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._in_form = False
        if tag == "select":
            self._choice = ""
        if tag not in VOID and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in self._open:
            if name is not None:
                self.by_id[name] += data


class Browser:
    """Opens pages and sends forms; made by `open_browser`."""

    def __init__(self, session: aiohttp.ClientSession, trust: ssl.SSLContext) -> None:
        self._session = session
        self._trust = trust

    async def open(self, url: str) -> Page:
        """Open a page, following redirects."""
        return await self._ask("GET", url)

    async def send(self, form: Form, fill: Mapping[str, str | list[str] | Upload]) -> Page:
        """Fill in a form, send it and give the page it leads to; Invalid("form") if that is no page of success."""
        filled: dict[str, Any] = {**form.fields, **fill}
        data = aiohttp.FormData(default_to_multipart=form.multipart)
        for name, value in sorted(filled.items(), key=lambda item: form.place(item[0])):
            if isinstance(value, Upload):
                data.add_field(name, value.content, filename=value.name, content_type=value.media_type)
            else:
                for one in value if isinstance(value, list) else [value]:
                    data.add_field(name, one)
        page = await self._ask("POST", form.action, data, origin=form.action)
        if page.status != 200:
            raise Invalid("form")
        return page

    async def _ask(self, method: str, url: str, data: aiohttp.FormData | None = None, origin: str = "") -> Page:
        parts = urlsplit(origin)
        headers = {"Origin": f"{parts.scheme}://{parts.netloc}"} if origin else {}
        try:
            async with self._session.request(method, url, data=data, headers=headers, ssl=self._trust) as answer:
                text = (await answer.content.read(MAX_PAGE_BYTES)).decode("utf-8", "replace")
                reader = _Reader(str(answer.url))
                reader.feed(text)
                return Page(
                    url=str(answer.url),
                    status=answer.status,
                    text=text,
                    forms=reader.forms,
                    by_id={name: " ".join(value.split()) for name, value in reader.by_id.items()},
                    links=reader.links,
                )
        except aiohttp.ClientError as error:
            raise Unavailable("practice_page") from error


class _Localhost(AbstractResolver):
    """Resolves every name to 127.0.0.1; the certificate says whether it is the right one."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def open_browser(authority: Path) -> AsyncIterator[Browser]:
    """Give a browser that trusts this authority (a PEM file) and no other."""
    trust = ssl.create_default_context(cafile=str(authority))
    trust.minimum_version = ssl.TLSVersion.TLSv1_3
    connector = aiohttp.TCPConnector(resolver=_Localhost(), force_close=True)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=60),
        headers={"Accept-Language": "de"},
        cookie_jar=aiohttp.CookieJar(),
    ) as session:
        yield Browser(session, trust)
