"""The bench's certificate: new at every start, never in a file system, its fingerprint in the journal."""

from __future__ import annotations

import builtins
import os
import re
from pathlib import Path

import pytest

from appliance.enrol import bench_certificate
from appliance.enrol.bench_certificate import make_bench_context


def test_each_start_has_a_key_of_its_own() -> None:
    assert make_bench_context().certificate_sha256 != make_bench_context().certificate_sha256


def test_the_key_is_in_no_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    really_open, really_open_low = builtins.open, os.open
    monkeypatch.setattr(builtins, "open", lambda *a, **k: opened.append(a[0]) or really_open(*a, **k))
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(a[0]) or really_open_low(*a, **k))
    before = set(os.listdir("/proc/self/fd"))
    make_bench_context()
    assert opened == []
    assert set(os.listdir("/proc/self/fd")) == before
    assert "tempfile" not in Path(bench_certificate.__file__).read_text()


def test_the_journal_says_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("appliance.core.journal.journal.send", lambda line, **_: lines.append(line))
    context = make_bench_context()
    context.say()
    match = re.fullmatch(r"bench_certificate first=x([0-9a-f]{32}) last=x([0-9a-f]{32})", lines[0])
    assert match
    assert bytes.fromhex(match[1] + match[2]) == context.certificate_sha256
