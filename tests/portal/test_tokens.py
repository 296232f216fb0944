"""Tokens of work connections: single use, ten seconds, one login. The clock is an argument."""

from __future__ import annotations

import contextlib
from pathlib import Path

from appliance.formats import tunnel_control as control
from provisioning.portal.tokens import Tokens
from tests.portal.simulated_box import SimulatedBox, control_client, dial_with, portal_in, read_to_end


def test_a_token_is_redeemed_once() -> None:
    tokens: Tokens[str] = Tokens()
    token = tokens.issue("box", now=100.0)
    assert tokens.redeem(token, now=101.0) == "box"
    assert tokens.redeem(token, now=101.0) is None


def test_a_token_lives_ten_seconds() -> None:
    tokens: Tokens[str] = Tokens()
    first, second = tokens.issue("box", now=100.0), tokens.issue("box", now=100.1)
    assert tokens.redeem(first, now=110.0) is None
    assert tokens.redeem(second, now=110.0) == "box"


def test_expired_tokens_are_dropped_and_named() -> None:
    tokens: Tokens[str] = Tokens()
    tokens.issue("a", now=0.0)
    tokens.issue("b", now=5.0)
    assert tokens.expire(now=10.0) == ["a"]
    assert tokens.expire(now=15.0) == ["b"]
    assert len(tokens) == 0


def test_an_unknown_token_is_nobodys() -> None:
    assert Tokens[str]().redeem(bytes(16), now=0.0) is None


def test_tokens_do_not_repeat() -> None:
    tokens: Tokens[str] = Tokens()
    assert len({tokens.issue("box", now=0.0) for _ in range(1000)}) == 1000


async def test_a_used_token_opens_no_second_work_connection(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            await box.log_in(client)
            order = await client.hear()
            assert isinstance(order, control.Open)
            preface = control.encode_work_preface(order.token)
            address = ("127.0.0.1", portal.port)
            with contextlib.closing(await dial_with(address, preface)):
                with contextlib.closing(await dial_with(address, preface)) as second:
                    assert await read_to_end(second) == b""
                assert portal.counts.tokens_refused == 1
