"""A process that holds passed sockets, taken over by an attacker who commands it through them: a program for a probe.

It begins as the process itself does: confine, then take what systemd and tunnel pass. Each connection brings a line,
"connection|listener ACT PORT": which of the two sockets to misuse, and how (tests/core/ways_out.py). Every act is done in
a child, and said as a line of JSON: what was tried, on which socket, and how it went.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import sys
from typing import Any

from systemd import daemon

from appliance.contracts.gateway import GATEWAY, TakeConnection
from appliance.core.confine import confine_passed_sockets
from appliance.core.varlink import Caller, Done, Interface, serve
from tests.core import ways_out


class Told:
    """Standard output of a child: lines become answers."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer, self._text = answer, ""

    def write(self, text: str) -> None:
        self._text += text
        if self._text.endswith("\n"):
            line = json.dumps(self._answer | {"said": self._text.rstrip("\n")})
            os.write(1, line.encode() + b"\n")
            self._text = ""

    def flush(self) -> None:
        pass


def obey(connection: socket.socket, listener: socket.socket | None, caller: str = "") -> None:
    """Do what the connection's line says, in a child; the caller closes both sockets."""
    connection.setblocking(True)
    victim, act, port = connection.recv(200).decode().split()
    if os.fork():
        return
    try:
        os.dup2(os.pipe()[0], 0)  # a door stays open until standard input ends: never, here
        sys.stdout = Told({"victim": victim, "act": act, "caller": caller})  # type: ignore[assignment, unused-ignore]
        sock = listener if victim == "listener" else connection
        assert sock is not None
        ways_out.attempt(act, "free", sock, int(port))  # confined already, if at all
    finally:
        os._exit(0)


async def take_connections(local: socket.socket) -> None:
    """Take what tunnel passes, by gateway's own verb."""

    async def answer_take_connection(_: TakeConnection, caller: Caller, descriptor: int) -> Done:
        with socket.socket(fileno=descriptor) as connection:
            obey(connection, None, caller.process)
        return Done()

    one = Interface(GATEWAY.name, {TakeConnection.__name__: TakeConnection}, GATEWAY.description)
    await serve(local, [(one, {TakeConnection: answer_take_connection})])


def accept_connections(listeners: list[socket.socket]) -> None:
    """Accept on the listeners that systemd passed; each serves once."""
    waiting = dict(zip(map(socket.socket.fileno, listeners), listeners, strict=True))
    while waiting:
        for descriptor in select.select(list(waiting), [], [])[0]:
            with waiting.pop(descriptor) as listener:
                listener.setblocking(True)
                with listener.accept()[0] as connection:
                    obey(connection, listener)
    sys.stdin.read()


def main() -> None:
    if json.loads(sys.stdin.readline())["confined"]:
        confine_passed_sockets().say()
    passed = daemon.listen_fds_with_names()
    sockets = {
        name: [socket.socket(fileno=fd) for fd, of in passed.items() if of == name] for name in ("local", "lan")
    }
    print(json.dumps("ready"), flush=True)
    if sockets["lan"]:
        accept_connections(sockets["lan"])
    else:
        asyncio.run(take_connections(sockets["local"][0]))
