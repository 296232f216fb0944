"""A12, a portal that answers with a page of its own: what a real browser makes of it, with the link in its hands."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import Error, async_playwright

from tests.attacks.conversation import Line
from tests.attacks.malicious_portal import malicious_portal, pass_on
from tests.attacks.own_page import page_context
from tests.browser.chromium import ARGUMENTS, CHROMIUM, TIMEOUT_MS, trust
from tests.simulators.outer_box import QUICK, outer_box
from tests.simulators.patient_side import Authority
from tests.simulators.sample_documents import Sample

PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 36\r\n\r\n<script>location='/caught'</script>\r\n"
)


async def test_chromium_loads_the_boxs_page_and_none_of_the_portals_own(tmp_path: Path) -> None:
    """The link's secret is in the fragment, which no server is told; a page that ran could read it. It does not run."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.write(PAGE)
        writer.close()

    async with (
        malicious_portal(tmp_path / "portal") as portal,
        outer_box(tmp_path / "box", portal.port, portal.authority_path, tunnel=QUICK) as box,
    ):
        portal.homes[box.host_name] = box.identity.box
        await box.until("connected")
        share = box.share(Sample("a.txt", "a", "finding", "text/plain", [b"a"]))
        context = page_context(tmp_path, box.host_name, Authority())
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

        async def lead_there(patient: Line, _: Line) -> None:
            there = Line(*await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1]))
            await pass_on(patient, there)
            there.close()

        trust(tmp_path / "home", [box.authority_path])
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=ARGUMENTS, env={**os.environ, "HOME": str(tmp_path / "home")}
            )
            page = await browser.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            portal.carry = lead_there
            with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
                await page.goto(share.link)
            assert not [request for request in heard if request]
            portal.carry = pass_on
            page = await browser.new_page()
            await page.goto(share.link)
            await page.wait_for_selector("input")
            assert share.link.partition("#")[2] not in page.url, "the box's page took it out of the address"
            await browser.close()
        server.close()
