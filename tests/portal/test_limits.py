"""Each limit of the portal: what happens at it, and that those within theirs are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import aiohttp
import pytest

from appliance.formats import tunnel_control as control
from provisioning.portal.limits import BURST_S, MAX_ADDRESSES, Rates, Shares, Turns, line_of
from tests.portal.simulated_box import (
    PORTAL_NAME,
    SimulatedBox,
    client_hello,
    control_client,
    dial_with,
    dial_wrapped,
    patient_tls,
    portal_in,
    read_to_end,
)


def test_a_line_is_an_ipv4_address_or_the_first_half_of_an_ipv6_one() -> None:
    assert line_of("192.0.2.1") == line_of("::ffff:192.0.2.1") != line_of("192.0.2.2")
    assert line_of("2001:db8:1:2::1") == line_of("2001:db8:1:2:ffff::") != line_of("2001:db8:1:3::1")
    assert line_of("fe80::1%eth0") == line_of("fe80::2")


def test_a_line_holds_no_more_than_its_share_and_nothing_is_kept_of_one_that_left() -> None:
    shares = Shares(2)
    assert [shares.take(b"a") for _ in range(3)] == [True, True, False]
    assert shares.take(b"b")
    shares.give_back(b"a")
    assert shares.take(b"a")
    for line in (b"a", b"a", b"b"):
        shares.give_back(line)
    assert len(shares) == 0


def test_a_rate_allows_a_burst_after_a_rest_and_then_its_pace() -> None:
    rates = Rates(10)
    assert sum(rates.take(b"a", 100.0) for _ in range(1000)) == 10 * BURST_S
    assert rates.take(b"b", 100.0)
    assert sum(rates.take(b"a", 101.0) for _ in range(1000)) == 10
    assert sum(rates.take(b"a", 200.0) for _ in range(1000)) == 10 * BURST_S


def test_a_rate_remembers_a_bounded_number_of_lines() -> None:
    rates = Rates(1)
    for number in range(MAX_ADDRESSES + 100):
        rates.take(number.to_bytes(4, "big"), 0.0)
    assert len(rates._free_at) == MAX_ADDRESSES


def test_two_thousand_boxes_are_told_turns_that_let_all_in_within_a_minute() -> None:
    """Each comes again exactly when it was told: nobody is refused for good, and nobody waits over a minute."""
    turns = Turns(per_s=100)
    due = dict.fromkeys(range(2000), 0.0)
    for tick in range(600):
        now = tick / 10
        for box in [box for box, at in due.items() if at <= now]:
            wait_s = turns.wait_s(now)
            assert 0 <= wait_s <= 30
            if wait_s:
                due[box] = now + wait_s
            else:
                del due[box]
    assert not due


async def test_logins_over_the_rate_are_told_when_to_come_again_and_are_let_in_then(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, max_logins_per_s=1) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with control_client(portal.port, portal.authority_path):
                    pass
            assert refused.value.status == 429
            assert refused.value.headers is not None
            await asyncio.sleep(int(refused.value.headers["Retry-After"]))
            async with control_client(portal.port, portal.authority_path) as client:
                assert await box.log_in(client) == control.Accepted()


async def test_one_line_holds_no_more_than_its_connections_and_gets_them_back(tmp_path: Path) -> None:
    async with portal_in(tmp_path, max_connections_per_address=3) as portal:
        address = ("127.0.0.1", portal.port)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                stack.enter_context(contextlib.closing(await dial_with(address, b"P")))
            with contextlib.closing(await dial_with(address, b"P")) as over:
                assert await read_to_end(over) == b""
            assert portal.counts.over_limit == 1
        while portal.counts.connections_now:
            await asyncio.sleep(0.01)
        with contextlib.closing(await dial_with(address, b"PXW1" + bytes(16))) as again:
            await read_to_end(again)
        assert portal.counts.tokens_refused == 1


async def test_a_line_cannot_get_around_its_share_by_the_portals_own_tls(tmp_path: Path) -> None:
    async with portal_in(tmp_path, max_connections_per_address=2) as portal:
        held = [await dial_wrapped(portal, b"") for _ in range(2)]
        with pytest.raises(OSError):
            await dial_wrapped(portal, b"")
        for _, writer in held:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        while len(portal.own):
            await asyncio.sleep(0.01)
        _, writer = await dial_wrapped(portal, b"")
        writer.close()


async def test_a_logged_in_box_is_no_part_of_its_lines_share(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, max_connections_per_address=6) as portal:  # four dial at once
        portal.registry.register(box.record())
        async with box.serve(portal):
            reader, writer = await patient_tls(portal.port, box)
            assert await reader.readline() == box.host_name.encode() + b"\n"
            writer.close()


async def test_tls_handshakes_of_one_line_are_held_to_their_rate(tmp_path: Path) -> None:
    async with portal_in(tmp_path, max_handshakes_per_s_per_address=1) as portal:
        done = 0
        with pytest.raises(OSError):
            for _ in range(20):
                _, writer = await dial_wrapped(portal, b"")
                writer.close()
                done += 1
        assert BURST_S <= done < 2 * BURST_S + 4


async def test_a_flood_of_silent_connections_keeps_no_patient_out(tmp_path: Path) -> None:
    """All places are taken by connections that say nothing; the longest silent ones make room."""
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, max_connections=8) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal):
            address = ("127.0.0.1", portal.port)
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(40):
                    stack.enter_context(contextlib.closing(await dial_with(address, b"P")))
                for _ in range(3):
                    reader, writer = await patient_tls(portal.port, box)
                    stack.callback(writer.close)
                    assert await reader.readline() == box.host_name.encode() + b"\n"
                assert portal.counts.over_limit >= 32


@pytest.mark.parametrize("name", ["the portal's", "a box's", "none yet"])
async def test_first_bytes_that_trickle_in_are_cut_at_the_deadline_however_many_come(
    tmp_path: Path, name: str
) -> None:
    """A slow loris: each byte comes in good time, the whole never."""
    box = SimulatedBox(tmp_path)
    limit_s = 0.4
    async with portal_in(tmp_path, handshake_timeout_s=limit_s) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal):
            hello = client_hello(PORTAL_NAME if name == "the portal's" else box.host_name)
            ready = (
                len(hello) if name != "none yet" else 1
            )  # with a whole hello to the portal, TLS is what never ends
            first = hello[:-1] if name == "a box's" else hello[:ready]
            loop = asyncio.get_running_loop()
            with contextlib.closing(await dial_with(("127.0.0.1", portal.port), first)) as patient:
                ended = asyncio.ensure_future(read_to_end(patient))
                more = hello[len(first) : -1] if name == "none yet" else b""
                for byte in more or bytes(64):
                    if ended.done():
                        break
                    if more:
                        with contextlib.suppress(OSError):
                            await loop.sock_sendall(patient, bytes([byte]))
                    await asyncio.sleep(0.05)
                async with asyncio.timeout(10):
                    await ended
            reader, writer = await patient_tls(portal.port, box)
            assert await reader.readline() == box.host_name.encode() + b"\n"
            writer.close()


async def test_relays_are_not_cut_for_newcomers(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, max_connections=6) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal):
            patients = [await patient_tls(portal.port, box) for _ in range(5)]
            for reader, _ in patients:
                assert await reader.readline() == box.host_name.encode() + b"\n"
            hello = client_hello(box.host_name)
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(12):
                    stack.enter_context(contextlib.closing(await dial_with(("127.0.0.1", portal.port), hello)))
            for reader, writer in patients:
                writer.write(b"still here")
                assert await reader.readexactly(10) == b"still here"
                writer.close()
            assert portal.counts.over_limit >= 1


@pytest.mark.parametrize("mode", ["raw", "streams"])
async def test_a_box_has_no_more_patients_than_its_cap(tmp_path: Path, mode: str) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, max_connections_per_box=4) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, mode=mode):  # type: ignore[arg-type]
            patients = [await patient_tls(portal.port, box) for _ in range(4)]
            with pytest.raises(OSError):
                await patient_tls(portal.port, box)
            for reader, writer in patients:
                assert await reader.readline() == box.host_name.encode() + b"\n"
                writer.close()
            while portal.counts.relays_now:
                await asyncio.sleep(0.01)
            _, writer = await patient_tls(portal.port, box)
            writer.close()


async def test_a_box_that_proves_itself_and_falls_silent_is_pinged_and_hung_up_on(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, spare_connections=0) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            await box.log_in(client)
            now = asyncio.get_running_loop().time()
            for later in (16, 32, 48):
                assert portal.boxes.get(box.box) is not None
                portal.boxes.tidy(now + later)
            heard = [await client.hear() for _ in range(3)]
            assert heard == [control.Ping(1), control.Ping(2), None]
            assert portal.boxes.get(box.box) is None
