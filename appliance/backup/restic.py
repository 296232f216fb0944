"""The one door to restic (0.14 and later): runs it, reads its JSON, ends it, and says in codes what went wrong.

Keeps: no password, secret or address in an argument, a log or an error; they go by the environment, which only this
user may read (proc(5)). A caller that is cancelled ends the child: first as Ctrl-C, so that restic removes its lock.
A child that neither reads nor writes for long is killed: a store may accept and then be silent for ever.
Source: restic.readthedocs.io, "Scripting".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from appliance.backup.restic_errors import failure
from appliance.core.errors import PraxisError, Unavailable

HOST = "praxissafe"
MAX_LINE_BYTES = 64 * 1024 * 1024
KEPT_WORDS_BYTES = 16 * 1024
END_TIMEOUT_S = 5.0
RETRYING = b"retrying after"
#: Less than this in `silent_s` is what keeps a connection or a Go program awake, not progress.
LEAST_MOVED_BYTES = 64 * 1024

Lines = Callable[[bytes], None]


@dataclass(frozen=True)
class Access:
    """How restic reaches a store; nothing of it is shown. `options` name no secret."""

    environment: Mapping[str, str] = field(repr=False)
    options: tuple[str, ...] = ()


class Restic:
    """restic with one store and one password."""

    def __init__(
        self,
        program: str,
        access: Access,
        password: str,
        *,
        cache: Path,
        temporary: Path,
        silent_s: float,
    ) -> None:
        self._program = program
        self._silent_s = silent_s
        self._access = access
        self._environment = {
            "PATH": "/usr/bin",
            "LANG": "C.UTF-8",
            "HOME": str(temporary),
            "TMPDIR": str(temporary),
            "RESTIC_CACHE_DIR": str(cache),
            "RESTIC_PROGRESS_FPS": "1",
            "RESTIC_PASSWORD": password,
            **access.environment,
        }

    async def run(
        self, *words: str, folder: Path | None = None, patience_s: float | None = None, on_line: Lines | None = None
    ) -> bytes:
        """Run a command and give what it said; `on_line` gets each line as it comes instead.

        `patience_s` is for a person who waits: restic's own tries (15 minutes) are then not waited for.
        Unavailable("store_away") also after once or twice `silent_s` in which nothing moved.
        """
        child = await asyncio.create_subprocess_exec(
            self._program,
            *self._access.options,
            *words,
            cwd=folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
        )
        said = _Said(child.kill if patience_s is not None else None)
        silence = _Silence(child.pid, self._silent_s)
        watching = asyncio.ensure_future(silence.watch())
        try:
            async with asyncio.timeout(patience_s):
                async with asyncio.TaskGroup() as group:
                    heard = group.create_task(_hear(child.stdout, silence.heard, on_line))
                    group.create_task(said.listen(child.stderr))
                code = await child.wait()
        except TimeoutError:
            raise said.failure("store_away") from None
        finally:
            watching.cancel()
            await _end(child)
        if silence.is_too_long:
            raise Unavailable("store_away")
        if code:
            raise said.failure("store_failed")
        return heard.result()

    async def ask_json(self, *words: str, patience_s: float | None = None) -> Any:
        """Run a command that answers one JSON value."""
        return msgspec.json.decode(await self.run(*words, "--json", patience_s=patience_s))


class _Said:
    """The last of what restic said on standard error."""

    def __init__(self, give_up: Callable[[], None] | None) -> None:
        self._give_up = give_up
        self._words = b""

    async def listen(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None  # noqa: S101 (asked for above)
        async for line in stream:
            self._words = (self._words + line)[-KEPT_WORDS_BYTES:]
            if self._give_up and RETRYING in line:  # it would try again, and a person waits
                with contextlib.suppress(ProcessLookupError):
                    self._give_up()

    def failure(self, otherwise: str) -> PraxisError:
        """Say what went wrong; `otherwise` where the words do not."""
        known = failure(self._words.decode(errors="replace"))
        return Unavailable(otherwise) if known.code == "store_failed" else known


class _Silence:
    """Kills a child that has stopped: what it reads and writes, sockets and files alike, is counted by the kernel.

    What it says to us does not count: `restic backup --json` repeats each second that nothing has changed.
    """

    def __init__(self, pid: int, silent_s: float) -> None:
        self._pid = pid
        self._silent_s = silent_s
        self._heard_bytes = 0
        self.is_too_long = False

    def heard(self, said: bytes) -> None:
        """Note what the child said to us."""
        self._heard_bytes += len(said)

    async def watch(self) -> None:
        """Look until cancelled, or until the child was killed."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended
            before = self._moved_bytes()
            while True:
                await asyncio.sleep(self._silent_s)
                now = self._moved_bytes()
                if now < before + LEAST_MOVED_BYTES:
                    self.is_too_long = True
                    os.killpg(self._pid, signal.SIGKILL)
                    return
                before = now

    def _moved_bytes(self) -> int:
        """Give `rchar` and `wchar` of proc(5), /proc/pid/io, without what was heard."""
        lines = Path(f"/proc/{self._pid}/io").read_text().splitlines()
        counted = dict(line.split(": ") for line in lines)
        return int(counted["rchar"]) + int(counted["wchar"]) - self._heard_bytes


async def _hear(stream: asyncio.StreamReader | None, heard: Callable[[bytes], None], on_line: Lines | None) -> bytes:
    assert stream is not None  # noqa: S101 (asked for above)
    if on_line is None:
        return await stream.read()
    async for line in stream:
        heard(line)
        on_line(line)
    return b""


async def _end(child: asyncio.subprocess.Process) -> None:
    """End restic and what it started; the session is its own (setsid(2))."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT_S):
                await child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
