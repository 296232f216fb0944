"""A patient's browser without a browser: the same questions in the same order, over the portal, with real TLS.

Stands in for the page's JavaScript in tests that need many patients or hostile ones; tests/browser runs the page
itself. It never skips certificate checks: `authority` is the PEM file that the page's certificate must chain to.
"""

from __future__ import annotations

import base64
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from appliance.formats import share_link
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_manifest import ManifestDocument, open_manifest, parse_key, sealed_on


class OneAddress(AbstractResolver):
    """Every name is at one address; the name still goes into SNI and Host."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=self._address,
                port=port,
                family=self._family,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        return None


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Answer:
    """A status, the body's bytes, the headers that matter for comparisons, and how long it took."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        import json

        return json.loads(self.body)


class Patient:
    """One browser; `async with` it. `port` is another way to the same box: the connection goes there.

    `at` is where every name is found. `line` is the address the patient's own line has: limits count by it.
    """

    def __init__(
        self,
        link: str,
        authority: Path,
        *,
        host: str | None = None,
        port: int = 0,
        at: str = "127.0.0.1",
        line: str | None = None,
    ) -> None:
        parts = urlsplit(link)
        self.origin = f"https://{parts.hostname}:{port}" if port else f"https://{host or parts.netloc}"
        self.secret = share_link.parse_secret(parts.fragment) if parts.fragment else None
        context = ssl.create_default_context(cafile=str(authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._connector = aiohttp.TCPConnector(
            ssl=context, resolver=OneAddress(at), local_addr=(line, 0) if line else None
        )
        self.client = aiohttp.ClientSession(
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(total=120),
            headers={"Host": host or parts.netloc},
        )

    async def __aenter__(self) -> Patient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()

    @property
    def keys(self) -> share_link.ShareKeys:
        assert self.secret is not None
        return share_link.derive(self.secret)

    async def ask(self, method: str, path: str, **arguments: Any) -> Answer:
        """Ask anything, as anyone on the internet may."""
        async with self.client.request(method, URL(self.origin + path, encoded=True), **arguments) as response:
            return Answer(response.status, await response.read(), dict(response.headers))

    async def state(self, proof: bytes | None = None) -> Answer:
        return await self.ask("POST", "/api/state", json={"proof": base64url(proof or self.keys.proof)})

    async def offer(self, pin: str, proof: bytes | None = None) -> Answer:
        return await self.ask("POST", "/api/open", json={"proof": base64url(proof or self.keys.proof), "pin": pin})

    async def manifest(self, locator: str | None = None) -> Answer:
        return await self.ask("GET", "/share/manifest", headers={"Praxis-Locator": locator or self.keys.locator})

    async def sealed(self, file: str, locator: str | None = None, **headers: str) -> Answer:
        return await self.ask(
            "GET",
            "/share/document",
            headers={"Praxis-Locator": locator or self.keys.locator, "Praxis-File": file, **headers},
        )

    async def open(self, pin: str) -> dict[str, bytes]:
        """Do what the page does with the right PIN: name -> bytes of every document."""
        return {document.name: content for document, content in await self.open_documents(pin)}

    async def open_documents(self, pin: str) -> list[tuple[ManifestDocument, bytes]]:
        answer = (await self.offer(pin)).json()
        box, release, expires_at = bytes.fromhex(answer["box"]), from_base64url(answer["r"]), answer["expires_at"]
        keys = self.keys
        sealed = (await self.manifest()).body
        manifest = open_manifest(
            sealed, share_link.manifest_key(keys.wrap_key, release), box, keys.locator, expires_at
        )
        documents = []
        for document in manifest.documents:
            answer_bytes = (await self.sealed(document.file)).body
            bound = sealed_on(document, box)
            opener = DocumentOpener(parse_key(document.key), bound, bytes.fromhex(document.id), document.length)
            documents.append((document, opener.open(answer_bytes) + opener.finish()))
        return documents
