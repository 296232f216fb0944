"""A box whose boot nobody signed: the practice page says so and what to do; a signed boot brings everything back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from appliance.core.errors import Unavailable
from tests.simulators.demo_box import DemoBox, running_box

WAIT_S = 90


@pytest.fixture(scope="module")
def box() -> Iterator[DemoBox]:
    """A box of its own: one that shuts ends everybody's session."""
    with running_box() as started:
        yield started


async def page_that(staff, holds):
    """Open the start page until it is as wanted."""
    give_up_at = time.monotonic() + WAIT_S
    while True:
        try:
            page = await staff.open("/")
        except Unavailable:
            page = None
        if page is not None and holds(page):
            return page
        assert time.monotonic() < give_up_at, page and page.text
        await asyncio.sleep(0.5)


async def test_the_page_says_why_the_box_is_shut_until_a_signed_boot(box, staff):
    policy = box.state / "world/boot/policy.json"
    signed = policy.read_bytes()
    patient = await staff.create_patient("Verschlossen")
    try:
        policy.write_text('{"version": 1, "epoch": 0, "boots": []}')
        os.kill(box.pid("vault"), signal.SIGTERM)
        page = await page_that(staff, lambda page: "boot_image" in page.text)
        assert page.status == 503
        assert "nicht freigegeben" in page.text
        assert "rufen Sie die Technik an" in page.text
        assert "was not released" in page.text
    finally:
        policy.write_bytes(signed)
        os.kill(box.pid("vault"), signal.SIGTERM)
    await page_that(staff, lambda page: page.status == 200)
    await staff.log_in(box.said["staff"], box.said["password"])
    assert "Verschlossen" in (await staff.open(patient)).text
