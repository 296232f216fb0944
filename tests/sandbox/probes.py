"""Probes: programs of the tests that run inside the container with exactly the sandbox of a unit, or with none.

`probe-<name>.service` is the text that systemd has loaded for a unit (`systemctl cat`: file, then drop-ins), of which
only what starts and watches the program is replaced. It runs as the same user in namespaces of the same making. Its
standard input and output are a Unix socket of the test (systemd.exec(5), StandardInput=file:), which brings the program
and carries questions and answers, a line of JSON each. Probes use the running box's own folders and leave them as
they were; their units live in /run/systemd/system and go with the test session.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.demo.processes import inside, leader

ROOT = Path(__file__).parents[2]
FOLDER = Path("/run/praxissafe-probe")
UNITS = Path("/run/systemd/system")
ANSWER_TIMEOUT_S = 60
PYTHON = "/usr/lib/praxissafe/.venv/bin/python -EsB"
#: Reads its program from standard input. Nothing here may need more than the narrowest unit grants.
BOOTSTRAP = (
    "import json, sys, types\n"
    "for name, source in json.loads(sys.stdin.readline()):\n"
    "    module = sys.modules['__main__' if name == 'main' else name] = types.ModuleType(name)\n"
    "    module.__path__ = []\n"
    "    exec(compile(source, name, 'exec'), module.__dict__)\n"
    "module.main()\n"
)
#: What starts and watches a program, or ties it to other units; everything else of a unit is its sandbox.
NOT_SANDBOX = {
    "ExecStart",
    "Type",
    "NotifyAccess",
    "WatchdogSec",
    "WatchdogSignal",
    "Restart",
    "RestartSec",
    "RuntimeMaxSec",
    "Sockets",
}

Modules = Sequence[tuple[str, Path | None]]


class Probe:
    """The conversation with a probe that runs; made by `Probes.start`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")

    def ask(self, question: Any) -> Any:
        """Send a question, give the answer."""
        self.tell(question)
        line = self._lines.readline()
        assert line, "the probe ended; its unit's journal says why"
        return json.loads(line)

    def tell(self, words: Any) -> None:
        self._connection.sendall(json.dumps(words).encode() + b"\n")

    def hear(self) -> Any:
        return json.loads(self._lines.readline())


class Probes:
    """The probes of one box."""

    def __init__(self, state: Path) -> None:
        self.enter = inside(state)
        self.root = Path(f"/proc/{leader(state)}/root")

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command as root in the container; give what it says, standard error included."""
        done = subprocess.run(
            [*self.enter, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    def here(self, path: Path | str) -> Path:
        """Give a path of the container as seen from here; for sockets, too."""
        return self.root / str(path).lstrip("/")

    def sandbox_of(self, unit: str) -> str:
        """Give the [Service] lines of a unit that make its sandbox, in the order in which systemd read them."""
        section, kept = "", []
        for line in self.run("systemctl", "cat", "--no-pager", unit).splitlines():
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and line[0] not in "#;":
                assert not line.endswith("\\"), line
                if line.partition("=")[0] not in NOT_SANDBOX:
                    kept.append(line)
        return "\n".join(kept)

    def write_unit(self, name: str, text: str) -> None:
        """Write a unit file; `reload` makes systemd read it."""
        path = self.here(UNITS / name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def write_probe(self, name: str, sandbox: str, more: str = "") -> None:
        """Write `probe-<name>.service` with these [Service] lines."""
        self.here(FOLDER).mkdir(mode=0o755, exist_ok=True)
        self.write_unit(
            f"probe-{name}.service",
            "[Unit]\nDescription=Probe\nStartLimitIntervalSec=0\n"
            f"[Service]\n{sandbox}\n{more}\nType=exec\nExecStart={PYTHON} -c {_quoted(BOOTSTRAP)}\n"
            f"StandardInput=file:{FOLDER}/{name}.sock\nStandardOutput=file:{FOLDER}/{name}.sock\n"
            "StandardError=journal\n",
        )

    def reload(self) -> None:
        self.run("systemctl", "daemon-reload")

    @contextmanager
    def start(self, name: str, modules: Modules) -> Iterator[Probe]:
        """Start `probe-<name>.service` with a program: modules in the order of need, the last has `main()`."""
        path = self.here(FOLDER / f"{name}.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            try:
                listener.listen()
                listener.settimeout(ANSWER_TIMEOUT_S)
                self.run("systemctl", "start", "--no-block", f"probe-{name}.service")
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    raise AssertionError(self.run("journalctl", "-u", f"probe-{name}.service", "-n", "20")) from None
            finally:
                path.unlink()
        try:
            with connection:
                connection.settimeout(ANSWER_TIMEOUT_S)
                probe = Probe(connection)
                probe.tell([(name, path.read_text(encoding="utf-8") if path else "") for name, path in modules])
                yield probe
        finally:
            self.run("systemctl", "stop", f"probe-{name}.service")

    def remove(self) -> None:
        """Take away every trace."""
        self.run("systemctl", "stop", "probe-*")
        for path in self.here(UNITS).glob("probe-*"):
            path.unlink()
        shutil.rmtree(self.here(FOLDER), ignore_errors=True)
        self.reload()


def _quoted(source: str) -> str:
    """Write a program as one word of ExecStart= (systemd.service(5), "Command lines")."""
    escaped = source.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    return f'"{escaped.replace("$", "$$")}"'
