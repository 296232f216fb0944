"""Debian's Chromium against gateway's own parts; the test's authority is trusted through NSS, no error is ignored."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.simulators.patient_side import PatientSide, run_patient_side

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[PatientSide]:
    async with run_patient_side(tmp_path) as running:
        yield running


@pytest.fixture
async def browser(side: PatientSide, tmp_path: Path) -> AsyncIterator[Browser]:
    if not Path(CHROMIUM).exists() or shutil.which("certutil") is None:
        pytest.skip("needs chromium and certutil")
    database, authority = tmp_path / ".pki/nssdb", tmp_path / "authority.pem"
    database.mkdir(parents=True)
    authority.write_bytes(side.authority.pem)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    subprocess.run([*certutil, "-A", "-t", "C,,", "-n", "test", "-i", str(authority)], check=True)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, env={**os.environ, "HOME": str(tmp_path)}
        )
        yield chromium
        await chromium.close()


@pytest.fixture
def errors() -> list[str]:
    """What the browser complained of; a test that provokes it clears the list."""
    return []


@pytest.fixture
async def page(browser: Browser, errors: list[str]) -> AsyncIterator[Page]:
    """A German phone; a script error or a policy violation fails the test."""
    context = await browser.new_context(locale="de-DE", viewport={"width": 390, "height": 844})
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.set_default_timeout(20_000)
    yield page
    assert errors == []
    await context.close()
