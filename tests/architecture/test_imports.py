"""The import rules of the design, and that each of them bites."""

from pathlib import Path

import pytest

from tests.architecture.imports import broken_rules

ROOT = Path(__file__).parents[2]


def test_every_import_keeps_the_rules():
    assert broken_rules(ROOT) == []


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("appliance/gateway/x.py", "from appliance.records import database", "through contracts alone"),
        ("appliance/gateway/x.py", "import appliance.vault.tpm", "through contracts alone"),
        ("appliance/contracts/x.py", "from appliance.vault import tpm", "contracts stand on core"),
        ("appliance/core/x.py", "from appliance.contracts import vault", "core stands on nothing"),
        ("appliance/formats/x.py", "from appliance.core import journal", "core/errors only"),
        ("appliance/formats/x.py", "import os", "pure"),
        ("appliance/tunnel/x.py", "from provisioning.portal import relay", "vendor's side"),
        ("provisioning/portal/x.py", "from appliance.core import service", "core/errors"),
        ("provisioning/station/x.py", "from appliance.vault import tpm", "core/errors"),
        ("appliance/vault/x.py", "import aiohttp", "no HTTP"),
        ("appliance/records/x.py", "import http.client", "no HTTP"),
        ("appliance/records/x.py", "import sqlcipher3", "one door"),
        ("appliance/practice/x.py", "import tpm2_pytss", "one door"),
        ("appliance/records/x.py", "from pydicom import dcmread", "one door"),
        ("appliance/practice/x.py", "from PIL import Image", "one door"),
        ("appliance/preview/x.py", "from appliance.records import database", "through contracts alone"),
        ("appliance/disk_slot/x.py", "from appliance.vault import keys", "through contracts alone"),
        ("appliance/disk_slot/x.py", "import urllib.request", "no HTTP"),
        ("appliance/vault/x.py", "import shamir_mnemonic", "one door"),
        ("appliance/vault/x.py", "from . import tpm", "whole path"),
    ],
)
def test_each_rule_names_the_import_that_breaks_it(tmp_path, path, source, rule):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    (tmp_path / "provisioning").mkdir(exist_ok=True)
    (tmp_path / "appliance").mkdir(exist_ok=True)
    file.write_text(source)
    broken = broken_rules(tmp_path)
    assert any(rule in sentence and path in sentence for sentence in broken), broken


def test_main_modules_only_wire():
    """`__main__.py` wires and does nothing else: it defines functions, no classes, and stays on one screen."""
    for file in (ROOT / "appliance").glob("*/__main__.py"):
        if file.parent.name == "demo":
            continue
        text = file.read_text(encoding="utf-8")
        assert "class " not in text.replace("dataclass ", ""), file
        assert len(text.splitlines()) <= 120, file


def test_every_process_has_its_row_and_its_unit():
    table = (ROOT / "docs/processes.md").read_text(encoding="utf-8")
    for folder in (ROOT / "appliance").iterdir():
        if not (folder / "__main__.py").exists() or folder.name == "demo":
            continue
        name = folder.name.replace("_", "-")
        assert f"| {name} |" in table, folder.name
        units = [f"praxis-{name}.service", f"praxis-{name}@.service"]
        assert any((ROOT / "systemd" / unit).exists() for unit in units), folder.name
