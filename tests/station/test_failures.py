"""Every failure is said: what happened and what to do, in German and English, with a status of its own.

SCENARIOS has one way to each failure that the station has words for; each is really met, by the command itself. A code
that the station raises, or that box or portal may answer, and that has no words, fails the second half.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.core.errors import FAMILIES, Invalid, PraxisError, Refused, Tampered, Unavailable
from provisioning import files
from provisioning.portal.routes import CONFLICTS
from provisioning.station import enrol as station_enrol
from provisioning.station import texts
from provisioning.station.__main__ import EXIT_STATUSES, INTERRUPTED, main
from provisioning.station.station_key import make_station_key
from provisioning.station.workbench import Workbench
from tests.enrol.simulated_bench import ORDER
from tests.portal.simulated_box import PORTAL_NAME, portal_in
from tests.station.technician import ROOT, SERIAL, Technician, practice_page, technician

NOWHERE = "/nowhere/file"
GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
TEAPOT = b"HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\n\r\n[]"

Prepare = Callable[[Technician, contextlib.AsyncExitStack], Awaitable[list[str]]]
SCENARIOS: dict[str, tuple[type[PraxisError], Prepare]] = {}


def scenario(family: str, code: str) -> Callable[[Prepare], Prepare]:
    def add(prepare: Prepare) -> Prepare:
        SCENARIOS[code] = (FAMILIES[family], prepare)
        return prepare

    return add


def typed(family: str, code: str, *more: str) -> None:
    """A failure that the command line alone brings about."""

    async def prepare(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
        return at_bench.words(*more)

    SCENARIOS[code] = (FAMILIES[family], prepare)


def answered(family: str, code: str, failure: PraxisError) -> None:
    """A failure that the box answers with."""

    async def prepare(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
        at_bench.bench.vault.failure = failure
        return at_bench.words()

    SCENARIOS[code] = (FAMILIES[family], prepare)


typed("Invalid", "address", "--enrol=box")
typed("Invalid", "serial", "--serial=ps")
typed("Unavailable", "box_away", "--enrol=127.0.0.1:1")
typed("Unavailable", "portal_away", "--portal=127.0.0.1:1")
typed("Tampered", "bench_certificate", f"--enrol-sha256={'00' * 32}")
typed("Invalid", "portal_name", "--portal-name=Not A Name")
typed("Invalid", "portal_ca", f"--portal-ca={NOWHERE}")
typed("Invalid", "device_record", "--page-host=Praxis")
typed("NotFound", "station_key", f"--key={NOWHERE}")
typed("Invalid", "settings", f"--settings={NOWHERE}")
answered("Invalid", "order", Invalid("order"))
answered("Invalid", "host", Invalid("host"))
answered("Refused", "secure_boot", Refused("secure_boot"))
answered("Invalid", "release_keys", Invalid("release_keys"))
answered("Tampered", "tpm_owned", Tampered("tpm_owned"))
answered("Tampered", "boot_image", Tampered("boot_image"))
answered("Tampered", "boot_parameters", Tampered("boot_parameters"))
answered("Tampered", "release_signature", Tampered("release_signature"))
answered("Unavailable", "otherwise", Unavailable("storage"))


@scenario("Invalid", "arguments")
async def _(_: Technician, __: contextlib.AsyncExitStack) -> list[str]:
    return ["enrol", "--enrol=127.0.0.1:1", "--serial=PS-0001"]


async def listed(at_bench: Technician, text: str) -> list[str]:
    (at_bench.folder / "boxes.txt").write_text(text)
    return ["enrol-all", f"--settings={at_bench.write_settings()}", f"--boxes={at_bench.folder / 'boxes.txt'}"]


@scenario("Invalid", "boxes")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    return await listed(at_bench, "PS-0001\n")


@scenario("Invalid", "boxes_twice")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    return await listed(at_bench, "PS-0001 a:1\nPS-0001 a:2\n")


@scenario("Unavailable", "box_answer")
async def _(at_bench: Technician, stack: contextlib.AsyncExitStack) -> list[str]:
    port = await stack.enter_async_context(practice_page(at_bench.folder, "stranger.example", GARBAGE))
    return at_bench.words(f"--enrol=127.0.0.1:{port}")


@scenario("Unavailable", "portal_answer")
async def _(at_bench: Technician, stack: contextlib.AsyncExitStack) -> list[str]:
    port = await stack.enter_async_context(practice_page(at_bench.folder, PORTAL_NAME, TEAPOT))
    return at_bench.words(f"--portal=127.0.0.1:{port}", f"--portal-ca={at_bench.folder / 'practice.pem'}")


@scenario("Tampered", "portal_certificate")
async def _(at_bench: Technician, stack: contextlib.AsyncExitStack) -> list[str]:
    (at_bench.folder / "stranger").mkdir()
    stranger = await stack.enter_async_context(portal_in(at_bench.folder / "stranger"))
    return at_bench.words(f"--portal=127.0.0.1:{stranger.port}")


@scenario("Refused", "station")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    make_station_key(at_bench.folder / "other.key")
    return at_bench.words(f"--key={at_bench.folder / 'other.key'}")


@scenario("Refused", "provisioned")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    at_bench.bench.vault.finished = True
    return at_bench.words()


@scenario("Refused", "ticket")
async def _(at_bench: Technician, stack: contextlib.AsyncExitStack) -> list[str]:
    really_register = station_enrol.register

    async def register(*arguments: str | bytes) -> None:
        await really_register(*arguments)  # type: ignore[arg-type]
        await at_bench.bench.ask("POST", "/enrol", json=ORDER | {"portal_name": "stranger.example"})

    stack.enter_context(pytest.MonkeyPatch.context()).setattr(station_enrol, "register", register)
    return at_bench.words()


async def enrolled(at_bench: Technician, *, elsewhere: bool = False, now: int = 1000, **changes: object) -> None:
    """Enrol the box, at this station or at another one, and let the next one begin."""
    folder = at_bench.folder / ("elsewhere" if elsewhere else "boxes")
    await replace(at_bench, station=replace(at_bench.station, workbench=Workbench(folder)), told=[]).enrol(
        now, **changes
    )
    at_bench.bench.vault.finished = False


def another_key(at_bench: Technician) -> None:
    at_bench.bench.vault.key = ec.generate_private_key(ec.SECP256R1())


@scenario("Refused", "box_taken")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench, elsewhere=True)
    another_key(at_bench)
    return at_bench.words()


@scenario("Refused", "device_key_taken")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench, elsewhere=True)
    at_bench.bench.vault.box = "cd" * 16
    return at_bench.words()


@scenario("Refused", "host_name_taken")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench, elsewhere=True, page_host="page.localhost")
    another_key(at_bench)
    at_bench.bench.vault.box = "cd" * 16
    return at_bench.words("--page-host=page.localhost")


@scenario("Refused", "record_superseded")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench, elsewhere=True, now=1 << 40)
    return at_bench.words()


@scenario("Refused", "key_enrolled")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench)
    return at_bench.words("--serial=PS-0002")


@scenario("Refused", "serial_used")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench)
    return at_bench.words()


async def begun(at_bench: Technician) -> None:
    at_bench.bench.vault.failure = Unavailable("storage")
    with pytest.raises(Unavailable):
        await at_bench.enrol()


@scenario("Refused", "serial_taken")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await begun(at_bench)
    another_key(at_bench)
    return at_bench.words()


@scenario("Refused", "not_finished")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await begun(at_bench)
    return ["sheet", f"--folder={at_bench.folder / 'boxes'}", SERIAL]


@scenario("NotFound", "serial_unknown")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    return ["hand-over", f"--folder={at_bench.folder / 'boxes'}", SERIAL]


@scenario("Refused", "handed_over")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench)
    for command in ("sheet", "hand-over"):
        assert await asyncio.to_thread(main, [command, f"--folder={at_bench.folder / 'boxes'}", SERIAL]) == 0
    return at_bench.words()


@scenario("Unavailable", "busy")
async def _(at_bench: Technician, stack: contextlib.AsyncExitStack) -> list[str]:
    stack.enter_context(at_bench.workbench.hold(SERIAL))
    return at_bench.words()


@scenario("Invalid", "device_key")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    at_bench.bench.vault.key = ec.generate_private_key(ec.SECP384R1())
    return at_bench.words()


@scenario("Invalid", "record_file")
async def _(_: Technician, __: contextlib.AsyncExitStack) -> list[str]:
    return ["words", NOWHERE]


@scenario("Invalid", "folder")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    (at_bench.folder / "a file").write_bytes(b"")
    return at_bench.words(f"--folder={at_bench.folder / 'a file'}")


@scenario("Unavailable", "disk_full")
async def _(at_bench: Technician, stack: contextlib.AsyncExitStack) -> list[str]:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "")

    stack.enter_context(pytest.MonkeyPatch.context()).setattr(files.os, "fsync", fsync)
    return at_bench.words()


async def with_file(at_bench: Technician, name: str, content: bytes) -> list[str]:
    at_bench.files.folder.mkdir(parents=True)
    (at_bench.files.folder / name).write_bytes(content)
    return at_bench.words()


@scenario("Invalid", "state")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    return await with_file(at_bench, "state.json", b"a letter")


@scenario("Invalid", "sheet")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    return await with_file(at_bench, "sheet.json", b"a letter")


@scenario("Refused", "sheet_taken")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    await enrolled(at_bench, serial="PS-0002")
    return await with_file(at_bench, "sheet.json", at_bench.workbench.files("PS-0002").sheet.read_bytes())


@scenario("Refused", "key_open")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    (at_bench.folder / "station.key").chmod(0o644)
    return at_bench.words()


@scenario("Refused", "key_exists")
async def _(at_bench: Technician, _: contextlib.AsyncExitStack) -> list[str]:
    return ["new-key", f"--key={at_bench.folder / 'station.key'}"]


@scenario("Invalid", "key_folder")
async def _(_: Technician, __: contextlib.AsyncExitStack) -> list[str]:
    return ["new-key", f"--key={NOWHERE}"]


@scenario("Unavailable", "interrupted")
async def _(at_bench: Technician, stack: contextlib.AsyncExitStack) -> list[str]:
    def interrupt(run: Coroutine[None, None, None]) -> None:
        run.close()
        raise KeyboardInterrupt

    stack.enter_context(pytest.MonkeyPatch.context()).setattr("provisioning.station.commands.asyncio.run", interrupt)
    return at_bench.words()


@pytest.mark.parametrize("code", sorted(SCENARIOS))
async def test_a_failure_says_what_happened_and_what_to_do_in_both_languages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    family, prepare = SCENARIOS[code]
    async with technician(tmp_path) as at_bench, contextlib.AsyncExitStack() as stack:
        words = await prepare(at_bench, stack)
        capsys.readouterr()
        status = await asyncio.to_thread(main, words)
        said, complained = capsys.readouterr()
        assert status == (INTERRUPTED if code == "interrupted" else EXIT_STATUSES[family]), complained
        shown = "storage" if code == "otherwise" else code
        assert f"({family.family}: {shown})" in complained
        for language in texts.LANGUAGES:
            advice = texts.texts_in(language).advice(code, {"serial": SERIAL, "line": 1} | facts_of(code))
            assert f"{advice.what} {advice.todo}\n" in complained
        assert "Traceback" not in complained
        claim_codes = [f"CODE-{number + 1}" for number in range(len(at_bench.bench.vault.orders))]
        states = [path.read_text() for path in tmp_path.rglob("state.json")]
        for secret in (*claim_codes, (tmp_path / "station.key").read_text().strip()):
            assert not any(secret in text for text in (said, complained, *states))


def facts_of(code: str) -> dict[str, str | int]:
    return {"line": 2} if code == "boxes_twice" else {}


# --- no failure without words ------------------------------------------------------------------------------------


def test_every_failure_that_has_words_is_met_above() -> None:
    for language in texts.LANGUAGES:
        assert texts.texts_in(language).failures == set(SCENARIOS)


def test_both_catalogues_have_the_same_keys_and_whole_sentences() -> None:
    german, english = (texts.texts_in(language) for language in texts.LANGUAGES)
    assert german.keys() == english.keys()
    for code in german.failures:
        pairs = (german.advice(code, {}), english.advice(code, {}))
        for advice in pairs:
            assert advice.what.endswith(".")
            assert advice.todo.endswith(".")
        assert pairs[0].what != pairs[1].what
        assert pairs[0].todo != pairs[1].todo


def test_every_code_the_station_raises_has_its_words() -> None:
    folder = Path(texts.__file__).parent
    codes = {
        argument.value
        for file in (*folder.glob("*.py"), ROOT / "appliance/formats/device_record.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILIES
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    assert len(codes) > 30
    assert codes - {"portal"} <= set(SCENARIOS)  # "portal" is the portal's own; it answers "station" for it


def test_what_the_portal_and_the_box_may_answer_has_its_words() -> None:
    assert {*CONFLICTS, "station"} <= set(SCENARIOS)
    page = (ROOT / "docs/formats/enrolment.md").read_text()
    for code in ("order", "host", "provisioned", "ticket"):
        assert f"`{code}`" in page
        assert code in SCENARIOS


@pytest.mark.parametrize("code", ["\x1b[2J", "Code", "a" * 65, ""])
async def test_what_a_stranger_on_the_cable_says_is_never_shown(tmp_path: Path, code: str) -> None:
    body = b'{"family": "Refused", "code": %s}' % ascii(code).replace("'", '"').replace("\\x1b", "\\u001b").encode()
    answer = b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with technician(tmp_path) as at_bench, practice_page(tmp_path, "stranger.example", answer) as port:
        with pytest.raises(Unavailable, match="box_answer"):
            await at_bench.enrol(bench_address=f"127.0.0.1:{port}")


# --- real ones ---------------------------------------------------------------------------------------------------


async def test_a_run_that_the_technician_interrupts_says_so_and_goes_on(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.may_answer.clear()
        process = await asyncio.create_subprocess_exec(
            # As a terminal starts it: what runs in the background of a script inherits SIGINT ignored (env(1)).
            *("env", "--default-signal=INT"),
            *(sys.executable, "-m", "provisioning.station", *at_bench.words()),
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        while not at_bench.bench.vault.finished:
            await asyncio.sleep(0)
        process.send_signal(signal.SIGINT)
        complained = (await process.stderr.read()).decode()
        assert await process.wait() == INTERRUPTED
        assert "Mit resume fortsetzen" in complained
        assert "Traceback" not in complained
        assert at_bench.progress.has("registered")
        assert not at_bench.progress.has("closed")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
async def test_a_disk_that_is_full_loses_nothing_and_the_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        boxes = at_bench.folder / "boxes"
        boxes.mkdir()
        words = [sys.executable, "-m", "provisioning.station", *at_bench.words("--paper=de")]
        script = (
            f"mount -t tmpfs -o size=64k,mode=0700 none {boxes} && "
            f"{{ dd if=/dev/zero of={boxes}/fill bs=4k count=$1 2>/dev/null; "
            '"${@:2}"; echo $? >&2; rm -f ' + f"{boxes}/fill; "
            '"${@:2}"; echo $? >&2; cat ' + f"{boxes}/{SERIAL}/sheet.json; }}"
        )
        for pages_free in (0, 2, 8):
            at_bench.bench.vault.finished = False
            process = await asyncio.create_subprocess_exec(
                *("unshare", "--mount", "bash", "-c", script, "bash", str(16 - pages_free), *words),
                cwd=ROOT,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            said, complained = (stream.decode() for stream in await process.communicate())
            assert "(Unavailable: disk_full)" in complained, (pages_free, complained)
            assert complained.rstrip().endswith("\n0"), (pages_free, complained)
            assert at_bench.bench.vault.claim_code in said
            assert '"finished":true' in said
