"""Local calls: who asks is the kernel's word, everything is strict, streams tell an end from a break."""

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Annotated, ClassVar

import asyncvarlink
import msgspec
import pytest
from asyncvarlink.serviceinterface import VarlinkServiceInterface

from appliance.core.errors import Invalid, NotFound, Refused, Tampered, Unavailable
from appliance.core.varlink import Call, Interface, Peer, serve
from appliance.core.varlink.message import MAX_MESSAGE_BYTES

ME = os.getuid()


class Sum(msgspec.Struct, forbid_unknown_fields=True):
    total: int


class Add(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})
    left: Annotated[int, msgspec.Meta(ge=0)]
    right: int = 0


class Fail(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})


class Break(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})


class Read(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})


class Take(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})
    stream: ClassVar = "in"
    cap: int = 10**9


class Give(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})
    stream: ClassVar = "out"
    size: int
    fail: bool = False


class Keep(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})
    descriptors: ClassVar = 1


class Vault(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"vault"})


VERBS = [Add, Fail, Break, Read, Take, Give, Keep, Vault]
TEST = Interface("de.praxissafe.Test", {verb.__name__: verb for verb in VERBS}, "interface de.praxissafe.Test\n")


async def add(call, caller):
    return Sum(total=call.left + call.right)


async def fail(call, caller):
    raise NotFound("share", tries=3)


async def break_(call, caller):
    raise ZeroDivisionError("a bug with a name in it: Erika Mustermann")


async def read(call, caller):
    raise PermissionError("/a/folder/with/a/name")


async def take(call, caller, stream):
    total = 0
    async for piece in stream.pieces():
        total += len(piece)
        if total > call.cap:
            raise Invalid("document_size")
    return Sum(total=total)


async def give(call, caller, stream):
    await stream.write(bytes(call.size))
    if call.fail:
        raise Tampered("sealed_file")


async def keep(call, caller, descriptor):
    os.close(descriptor)
    return Sum(total=1)


ANSWERS = {Add: add, Fail: fail, Break: break_, Read: read, Take: take, Give: give, Keep: keep, Vault: add}


@contextlib.asynccontextmanager
async def serving(folder: Path, callers=None):
    with socket.socket(socket.AF_UNIX) as listener:
        path = folder / "test.sock"
        listener.bind(str(path))
        listener.listen()
        task = asyncio.create_task(
            serve(listener, [(TEST, ANSWERS)], {ME: "practice"} if callers is None else callers)
        )
        try:
            yield Peer(TEST, path), path, task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task


async def raw(path: Path, *messages: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=4 * MAX_MESSAGE_BYTES)
    for message in messages:
        writer.write(message)
    received = await asyncio.wait_for(reader.read(65536), 5)
    writer.close()
    return received


async def test_a_call_is_answered(tmp_path):
    async with serving(tmp_path) as (peer, _, _):
        assert await peer.ask(Add(left=2, right=3)) == Sum(total=5)


async def test_a_failure_keeps_its_family_code_and_facts(tmp_path):
    async with serving(tmp_path) as (peer, _, _):
        with pytest.raises(NotFound) as failure:
            await peer.ask(Fail())
    assert (failure.value.code, failure.value.details) == ("share", {"tries": 3})


async def test_a_user_that_is_no_caller_is_hung_up_on_before_a_byte_is_parsed(tmp_path):
    async with serving(tmp_path, callers={ME + 1: "practice"}) as (_, path, _):
        reader, _ = await asyncio.open_unix_connection(str(path))
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_verb_refuses_who_is_not_listed(tmp_path):
    async with serving(tmp_path) as (peer, _, _):
        with pytest.raises(Refused, match="caller"):
            await peer.ask(Vault())


@pytest.mark.parametrize(
    "body",
    [
        {"method": "de.praxissafe.Test.Add", "parameters": {"left": 1, "colour": "red"}},
        {"method": "de.praxissafe.Test.Add", "parameters": {"left": "1"}},
        {"method": "de.praxissafe.Test.Add", "parameters": {"left": -1}},
        {"method": "de.praxissafe.Test.Add", "parameters": {}},
        {"method": "de.praxissafe.Test.Add", "parameters": []},
        {"method": "de.praxissafe.Test.Add", "parameters": {"left": 1}, "colour": "red"},
        {"method": "de.praxissafe.Test.Add", "parameters": {"left": 1}, "upgrade": True},
        {"method": "de.praxissafe.Test.Add", "parameters": {"left": 1}, "more": True},
        {"method": "de.praxissafe.Test.Take"},
        {"method": "de.praxissafe.Test.Keep"},
        {"method": 7},
        [],
    ],
)
async def test_anything_not_in_the_contract_is_invalid(tmp_path, body):
    async with serving(tmp_path) as (_, path, _):
        reply = json.loads((await raw(path, json.dumps(body).encode() + b"\0")).rstrip(b"\0"))
    assert reply["error"] == "de.praxissafe.Invalid"


