"""Several relays, without a front: the list they give, whom a patient is passed on to, what a relay does not do."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from appliance.core.errors import Invalid
from appliance.formats import tunnel_control as control
from appliance.formats.proxy_header import encode_proxy_header
from appliance.formats.rendezvous import choose_relays
from provisioning.portal.front_config import haproxy_config
from provisioning.portal.keys import key_text
from provisioning.portal.portal import Portal
from provisioning.portal.relays import check_relays, next_relay, split_address
from provisioning.portal.settings import read_portal_settings
from tests.portal.haproxy import free_ports, haproxy
from tests.portal.simulated_box import (
    PORTAL_NAME,
    SimulatedBox,
    client_hello,
    control_client,
    dial_with,
    patient_tls,
    portal_in,
    read_to_end,
)
from tests.portal.test_accepted import KEY, file_of
from tests.portal.test_front import NOW_OR_LATER, settings_in
from tests.portal.test_program import write_settings

PATIENT = ("203.0.113.9", 50_000)


class Relays:
    """Two relays in this process, and a box that both know."""

    def __init__(self, folder: Path, ports: list[int], names: tuple[str, ...] = ()) -> None:
        self.names = names or tuple(f"relay{number}.example:443" for number, _ in enumerate(ports, 1))
        self.fronts = {name: f"127.0.0.1:{port}" for name, port in zip(self.names, ports, strict=True)}
        self.ports = dict(zip(self.names, ports, strict=True))
        self.box = SimulatedBox(folder)
        self.first, self.second = choose_relays(self.box.box, self.names)
        self._folder = folder
        self._file = folder / "boxes.accepted"
        self._file.write_bytes(file_of(self.box.record(), made_at=NOW_OR_LATER))

    @asynccontextmanager
    async def relay(self, name: str, **settings: object) -> AsyncIterator[Portal]:
        folder = self._folder / name.split(":")[0]
        folder.mkdir(exist_ok=True)
        facts: dict[str, object] = {
            "accepted_file": str(self._file),
            "accepted_key": key_text(bytes(KEY.verify_key)),
            "relays": self.names,
            "this_relay": name,
            "relay_fronts": self.fronts,
            "front_listen_port": self.ports[name],
        }
        async with portal_in(folder, **(facts | settings)) as portal:
            yield portal

    @asynccontextmanager
    async def both(self) -> AsyncIterator[tuple[Portal, Portal]]:
        """The box's first choice and its second."""
        async with self.relay(self.first) as first, self.relay(self.second) as second:
            yield first, second


@pytest.fixture
def relays(tmp_path: Path) -> Relays:
    return Relays(tmp_path, free_ports(2))


async def ask(portal: Portal, method: str, path: str) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(portal.authority_path))
    async with (
        aiohttp.ClientSession() as client,
        client.request(
            method, f"https://127.0.0.1:{portal.port}{path}", ssl=context, server_hostname=PORTAL_NAME
        ) as answer,
    ):
        return answer.status, await answer.read()


async def test_a_relay_names_all_relays_and_registers_nobody(relays: Relays) -> None:
    async with relays.relay(relays.first) as portal:
        status, body = await ask(portal, "GET", "/relays")
        assert (status, body) == (200, b'{"relays": ["relay1.example:443", "relay2.example:443"]}')
        for path in ("/devices", "/proofs", "/revocations"):
            assert (await ask(portal, "POST", path))[0] == 404


async def test_a_portal_alone_has_no_list(tmp_path: Path) -> None:
    async with portal_in(tmp_path) as portal:
        assert (await ask(portal, "GET", "/relays"))[0] == 404
        assert (await ask(portal, "POST", "/devices"))[0] == 400


async def test_a_patient_at_the_first_choice_reaches_a_box_that_is_only_at_its_second(relays: Relays) -> None:
    async with relays.both() as (first, second), relays.box.serve(second):
        reader, writer = await patient_tls(first.port, relays.box)
        assert await reader.readline() == relays.box.host_name.encode() + b"\n"
        writer.write(b"both ways")
        assert await reader.readexactly(9) == b"both ways"
        writer.close()
        assert (first.counts.passed_on, second.counts.passed_on) == (1, 0)
        assert first.counts.relays == second.counts.relays == 1


async def test_the_box_learns_the_patients_address_over_two_relays(relays: Relays) -> None:
    async with relays.both() as (first, second), relays.box.serve(second):
        hello = encode_proxy_header(PATIENT) + client_hello(relays.box.host_name)
        with contextlib.closing(await dial_with(("127.0.0.1", first.front_port), hello)) as sock:
            relays.box.page_context()
            assert await _first_byte(sock)
        (source,) = [source for source in relays.box.sources if source is not None]
        assert (str(source[0]), source[1]) == PATIENT


