"""The intake against its own description: schemathesis (PyPI) makes requests from docs/formats/intake.openapi.yaml, good and
bad, and holds every answer against it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from appliance.practice.intake import MEDIA_TYPES
from appliance.practice.problems import _STATUS
from tests.practice.bench import Browser

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT / "docs/formats/intake.openapi.yaml"
EXAMPLES = 40
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "missing_required_header", "unsupported_method", "ignored_auth", "negative_data_rejection",
)  # fmt: skip
TIMEOUT_S = 600


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """A practice alone: its address, the Host it answers to, and a device's token."""
    command = [sys.executable, "-m", "tests.practice.bench", str(tmp_path_factory.mktemp("practice")), "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            parts = urlsplit(said["url"])
            yield f"https://127.0.0.1:{parts.port}", parts.netloc, asyncio.run(make_token(said))
        finally:
            process.terminate()


async def make_token(said: dict[str, Any]) -> str:
    parts = urlsplit(said["url"])
    bench: Any = SimpleNamespace(
        host=parts.hostname, port=parts.port, claim_code=said["claim_code"], answers=[], documents=set()
    )
    browser = Browser(bench, ssl.create_default_context(cafile=said["ca"]))
    try:
        await browser.claim()
        await browser.add_patient()
        await browser.open("/devices")
        return await browser.device_token()
    finally:
        await browser.close()


def test_the_intake_answers_as_it_is_described(practice: tuple[str, str, str], tmp_path: Path) -> None:
    url, host, token = practice
    seed = random.randrange(1, 2**31)
    settings = tmp_path / "schemathesis.toml"
    settings.write_text("[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 404, 409, 415, 422]\n")
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings), "run", str(DESCRIPTION), "--url", url, "--tls-verify", "false",
        "--header", f"Host: {host}", "--header", f"Authorization: Bearer {token}", "--checks", ",".join(CHECKS),
        "--max-examples", str(EXAMPLES), "--seed", str(seed), "--phases", "examples,coverage,fuzzing", "--mode", "all", "--no-color",
        "--suppress-health-check", "all",  # they are about how quickly requests are made up, not about the answers
    ]  # fmt: skip
    print(f"seed {seed}")
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-8000:]


def test_every_code_of_the_intake_is_described() -> None:
    described = DESCRIPTION.read_text(encoding="utf-8")
    table = (ROOT / "docs/formats/intake.md").read_text(encoding="utf-8").partition("## Errors")[2]
    for code in _STATUS:
        assert f"`{code}`" in table, code
        assert f"- {code}\n" in described, code


def test_every_media_type_the_intake_takes_is_described() -> None:
    body = DESCRIPTION.read_text(encoding="utf-8").partition("requestBodies:")[2].partition("schemas:")[0]
    assert set(re.findall(r"^ +([a-z]+/[a-z]+): ", body, re.MULTILINE)) == set(MEDIA_TYPES)