@pytest.mark.parametrize("garbage", [b"\0", b"\xff\xfe\0", b"{" * 2000 + b"\0", b"null\0"])
async def test_garbage_is_invalid_and_the_server_lives(tmp_path, garbage):
    async with serving(tmp_path) as (peer, path, _):
        assert b"de.praxissafe.Invalid" in await raw(path, garbage)
        assert await peer.ask(Add(left=1)) == Sum(total=1)


async def test_a_message_over_the_cap_is_refused(tmp_path):
    async with serving(tmp_path) as (peer, path, _):
        reader, writer = await asyncio.open_unix_connection(str(path))
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                writer.write(b"x" * (MAX_MESSAGE_BYTES // 10))
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert b"message_size" in await asyncio.wait_for(reader.read(65536), 5)
        assert await peer.ask(Add(left=1)) == Sum(total=1)


@pytest.mark.parametrize("call", [Break(), Read()], ids=["a bug", "a file that cannot be read"])
async def test_a_bug_ends_the_server_and_its_text_travels_nowhere(tmp_path, call):
    async with serving(tmp_path) as (peer, _, task):
        with pytest.raises(Unavailable, match="peer_lost"):
            await peer.ask(call)
        with pytest.raises(BaseExceptionGroup):
            await task


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
async def test_streams_carry_every_byte(tmp_path, size):
    async with serving(tmp_path) as (peer, _, _):
        async with peer.send(Take()) as upload:
            await upload.write(bytes(size))
            assert (await upload.finish()).total == size
        assert sum([len(piece) async for piece in peer.receive(Give(size=size))]) == size


async def test_a_sender_learns_why_the_receiver_stopped(tmp_path):
    async with serving(tmp_path) as (peer, _, _):
        with pytest.raises(Invalid, match="document_size"):
            async with peer.send(Take(cap=1000)) as upload:
                for _ in range(100):
                    await upload.write(bytes(100_000))


async def test_a_receiver_learns_why_the_sender_stopped(tmp_path):
    async with serving(tmp_path) as (peer, _, _):
        with pytest.raises(Tampered, match="sealed_file"):
            async for _ in peer.receive(Give(size=100_000, fail=True)):
                pass


async def test_a_broken_transfer_is_not_an_end(tmp_path):
    ended = []

    async def take_and_tell(call, caller, stream):
        try:
            return await take(call, caller, stream)
        except Unavailable as error:
            ended.append(error.code)
            raise

    ANSWERS[Take] = take_and_tell
    try:
        async with serving(tmp_path) as (peer, _, _):
            async with peer.send(Take()) as upload:
                await upload.write(b"half")
            assert await peer.ask(Add(left=1)) == Sum(total=1)
    finally:
        ANSWERS[Take] = take
    assert ended == ["stream_broken"]


async def test_a_descriptor_is_taken_only_where_the_contract_says_so(tmp_path):
    async with serving(tmp_path) as (peer, _, _):
        with Path("/dev/null").open("rb") as file:
            assert await peer.ask(Keep(), descriptor=file.fileno()) == Sum(total=1)
            with pytest.raises(Invalid, match="descriptors"):
                await peer.ask(Add(left=1), descriptor=file.fileno())


async def test_refused_descriptors_are_closed(tmp_path):
    async with serving(tmp_path) as (peer, _, _):
        with Path("/dev/null").open("rb") as file:
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(20):
                with pytest.raises(Invalid):
                    await peer.ask(Add(left=1), descriptor=file.fileno())
            await peer.ask(Add(left=1))
        assert len(os.listdir("/proc/self/fd")) <= before + 2


async def test_a_peer_that_is_away_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="peer_away"):
        await Peer(TEST, tmp_path / "nobody.sock").ask(Add(left=1))


class TestInterface(asyncvarlink.VarlinkInterface, name="de.praxissafe.Test"):
    """The independent implementation's view of one verb."""

    @asyncvarlink.varlinkmethod(return_parameter="total")
    def Add(self, *, left: int, right: int) -> int: ...  # noqa: N802


async def test_an_independent_implementation_is_understood(tmp_path):
    """asyncvarlink (PyPI) asks our server: a call, a refusal, and the service's own interface."""
    async with serving(tmp_path) as (_, path, _):
        transport, protocol = await asyncvarlink.connect_unix_varlink(asyncvarlink.VarlinkClientProtocol, str(path))
        try:
            proxy = protocol.make_proxy(TestInterface)
            assert await proxy.Add(left=20, right=22) == {"total": 42}
            with pytest.raises(asyncvarlink.VarlinkErrorReply):
                await proxy.Add(left=-1, right=0)
            service = protocol.make_proxy(VarlinkServiceInterface)
            assert "de.praxissafe.Test" in str(await service.GetInfo())
        finally:
            transport.close()
