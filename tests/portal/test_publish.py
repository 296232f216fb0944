"""Writing the file of accepted boxes: by command, and by itself whenever the register changes."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import nacl.signing
import pytest

from provisioning.portal import publish
from provisioning.portal.accepted import Accepted, open_accepted
from provisioning.portal.keys import read_key
from provisioning.portal.registry import Registry
from provisioning.portal.settings import read_portal_settings
from tests.portal.simulated_box import PORTAL_NAME, SimulatedBox
from tests.portal.test_program import write_settings
from tests.portal.test_registry import STATIONS
from tests.portal.test_revocation import revocation

DAY_S = 86_400


def opened(path: Path, key: str) -> Accepted:
    return open_accepted(path.read_bytes(), read_key(key), PORTAL_NAME)


def made_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert publish.main(["new-key", str(folder / "registry.key")]) == 0
    return capsys.readouterr().out.strip()


def test_the_commands_make_a_key_once_and_write_what_the_register_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = made_key(tmp_path, capsys)
    assert (tmp_path / "registry.key").stat().st_mode & 0o777 == 0o600
    assert publish.main(["new-key", str(tmp_path / "registry.key")]) == 2
    assert publish.main(["public-key", str(tmp_path / "registry.key")]) == 0
    assert capsys.readouterr().out.strip() == key
    registry = Registry(tmp_path / "state/registry", PORTAL_NAME, STATIONS)
    kept, gone = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    for box in (kept, gone):
        registry.register(box.record())
    registry.revoke(revocation(gone))
    words = [
        "write",
        str(write_settings(tmp_path)),
        str(tmp_path / "registry.key"),
        str(tmp_path / "out"),
        "--days",
        "3",
    ]
    numbers = []
    for _ in range(2):
        assert publish.main(words) == 0
        accepted = opened(tmp_path / "out", key)
        numbers.append(accepted.number)
        assert [record.box for record in accepted.records] == [kept.box.hex()]
        assert [each.revocation.box for each in accepted.revoked] == [gone.box.hex()]
        assert accepted.expires_at - accepted.made_at == 3 * DAY_S
    assert numbers[1] > numbers[0]
    assert "boxes=1 revoked=1 unusable_records=0" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["settings", "key"])
def test_wrong_input_is_told_and_nothing_is_written(tmp_path: Path, wrong: str) -> None:
    settings = write_settings(tmp_path, "unknown = 1\n" if wrong == "settings" else "")
    (tmp_path / "registry.key").write_text("no key\n" if wrong == "key" else "A" * 43 + "\n")
    assert publish.main(["write", str(settings), str(tmp_path / "registry.key"), str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_each_change_of_the_register_is_written_and_nothing_else(tmp_path: Path) -> None:
    settings = read_portal_settings(write_settings(tmp_path))
    key = nacl.signing.SigningKey.generate()
    registry = Registry(tmp_path / "state/registry", PORTAL_NAME, STATIONS)
    box = SimulatedBox(tmp_path)
    steps = iter(
        (
            lambda: None,
            lambda: registry.register(box.record()),
            lambda: None,
            lambda: registry.revoke(revocation(box)),
            lambda: None,
        )
    )
    seen: list[tuple[int, int]] = []
    numbers: list[int] = []

    def wait(_: float) -> bool:
        accepted = open_accepted((tmp_path / "out").read_bytes(), bytes(key.verify_key), PORTAL_NAME)
        seen.append((len(accepted.records), len(accepted.revoked)))
        numbers.append(accepted.number)
        step = next(steps, None)
        if step is not None:
            step()
        return step is None

    publish.follow(settings, key, tmp_path / "out", 14 * DAY_S, wait)
    assert seen == [(0, 0), (0, 0), (1, 0), (1, 0), (0, 1), (0, 1)]
    assert [second > first for first, second in itertools.pairwise(numbers)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_following_ends_when_it_is_told(tmp_path: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    settings = read_portal_settings(write_settings(tmp_path))
    publish.follow(settings, nacl.signing.SigningKey.generate(), tmp_path / "out", DAY_S, stopped.wait)
    assert (tmp_path / "out").exists()
