"""From nothing to a running box with samples, in order: lock, boot, enrol, claim, upload, share, say so, wait.

Each step waits by asking for what it needs, never for a fixed time. Only ordinary doors are used: the station's
command, the practice's pages, the portal's port. Who calls `run` gets PraxisError for what a person can mend.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from appliance.core.errors import PraxisError, Unavailable
from appliance.demo import staff
from appliance.demo.authority import lay_authority, read_roots
from appliance.demo.browser import Page, open_browser
from appliance.demo.console import Progress, Ready, read_console, write_console
from appliance.demo.container import boot, end_leftover
from appliance.demo.enrolment import enrol, read_sheet, station_key
from appliance.demo.places import PORTAL_NAME, REPOSITORY, Places, Ports
from appliance.demo.processes import host_pids, leader
from appliance.demo.release import lay_release
from appliance.demo.tpm_maker import lay_tpm
from appliance.demo.tree import MACHINE_TARGET, binds, lay_tree

TOOLS = ("systemd-nspawn", "unshare", "setpriv", "nsenter", "swtpm", "swtpm_setup", "pebble")
READY_TIMEOUT_S = 90.0
ASK_AGAIN_S = 0.05


def explain(error: PraxisError, places: Places) -> str:
    """Say in a sentence what happened and what to do."""
    log = f"What systemd said is in {places.console_log}, the journal in {places.journal}."
    sentences = {
        "running": f"A demo already runs on {places.state}; end it first, or name another --state.",
        "port_taken": f"Port {error.details.get('port')} is taken on this machine; choose another --port-base.",
        "ports_kept": f"The box in {places.state} was enrolled with --port-base {error.details.get('base')} and "
        "keeps it; start it with that, or name another --state.",
        "tool_missing": "systemd-nspawn, nsenter, swtpm, swtpm_setup or pebble is missing; `make setup` brings it.",
        "tpm_maker": f"swtpm_setup could not make a TPM in {places.world}; try it there by hand to see why.",
        "tpm_kept": f"The box in {places.state} has a TPM without a maker; remove that folder to begin anew.",
        "unreadable": "The box's processes run as users of their own and must be able to read the program: "
        f"chmod -R go+rX {REPOSITORY}",
        "container": f"The container ended by itself. {log}",
        "not_ready": f"The box was not ready in {READY_TIMEOUT_S:.0f} s. {log}",
        "enrolment": "The technician's station could not enrol the box: "
        f"{places.run / 'station.log'} says why. {log}",
        "console": f"{places.console} does not fit this box; remove {places.state} to begin anew.",
    }
    return sentences.get(error.code, f"The demo failed ({error}). {log}")


async def run(places: Places, ports: Ports, *, as_json: bool, empty: bool) -> None:
    """Run the box until SIGTERM or SIGINT."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine that runs is in a task)
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, task.cancel)
    with contextlib.suppress(asyncio.CancelledError), _lock(places):
        await _run_locked(places, ports, as_json=as_json, empty=empty)


