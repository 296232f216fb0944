"""Practice software that stores documents with a device's token (docs/formats/intake.md)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable
from urllib.parse import quote, urljoin

import aiohttp

from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import OneAddress


async def put_document(
    box: DemoBox,
    token: str,
    content: bytes | AsyncIterable[bytes],
    person: tuple[str, str, str, str],
    *,
    key: str,
    name: str = "blutbild.txt",
    title: str = "Großes Blutbild",
    kind: str = "lab",
    media_type: str = "text/plain",
) -> int:
    """Store a document for a person (names, birth date, number), and give the status."""
    family_name, given_name, birth_date, number = person
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": media_type,
        "Idempotency-Key": key,
        "Praxis-Kind": kind,
        "Praxis-Name": quote(name),
        "Praxis-Title": quote(title),
        "Praxis-Patient-Family-Name": quote(family_name),
        "Praxis-Patient-Given-Name": quote(given_name),
        "Praxis-Patient-Birth-Date": birth_date,
        "Praxis-Patient-Number": number,
    }
    trust = ssl.create_default_context(cafile=str(box.practice_ca))
    connector = aiohttp.TCPConnector(ssl=trust, resolver=OneAddress("127.0.0.1"))
    address = urljoin(box.practice_url, "/intake/v1/documents")
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.put(address, data=content, headers=headers) as answer,
    ):
        return answer.status
