"""The answering end: a table of verbs, and for each who may ask.

Order for every connection: the peer's uid is read from the kernel (SO_PEERCRED, unix(7)) before the first byte is
parsed; a uid that is no caller of any verb is hung up on. Then, for every call: verb known, caller listed,
parameters strict, descriptors counted exactly. A failure of the five families is answered; anything else is a
bug and ends the process.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.core.errors import Invalid, NotFound, PraxisError, Refused
from appliance.core.journal import say
from appliance.core.metrics import Counter
from appliance.core.varlink.call import Call, Interface
from appliance.core.varlink.message import (
    CallMessage,
    Channel,
    ReplyMessage,
    decode_call,
    encode_error,
    encode_json,
)
from appliance.core.varlink.stream import Stream

MAX_CONNECTIONS = 256
IDLE_TIMEOUT_S = 60.0
USER_PREFIX = "praxis-"
SERVICE_INTERFACE = "org.varlink.service"
SERVICE_DESCRIPTION = """interface org.varlink.service
method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)
method GetInterfaceDescription(interface: string) -> (description: string)
"""

_CREDENTIALS = struct.Struct("3i")
_calls = Counter("local_calls_total", "Local calls by how they ended.", ["answered", "failed", "refused"])

#: verb -> answer(call, caller[, stream or descriptor]); a verb that takes bytes or none gives its reply.
Answers = Mapping[type[Call[Any]], Callable[..., Awaitable[Any]]]


@dataclass(frozen=True)
class Caller:
    """Who asks, as the kernel says: the process's name ("records", or "root")."""

    process: str


def known_callers() -> dict[int, str]:
    """Give uid -> process name for every `praxis-…` user of this system, and root."""
    users = {user.pw_uid: user.pw_name for user in pwd.getpwall() if user.pw_name.startswith(USER_PREFIX)}
    return {0: "root"} | {uid: name.removeprefix(USER_PREFIX) for uid, name in users.items()}


