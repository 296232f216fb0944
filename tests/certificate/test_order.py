"""Orders against a strict authority through a real portal's relay, gateway's own parts and the real vault."""

from __future__ import annotations

from pathlib import Path

from tests.simulators.acme_side import acme_side


async def test_the_page_gets_a_certificate_that_a_browser_takes(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side:
        await side.obtain()
        reader, writer = await side.connect()
        assert await side.get(reader, writer) == 200
        writer.close()
