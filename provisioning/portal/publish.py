"""`python -m provisioning.portal.publish`: write the signed file of accepted boxes from a portal's register.

    publish new-key KEY                              make the registry's key; its public half is printed
    publish public-key KEY                           print the public half again: `accepted_key` in relays' settings
    publish write PORTAL.toml KEY OUT [--days N]     write the file once
    publish follow PORTAL.toml KEY OUT [--days N]    write it again within a second of each change, and in time anew

PORTAL.toml is the settings file of the portal that registers. The process listens nowhere and is not the portal's:
that one faces the internet and never sees the registry's key. Exit status: 0 done, 2 wrong input.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nacl.signing

from appliance.core.errors import PraxisError
from provisioning.files import replace_file
from provisioning.portal.accepted import make_accepted, open_accepted, sign_accepted
from provisioning.portal.keys import key_text, read_key
from provisioning.portal.registry import Registry
from provisioning.portal.settings import PortalSettings, read_portal_settings

DAY_S = 86_400
LOOK_INTERVAL_S = 1.0
DEFAULT_DAYS = 14


def main(words: list[str]) -> int:
    """Do what the command line says."""
    chosen = _arguments().parse_args(words)
    try:
        if chosen.command == "new-key":
            _new_key(chosen.key)
        key = _read_key(chosen.key)
        if chosen.command in ("new-key", "public-key"):
            print(key_text(bytes(key.verify_key)))
            return 0
        settings = read_portal_settings(chosen.settings)
    except (PraxisError, OSError) as error:
        reason = error.code if isinstance(error, PraxisError) else error.strerror
        print(f"Not done: {reason}.", file=sys.stderr)
        return 2
    life_s = chosen.days * DAY_S
    if chosen.command == "write":
        print(write(settings, key, chosen.out, life_s, int(time.time())))
        return 0
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    follow(settings, key, chosen.out, life_s, stopped.wait)
    return 0


def write(settings: PortalSettings, key: nacl.signing.SigningKey, out: Path, life_s: int, now: int) -> str:
    """Write the file anew; give the line that says what is in it.

    A file of before that is not signed by `key` for this portal counts as none.
    """
    registry = Registry(Path(settings.state_folder) / "registry", settings.portal_name, settings.stations)
    accepted = make_accepted(
        portal_name=settings.portal_name,
        previous_number=_previous_number(out, bytes(key.verify_key), settings.portal_name),
        made_at=now,
        expires_at=now + life_s,
        records=registry.records(),
        revoked=registry.revocations(),
    )
    replace_file(out, sign_accepted(accepted, key), mode=0o644)
    return (
        f"accepted number={accepted.number} boxes={len(accepted.records)} revoked={len(accepted.revoked)}"
        f" unusable_records={registry.unusable}"
    )


def follow(
    settings: PortalSettings,
    key: nacl.signing.SigningKey,
    out: Path,
    life_s: int,
    wait: Callable[[float], bool],
) -> None:
    """Write the file whenever the register changed or half of its life is over, until `wait` says True."""
    state = Path(settings.state_folder)
    seen: tuple[int, ...] | None = None
    written_at = 0
    while True:
        now = int(time.time())
        looked = tuple(_changed_at(state / name) for name in ("registry", "revoked"))
        if looked != seen or now >= written_at + life_s // 2:
            print(write(settings, key, out, life_s, now), file=sys.stderr, flush=True)
            seen, written_at = looked, now
        if wait(LOOK_INTERVAL_S):
            return


def _changed_at(folder: Path) -> int:
    """A folder's time changes when a name in it comes, goes or gets another file."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _previous_number(out: Path, key: bytes, portal_name: str) -> int:
    try:
        return open_accepted(out.read_bytes(), key, portal_name).number
    except (FileNotFoundError, PraxisError):
        return 0


def _new_key(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key_text(bytes(nacl.signing.SigningKey.generate())) + "\n")


def _read_key(path: Path) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(read_key(path.read_text().strip()))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m provisioning.portal.publish", description=(__doc__ or ""))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("new-key", "public-key"):
        commands.add_parser(name).add_argument("key", type=Path)
    for name in ("write", "follow"):
        command = commands.add_parser(name)
        for word in ("settings", "key", "out"):
            command.add_argument(word, type=Path)
        command.add_argument("--days", type=int, default=DEFAULT_DAYS, choices=range(1, 366), metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