def peer_uid(sock: socket.socket) -> int:
    """Give the uid of the process that connected (SO_PEERCRED, unix(7))."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


async def serve(
    listener: socket.socket,
    served: Sequence[tuple[Interface, Answers]],
    callers: Mapping[int, str] | None = None,
) -> None:
    """Answer on `listener` until cancelled; the caller closes it.

    `listener` must be listening already (systemd does that): this never calls listen(2).
    """
    server = _Server(served, known_callers() if callers is None else callers)
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    places = asyncio.Semaphore(MAX_CONNECTIONS)
    async with asyncio.TaskGroup() as group:
        while True:
            await places.acquire()
            sock, _ = await loop.sock_accept(listener)
            group.create_task(server.attend(sock)).add_done_callback(lambda _: places.release())


async def answer_connection(
    sock: socket.socket,
    served: Sequence[tuple[Interface, Answers]],
    callers: Mapping[int, str] | None = None,
) -> None:
    """Answer on one connection that systemd accepted (Accept=yes, systemd.socket(5)); closes it."""
    await _Server(served, known_callers() if callers is None else callers).attend(sock)


class _Server:
    def __init__(self, served: Sequence[tuple[Interface, Answers]], callers: Mapping[int, str]) -> None:
        self._callers = callers
        self._descriptions = {interface.name: interface.description for interface, _ in served}
        self._descriptions[SERVICE_INTERFACE] = SERVICE_DESCRIPTION
        self._verbs: dict[str, tuple[type[Call[Any]], Callable[..., Awaitable[Any]]]] = {}
        for interface, answers in served:
            for verb in interface.verbs.values():
                self._verbs[interface.method(verb)] = verb, answers[verb]

    async def attend(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        channel = Channel(sock)
        try:
            process = self._callers.get(peer_uid(sock))
            if process is None:
                say("local_caller_unknown", priority="warning")
                return
            while True:
                try:
                    async with asyncio.timeout(IDLE_TIMEOUT_S):
                        raw = await channel.receive()
                    if not raw or not await self._answer(channel, raw, Caller(process)):
                        return
                except Invalid as error:  # bytes that are no message: say so and hang up
                    await channel.send(encode_error(error))
                    return
        except (OSError, TimeoutError):  # the asking side left or fell silent; there is nobody to tell
            return
        finally:
            channel.close()

    async def _answer(self, channel: Channel, raw: bytes, caller: Caller) -> bool:
        """Answer one call; False if the connection is used up."""
        upgraded = False
        try:
            message = decode_call(raw)
            if message.method.startswith(SERVICE_INTERFACE + "."):
                return await self._answer_service(channel, message)
            verb, answer = self._verb(message, caller)
            call = _parameters(message, verb)
            arguments = self._arguments(channel, verb)
            if verb.stream != "none":
                upgraded = True
                await channel.send(encode_json(ReplyMessage()))
            reply = await _answered(answer(call, caller, *arguments))
            if verb.stream == "out":
                await Stream(channel).complete()
            else:
                await channel.send(encode_json(ReplyMessage(msgspec.Raw(encode_json(reply)))))
            _calls.add("answered")
        except PraxisError as error:
            _calls.add("refused" if isinstance(error, Refused) else "failed")
            if error.code in {"stream_broken", "peer_lost"} and upgraded:
                return False
            if upgraded and verb.stream == "out":
                await Stream(channel).fail(error)
            else:
                await channel.send(encode_error(error))
            if upgraded:
                channel.sock.shutdown(socket.SHUT_RD)  # a sender in the middle of its bytes stops and reads why
            return not upgraded
        finally:
            for descriptor in channel.take_descriptors():
                os.close(descriptor)
        return not upgraded

    def _verb(self, message: CallMessage, caller: Caller) -> tuple[type[Call[Any]], Callable[..., Awaitable[Any]]]:
        if message.method not in self._verbs:
            raise NotFound("verb")
        verb, answer = self._verbs[message.method]
        if caller.process not in verb.callers:
            say("local_call_refused", priority="warning")
            raise Refused("caller")
        if message.more or message.oneway or message.upgrade != (verb.stream != "none"):
            raise Invalid("call")
        return verb, answer

    def _arguments(self, channel: Channel, verb: type[Call[Any]]) -> tuple[Any, ...]:
        descriptors = channel.take_descriptors()
        if len(descriptors) != verb.descriptors:
            for descriptor in descriptors:
                os.close(descriptor)
            raise Invalid("descriptors")
        if verb.stream == "none":
            return tuple(descriptors)  # the answer owns and closes it
        if channel.has_unread_bytes:
            raise Invalid("call")
        return (Stream(channel),)

    async def _answer_service(self, channel: Channel, message: CallMessage) -> bool:
        if message.method == f"{SERVICE_INTERFACE}.GetInfo":
            reply: dict[str, Any] = {
                "vendor": "Praxissafe",
                "product": "Praxissafe",
                "version": "1",
                "url": "https://praxissafe.invalid/",
                "interfaces": sorted(self._descriptions),
            }
        elif message.method == f"{SERVICE_INTERFACE}.GetInterfaceDescription":
            wanted = _parse(message.parameters, dict[str, str]).get("interface", "")
            if wanted not in self._descriptions:
                raise NotFound("interface")
            reply = {"description": self._descriptions[wanted]}
        else:
            raise NotFound("verb")
        await channel.send(encode_json({"parameters": reply}))
        return True


async def _answered(answering: Awaitable[Any]) -> Any:
    """Give an answer. A failure of the system in it is a bug, or a disk that broke: the process ends on it.

    It must not look like an asking side that left; the channel's own failures come translated (message.py, lost).
    """
    try:
        return await answering
    except OSError as error:
        raise RuntimeError("an answer failed") from error


def _parameters(message: CallMessage, verb: type[Call[Any]]) -> Call[Any]:
    call: Call[Any] = _parse(message.parameters, verb)
    return call


def _parse(parameters: msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.json.decode(bytes(parameters), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("parameters") from error


__all__ = ["Answers", "Caller", "answer_connection", "known_callers", "peer_uid", "serve"]