async def test_a_box_that_is_nowhere_ends_the_way_and_none_comes_back(relays: Relays) -> None:
    async with relays.relay(relays.first) as first, relays.relay(relays.second) as second:
        with contextlib.closing(
            await dial_with(("127.0.0.1", first.port), client_hello(relays.box.host_name))
        ) as sock:
            assert await read_to_end(sock) == b""
        assert (first.counts.passed_on, second.counts.passed_on) == (1, 0)
        assert second.counts.absent_boxes == 1
    async with relays.relay(relays.first) as first:  # the second is down
        with contextlib.closing(
            await dial_with(("127.0.0.1", first.port), client_hello(relays.box.host_name))
        ) as sock:
            assert await read_to_end(sock) == b""
        assert first.counts.absent_boxes == 1


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_the_portals_tls_ends_in_haproxy_and_the_box_proves_itself_to_the_certificate_it_sees(
    tmp_path: Path,
) -> None:
    port, *doors = free_ports(5)
    relays = Relays(tmp_path, doors[2:], tuple(f"127.0.0.1:{door}" for door in doors[:2]))
    folder = tmp_path / "front"
    folder.mkdir()
    async with portal_in(tmp_path) as registrar:
        leaf = Path(registrar.authority_path).with_name("portal.pem")
        (folder / "portal.pem").write_bytes(leaf.read_bytes() + leaf.with_suffix(".key").read_bytes())
        settings = settings_in(
            tmp_path, [], port, relays=relays.names, relay_fronts=relays.fronts, end_tls=str(folder / "portal.pem")
        )
        (folder / "haproxy.cfg").write_text(haproxy_config(settings))
        settings.boxes_map.write_text("")
        async with (
            relays.relay(relays.first, front_certificate=str(leaf)) as relay,
            haproxy(folder / "haproxy.cfg", port),
            control_client(int(relays.first.rpartition(":")[2]), registrar.authority_path) as client,
        ):
            assert await relays.box.log_in(client) == control.Accepted()
            asked = await client.hear()
            assert isinstance(asked, control.Open)
            with contextlib.closing(await dial_with(client.address, control.encode_work_preface(asked.token))):
                login = relay.boxes.get(relays.box.box)
                assert login is not None
                while login.spare_count < 1:  # type: ignore[attr-defined]
                    await _turn()
            assert relay.counts.tokens_refused == 0
            with contextlib.closing(await dial_with(client.address, b"GET / HTTP/1.1\r\n\r\n")) as stranger:
                assert await read_to_end(stranger) == b""


@pytest.mark.parametrize("names", [("a:1",), ("a:1", "b:1"), ("a:1", "b:1", "c:1"), tuple("abcdefgh")], ids=len)
def test_a_connection_is_passed_on_at_most_twice_and_ends(names: tuple[str, ...]) -> None:
    """From wherever it begins: outside, the first choice, the second, and never back."""
    for number in range(50):
        box = number.to_bytes(16, "big")
        choices = choose_relays(box, names)
        for start in (*names, "elsewhere:1"):
            way = [start]
            while (relay := next_relay(box, way[-1], names)) is not None:
                way.append(relay)
            assert len(way) <= 3
            assert len(set(way)) == len(way)
            assert way[-1] == choices[-1]
    assert next_relay(bytes(16), None, names) is None


@pytest.mark.parametrize(
    "more",
    [
        'accepted_file = "x"',
        f'accepted_key = "{key_text(bytes(32))}"',
        'accepted_file = "x"\naccepted_key = "short"',
        'relays = ["a:443", "a:443"]',
        'relays = ["a"]',
        'relays = ["a:0"]',
        'relays = ["::1:443"]',
        'relays = ["a b:443"]',
        'relays = ["a:443"]\nthis_relay = "b:443"',
        'relays = ["a:443"]\nleases = "redis://127.0.0.1"',
        'relays = ["a:443"]\nthis_relay = "a:443"\nleases = "http://127.0.0.1"',
        f"relays = {[f'a:{port}' for port in range(1, 18)]}",
        '[relay_fronts]\n"a:443" = "b:443"',
    ],
)
def test_a_deployment_that_cannot_be_is_invalid(tmp_path: Path, more: str) -> None:
    with pytest.raises(Invalid, match="settings"):
        read_portal_settings(write_settings(tmp_path, more + "\n"))


def test_a_deployment_of_sixteen_relays_is_one(tmp_path: Path) -> None:
    names = [f"relay{number}.example:443" for number in range(15)] + ["[2001:db8::1]:443"]
    settings = read_portal_settings(write_settings(tmp_path, f'relays = {names}\nthis_relay = "{names[0]}"\n'))
    check_relays(settings.relays, {})
    assert split_address(names[-1]) == ("2001:db8::1", 443)


async def _first_byte(sock: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(sock, 1)


async def _turn() -> None:
    await asyncio.sleep(0.01)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_whole_portal_moves_with_its_state_folder_and_its_boxes_notice_nothing(tmp_path: Path) -> None:
    """Another machine, another port: the authority that the box was given is what it trusts."""
    box = SimulatedBox(tmp_path)
    given = tmp_path / "given-to-the-box.pem"
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    async with portal_in(old) as portal:
        portal.registry.register(box.record())  # type: ignore[attr-defined]
        given.write_bytes(portal.authority_path.read_bytes())
    shutil.copytree(old / "portal", new / "portal")
    async with portal_in(new) as portal, control_client(portal.port, given) as client:
        assert await box.log_in(client) == control.Accepted()
