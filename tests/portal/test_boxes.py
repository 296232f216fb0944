"""The pool of spare work connections, by values: what is ordered, renewed, capped and dropped."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from appliance.core.errors import Unavailable
from appliance.formats.tunnel_control import Frame, Open
from provisioning.portal.boxes import Boxes
from provisioning.portal.carriers import RawCarrier
from provisioning.portal.counts import Counts
from provisioning.portal.pool import PooledLogin
from provisioning.portal.settings import PortalSettings

BOX = b"b" * 16


class Fixture:
    """A logged-in box whose orders are kept and whose connections are socket pairs; the end of its control too."""

    def __init__(self, tmp_path: Path, **limits: object) -> None:
        settings = PortalSettings(
            portal_name="portal.example",
            state_folder=str(tmp_path),
            tpm_makers="",
            **limits,  # type: ignore[arg-type]
        )
        self.boxes = Boxes(settings, Counts())
        self.said: list[Open] = []
        self.hung_up = 0
        self.login = self.log_in()
        self.ends: list[socket.socket] = []

    def log_in(self) -> PooledLogin:
        return self.boxes.login(BOX, self, now=0.0)

    def say(self, frame: Frame) -> None:
        if isinstance(frame, Open):
            self.said.append(frame)

    def hang_up(self) -> None:
        self.hung_up += 1

    def leave(self) -> None:
        self.hung_up += 1

    def connect(self, now: float = 0.0) -> list[bool]:
        """Follow all open orders, as a box does."""
        orders, self.said[:] = list(self.said), []
        return [self.connect_with(order.token, now) for order in orders]

    def connect_with(self, token: bytes, now: float) -> bool:
        portal_end, box_end = socket.socketpair()
        portal_end.setblocking(False)
        box_end.setblocking(False)
        self.ends.append(box_end)
        return self.boxes.work_connection_arrived(token, RawCarrier(portal_end), now)

    def close(self) -> None:
        self.boxes.close()
        for end in self.ends:
            end.close()


async def test_four_spares_are_ordered_and_none_more(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        assert len(fixture.said) == 4
        assert fixture.connect() == [True] * 4
        fixture.boxes.tidy(now=1.0)
        assert fixture.said == []
        assert fixture.login.spare_count == 4


async def test_a_spare_that_is_taken_is_ordered_anew(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        fixture.connect()
        async with fixture.login.carrier():
            assert len(fixture.said) == 1


async def test_orders_that_lapse_are_given_again(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        now = asyncio.get_running_loop().time()
        fixture.boxes.tidy(now + 9.0)
        before = len(fixture.said)
        fixture.boxes.tidy(now + 30.0)
        assert len(fixture.said) >= before
        assert fixture.login.spare_count == 0


async def test_spares_are_renewed_after_four_minutes(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        fixture.connect(now=0.0)
        fixture.boxes.tidy(now=239.0)
        assert fixture.login.spare_count == 4
        fixture.boxes.tidy(now=240.0)
        assert fixture.login.spare_count == 0
        assert len(fixture.said) == 4
        assert fixture.ends[0].recv(1) == b""


async def test_a_spare_that_ended_or_spoke_first_is_not_given_to_a_patient(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        fixture.connect()
        for end in fixture.ends[2:]:
            end.send(b"x")
        fixture.ends[1].close()
        async with fixture.login.carrier() as given:
            given.greet(b"to the patient's box")
            assert fixture.ends[0].recv(100) == b"to the patient's box"


async def test_a_patient_waits_for_the_next_connection_when_no_spare_is_left(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path, spare_connections=0)) as fixture:
        assert fixture.said == []

        async def visit() -> bool:
            async with fixture.login.carrier():
                return True

        visiting = asyncio.ensure_future(visit())
        await asyncio.sleep(0)
        assert fixture.connect(asyncio.get_running_loop().time()) == [True]
        assert await visiting


async def test_a_box_has_no_more_connections_than_its_cap(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path, max_connections_per_box=2)) as fixture:
        assert len(fixture.said) == 2
        fixture.connect()
        async with fixture.login.carrier(), fixture.login.carrier():
            assert fixture.said == []
            with pytest.raises(Unavailable):
                async with fixture.login.carrier():
                    pass


async def test_a_new_login_ends_the_old_one_and_its_tokens(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        stale = [frame.token for frame in fixture.said if isinstance(frame, Open)]
        fixture.said.clear()
        waiting = asyncio.ensure_future(fixture.login.carrier().__aenter__())
        await asyncio.sleep(0)
        fixture.log_in()
        assert fixture.hung_up == 1
        with pytest.raises(Unavailable):
            await waiting
        assert not fixture.connect_with(stale[0], now=0.0)


async def test_logging_out_a_replaced_login_leaves_the_new_one(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        new = fixture.log_in()
        fixture.boxes.logout(fixture.login)
        assert fixture.boxes.get(BOX) is new


async def test_connections_in_use_survive_a_new_login(tmp_path: Path) -> None:
    with contextlib.closing(Fixture(tmp_path)) as fixture:
        fixture.connect()
        async with fixture.login.carrier() as given:
            fixture.log_in()
            given.greet(b"still")
            assert fixture.ends[3].recv(10) == b"still"