async def _run_locked(places: Places, ports: Ports, *, as_json: bool, empty: bool) -> None:
    progress = Progress(coloured=sys.stderr.isatty())
    await end_leftover(places.run)
    console = read_console(places.console)
    if console is not None and console.port_base != ports.base:
        raise Unavailable("ports_kept", base=console.port_base)
    _check_machine(ports)
    lay_release(places)
    lay_tpm(places)
    lay_authority(places)
    lay_tree(places, ports, [station_key(places.station)])
    name = f"praxissafe-{ports.base}"
    async with boot(places.run, places.tree, binds(places), MACHINE_TARGET, name, Path(sys.executable)) as container:
        ending = asyncio.ensure_future(container.wait())
        working = asyncio.ensure_future(_make_ready(places, ports, progress, empty=empty))
        try:
            await asyncio.wait({ending, working}, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                raise Unavailable("container")
            if not working.done():
                raise Unavailable("not_ready")
            ready = working.result()
            if as_json:
                print(msgspec.json.encode(ready).decode(), flush=True)
            else:
                progress.show(ready)
            await ending
            raise Unavailable("container")
        finally:
            for task in (working, ending):
                task.cancel()
            await asyncio.gather(working, ending, return_exceptions=True)
            if not as_json:
                progress.step("Ending.")


async def _make_ready(places: Places, ports: Ports, progress: Progress, *, empty: bool) -> Ready:
    progress.step("The container boots.")
    provisioned = places.box / "vault/provisioned"
    console = read_console(places.console)
    if not provisioned.exists():
        console = await enrol(places, ports)
        progress.step(f"The technician has enrolled box {console.box}; the portal knows it.")
    console = console or read_sheet(places, ports)
    write_console(places.console, console)
    practice_url = f"https://{console.lan_host}:{ports.practice}/"
    practice_ca = places.box / "practice/lan-ca.pem"
    await _until(practice_ca.exists)
    link = pin = ""
    async with open_browser(practice_ca) as browser:
        await _until_opens(browser.open, practice_url)
        progress.step("The practice page answers.")
        if not empty or console.claimed:
            if not console.claimed:
                console.password = console.password or secrets.token_urlsafe(15)
                write_console(places.console, console)
                await staff.claim(browser, practice_url, console)
                console.claimed = True
                write_console(places.console, console)
                progress.step("Staff member Demo has claimed the box.")
            else:
                await staff.log_in(browser, practice_url, console)
            if not console.patient:
                console.patient = await staff.upload_samples(browser, practice_url)
                write_console(places.console, console)
                progress.step("The sample documents are uploaded.")
            link, pin = await staff.share(browser, console.patient)
            progress.step("A new share is made.")
    portal_ca = await _bundle(places, ports)
    async with open_browser(portal_ca) as browser:
        await _until_opens(browser.open, f"https://{console.page_host}:{ports.portal}/")
    progress.step("The patient page answers through the portal.")
    return Ready(
        practice_url=practice_url,
        practice_ca=str(practice_ca),
        claim_code=console.claim_code,
        staff=console.name if console.claimed else "",
        password=console.password if console.claimed else "",
        patient_link=link,
        pin=pin,
        portal_address=f"127.0.0.1:{ports.portal}",
        portal_name=PORTAL_NAME,
        portal_ca=str(portal_ca),
        box=console.box,
        page_host=console.page_host,
        lan_host=console.lan_host,
        state=str(places.state),
        container=leader(places.state),
        pids=host_pids(places.state),
    )


async def _bundle(places: Places, ports: Ports) -> Path:
    """Write the authorities behind the portal's port: its own, and those that sign the page's certificate."""
    own = places.world / "portal/portal-ca.pem"
    await _until(own.exists)
    while True:
        with contextlib.suppress(Unavailable):
            roots = await read_roots(places, ports)
            break
        await asyncio.sleep(ASK_AGAIN_S)
    bundle = places.run / "portal-ca.pem"
    bundle.write_bytes(own.read_bytes() + roots)
    return bundle


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (another program makes it true; it cannot set an event of ours)
        await asyncio.sleep(ASK_AGAIN_S)


async def _until_opens(open_page: Callable[[str], Awaitable[Page]], url: str) -> None:
    """Ask for a page until it is there; the whole is bounded by READY_TIMEOUT_S."""
    while True:
        with contextlib.suppress(Unavailable):
            if (await open_page(url)).status == 200:
                return
        await asyncio.sleep(ASK_AGAIN_S)


@contextlib.contextmanager
def _lock(places: Places) -> Iterator[None]:
    """Hold the state folder; Unavailable("running") if another demo does. The kernel lets go when we end."""
    places.make()
    with places.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable("running") from error
        yield


def _check_machine(ports: Ports) -> None:
    """Say beforehand what would fail later in a less clear way."""
    if not all(shutil.which(tool) for tool in TOOLS):
        raise Unavailable("tool_missing")
    if not all(path.stat().st_mode & 0o004 for path in (Path(__file__), REPOSITORY / ".venv/pyvenv.cfg")):
        raise Unavailable("unreadable")
    for port in ports.all:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise Unavailable("port_taken", port=port) from error
