"""Orders against a strict authority through a real portal's relay, gateway's own parts and the real vault."""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from appliance.certificate.answers import make_answers
from appliance.contracts.certificate import ReadState, Renew, ReplaceKey
from appliance.core.errors import Refused, Unavailable
from appliance.core.varlink import Answers, Caller
from tests.simulators.acme_side import AcmeSide, acme_side

CALLER = Caller("practice")
PATIENCE_S = 30


@asynccontextmanager
async def kept(side: AcmeSide) -> AsyncIterator[Answers]:
    """Run the keeper; give what it answers."""
    keeper = side.keeper()
    running = asyncio.ensure_future(keeper.run())
    try:
        yield make_answers(keeper, side.status)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])


async def until_served(side: AcmeSide, other_than: x509.Certificate | None = None) -> x509.Certificate:
    async with asyncio.timeout(PATIENCE_S):
        while side.page.leaf is None or side.page.leaf == other_than or side.page.is_needed:
            await asyncio.sleep(0.02)
    return side.page.leaf


async def test_the_page_gets_a_certificate_that_a_browser_takes(tmp_path: Path) -> None:
    async with acme_side(tmp_path, reject_nonces=30) as side, kept(side) as answers:
        leaf = await until_served(side)
        reader, writer = await side.connect()
        assert await side.get(reader, writer) == 200
        writer.close()
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= datetime.timedelta(days=7)
        async with asyncio.timeout(PATIENCE_S):
            while (state := await answers[ReadState](ReadState(), CALLER)).step != "none" or not state.not_after:
                await asyncio.sleep(0.02)
        assert (state.state, state.last_problem, state.replacing, state.revoking) == ("valid", "", False, False)
        assert state.account.startswith(side.settings.directory.removesuffix("/dir"))
        lifetime_s = state.not_after - state.not_before
        assert lifetime_s * 2 / 3 <= state.next_attempt_at - state.not_before <= lifetime_s * 0.72


async def test_a_renewal_interrupts_nobody(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side, kept(side) as answers:
        first = await until_served(side)
        old = await side.connect()
        assert await side.get(*old) == 200
        ended = asyncio.Event()
        shown: list[bytes] = []

        async def keep_connecting() -> None:
            while not ended.is_set():
                reader, writer = await side.connect()
                shown.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
                assert await side.get(reader, writer) == 200
                writer.close()

        patients = asyncio.ensure_future(keep_connecting())
        await answers[Renew](Renew(), CALLER)
        second = await until_served(side, other_than=first)
        seen = len(shown)
        async with asyncio.timeout(PATIENCE_S):
            while len(shown) < seen + 2:
                await asyncio.sleep(0.02)
                assert not patients.done(), patients.exception()
        ended.set()
        await patients
        assert second.public_key() == first.public_key()
        assert len(set(shown)) == 2
        assert await side.get(*old) == 200
        old[1].close()
        assert await side.authority.status_of(first) == "Valid"


async def test_a_replaced_key_is_served_no_more_and_its_certificate_is_revoked(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side, kept(side) as answers:
        first = await until_served(side)
        old_pem = (tmp_path / "state/page.pem").read_bytes()
        await answers[ReplaceKey](ReplaceKey(), CALLER)
        assert (await answers[ReadState](ReadState(), CALLER)).replacing
        second = await until_served(side, other_than=first)
        assert second.public_key() != first.public_key()
        async with asyncio.timeout(PATIENCE_S):
            while (await side.request()).replaced:
                await asyncio.sleep(0.02)
        assert await side.authority.status_of(first) == "Revoked"
        assert await side.authority.status_of(second) == "Valid"
        private = old_pem[old_pem.index(b"-----BEGIN PRIVATE") :]
        assert not [path for path in (tmp_path / "state").iterdir() if private in path.read_bytes()]
        async with asyncio.timeout(PATIENCE_S):
            while (state := await answers[ReadState](ReadState(), CALLER)).revoking or state.step != "none":
                await asyncio.sleep(0.02)
        assert (state.replacing, state.last_problem) == (False, "")


async def test_a_key_that_is_replaced_during_an_order_gets_its_certificate_at_once(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side, kept(side) as answers:
        first = await until_served(side)
        await answers[Renew](Renew(), CALLER)
        async with asyncio.timeout(PATIENCE_S):
            while side.status.step in ("none", "portal", "account"):
                await asyncio.sleep(0.001)
        await answers[ReplaceKey](ReplaceKey(), CALLER)
        second = await until_served(side, other_than=first)
        assert second.public_key() != first.public_key()


async def test_a_box_that_the_authority_cannot_see_is_told_so_and_asks_later(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side:
        side.connections.take = _refuse  # type: ignore[method-assign]
        with pytest.raises(Refused) as failed:
            await side.obtain()
        assert failed.value.code == "challenge_failed"
        async with kept(side) as answers:
            async with asyncio.timeout(PATIENCE_S):
                while not (state := await answers[ReadState](ReadState(), CALLER)).last_problem:
                    await asyncio.sleep(0.02)
            assert (state.state, state.last_problem) == ("none", "challenge_failed")
            assert state.next_attempt_at >= state.last_problem_at + side.settings.refused_first_s / 2


def _refuse(descriptor: int) -> None:
    os.close(descriptor)
    raise Unavailable("full")
