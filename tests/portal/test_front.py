"""The front: its configuration is the settings', HAProxy takes it, the map changes under a running HAProxy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from appliance.core.errors import Invalid
from appliance.formats.proxy_header import decode_proxy_header
from appliance.formats.rendezvous import choose_relays
from provisioning.portal import front as front_module
from provisioning.portal.front import Front
from provisioning.portal.front_config import boxes_map, haproxy_config
from provisioning.portal.front_settings import FrontSettings, read_front_settings
from provisioning.portal.keys import key_text
from tests.portal.haproxy import check_config, free_ports, haproxy
from tests.portal.simulated_box import PORTAL_NAME, STATION_KEY, SimulatedBox, client_hello, dial_with, read_to_end
from tests.portal.test_accepted import KEY, file_of

NOW_OR_LATER = 4_000_000_000


def runtime_socket() -> str:
    """A path for a socket: HAProxy takes 80 characters at most, a test's own folder has more."""
    return f"/tmp/praxissafe-front-{secrets.token_hex(8)}.sock"


def settings_in(folder: Path, fronts: list[int], listen: int = 443, **changes: object) -> FrontSettings:
    """Settings for as many relays as there are ports."""
    relays = tuple(f"relay{number}.example:443" for number, _ in enumerate(fronts, 1))
    facts: dict[str, object] = {
        "portal_name": PORTAL_NAME,
        "station_keys": (STATION_KEY,),
        "accepted_file": str(folder / "boxes.accepted"),
        "accepted_key": key_text(bytes(KEY.verify_key)),
        "relays": relays,
        "relay_fronts": {relay: f"127.0.0.1:{port}" for relay, port in zip(relays, fronts, strict=True)},
        "listen": f"127.0.0.1:{listen}",
        "max_connections": 1000,
        "folder": str(folder / "front"),
        "runtime_socket": runtime_socket(),
    }
    return msgspec.convert(facts | changes, FrontSettings)


def write(settings: FrontSettings) -> Front:
    Path(settings.folder).mkdir(exist_ok=True)
    front = Front(settings)
    front.write()
    return front


@pytest.mark.parametrize("relays", [1, 2, 3, 16])
@pytest.mark.parametrize(
    "more", [{}, {"registrar": "10.0.0.10:8443", "run_as": "haproxy"}, {"end_tls": "/certificate"}], ids=str
)
def test_haproxy_takes_the_configuration_without_a_warning(
    tmp_path: Path, relays: int, more: dict[str, object]
) -> None:
    box = SimulatedBox(tmp_path)
    if "end_tls" in more:
        box.page_context()
        pem = tmp_path / "portal.pem"
        pem.write_bytes(box.certificate_path.read_bytes() + box.certificate_path.with_suffix(".key").read_bytes())
        more = {"end_tls": str(pem)}
    names = tuple(f"relay{number}.example:{8440 + number}" for number in range(relays))
    fronts = dict.fromkeys(names, "10.0.0.11:8443")
    settings = settings_in(tmp_path, [], relays=names, relay_fronts=fronts, **more)
    (tmp_path / "boxes.accepted").write_bytes(file_of(box.record(), made_at=NOW_OR_LATER))
    write(settings)
    check_config(tmp_path / "front" / "haproxy.cfg")
    assert (tmp_path / "front" / "haproxy.cfg").read_text() == haproxy_config(settings)
    assert settings.boxes_map.read_text().startswith(f"{box.host_name} ")


def test_front_and_box_choose_alike(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, [1, 2, 3])
    boxes = [SimulatedBox(tmp_path) for _ in range(12)]
    lines = dict(line.split() for line in boxes_map(settings, [box.record() for box in boxes]).splitlines())
    for box in boxes:
        first, second = (settings.relays.index(relay) + 1 for relay in choose_relays(box.box, settings.relays))
        assert lines[box.host_name] == f"boxes_{first}_{second}"
    assert len(set(lines.values())) > 1


def test_with_leases_the_relays_that_have_the_box_come_first(tmp_path: Path) -> None:
    settings, box = settings_in(tmp_path, [1, 2, 3]), SimulatedBox(tmp_path)
    order = choose_relays(box.box, settings.relays, 3)
    number = {relay: settings.relays.index(relay) + 1 for relay in order}
    first, second, third = (number[relay] for relay in order)
    for held, pair in (
        ((), (first, second)),
        ((2,), (third, first)),
        ((1,), (second, first)),
        ((1, 2), (second, third)),
        ((0, 1), (first, second)),
    ):
        held_by = {order[index]: frozenset({box.box}) for index in held}
        assert boxes_map(settings, [box.record()], held_by) == f"{box.host_name} boxes_{pair[0]}_{pair[1]}\n"


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "/a b"},
        {"folder": "/a\n"},
        {"runtime_socket": "/x\nlevel"},
        {"end_tls": "/x;y"},
        {"run_as": "root\n"},
        {"listen": "127.0.0.1"},
        {"registrar": "10.0.0.1:0"},
        {"relays": ()},
        {"relays": ("relay1.example:443", "relay1.example:443")},
        {"relay_fronts": {}},
        {"relay_fronts": {"relay1.example:443": "10.0.0.1 8443:1"}},
        {"portal_name": "Portal.example"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_setting_that_could_be_two_words_of_the_configuration_is_invalid(
    tmp_path: Path, change: dict[str, object]
) -> None:
    facts = msgspec.to_builtins(settings_in(tmp_path, [1]), builtin_types=(tuple,))
    given = {name: value for name, value in (facts | change).items() if value is not None}
    lines = [
        f"{name} = {msgspec.json.encode(value).decode()}" for name, value in given.items() if name != "relay_fronts"
    ]
    fronts = [f'"{name}" = "{value}"' for name, value in given["relay_fronts"].items()]
    path = tmp_path / "front.toml"
    path.write_text("\n".join([*lines, "[relay_fronts]", *fronts]))
    with pytest.raises(Invalid):
        read_front_settings(path)


class Sink:
    """Stands where a relay's listener for fronts would: takes the PROXY header and says its name."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.sources: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        while (header := decode_proxy_header(data)) is None and (more := await reader.read(4096)):
            data += more
        if header is not None and header.source is not None:
            self.sources.append(str(header.source[0]))
            writer.write(self.name)
        writer.close()

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", port):
            yield


async def reach(port: int, host_name: str) -> bytes:
    """Give what a patient who asks for this name is told."""
    sock = await dial_with(("127.0.0.1", port), client_hello(host_name))
    try:
        async with asyncio.timeout(15):
            return await read_to_end(sock)
    finally:
        sock.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_running_haproxy_follows_the_map_and_the_relays_without_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "LINES_PER_COMMAND", 3)
    port, *fronts = free_ports(3)
    settings = settings_in(tmp_path, fronts, port)
    boxes = [SimulatedBox(tmp_path) for _ in range(7)]
    (tmp_path / "boxes.accepted").write_bytes(file_of(made_at=NOW_OR_LATER))
    front = write(settings)
    sinks = [Sink(b"1"), Sink(b"2")]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(sinks[0].listening(fronts[0]))
        async with sinks[1].listening(fronts[1]):
            await stack.enter_async_context(haproxy(tmp_path / "front" / "haproxy.cfg", port))
            assert await reach(port, boxes[0].host_name) == b""
            records = [box.record() for box in boxes]
            (tmp_path / "boxes.accepted").write_bytes(
                file_of(*records, made_at=NOW_OR_LATER, number=NOW_OR_LATER + 1)
            )
            assert front.write_map(None)
            assert await front.tell()
            by_first = {
                first: next(
                    box for box in boxes if choose_relays(box.box, settings.relays)[0] == settings.relays[first]
                )
                for first in (0, 1)
            }
            assert [await reach(port, by_first[first].host_name.upper()) for first in (0, 1)] == [b"1", b"2"]
            assert [await reach(port, box.host_name) for box in (boxes[0], boxes[-1])] != [b"", b""]
        assert await reach(port, by_first[1].host_name) == b"1"  # the second takes over
    assert set(itertools.chain(*(sink.sources for sink in sinks))) == {"127.0.0.1"}


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_what_is_no_tls_and_what_is_unknown_reaches_no_relay(tmp_path: Path) -> None:
    port, front_port = free_ports(2)
    (tmp_path / "boxes.accepted").write_bytes(file_of(made_at=NOW_OR_LATER))
    write(settings_in(tmp_path, [front_port], port, hello_timeout_s=1))
    sink = Sink(b"1")
    async with sink.listening(front_port), haproxy(tmp_path / "front" / "haproxy.cfg", port):
        for first_bytes in (b"GET / HTTP/1.1\r\n\r\n", client_hello("praxis-nobody.localhost"), b"PXW1" + bytes(16)):
            sock = await dial_with(("127.0.0.1", port), first_bytes)
            async with asyncio.timeout(10):
                assert await read_to_end(sock) == b""
            sock.close()
        slow = await dial_with(("127.0.0.1", port), client_hello(PORTAL_NAME)[:20])
        async with asyncio.timeout(10):
            assert await read_to_end(slow) == b""
        slow.close()
        assert not sink.sources
        assert await reach(port, PORTAL_NAME) == b"1"


def test_a_front_needs_no_key_of_the_portal(tmp_path: Path) -> None:
    """What the generator is told can be told to anybody: public keys, names, addresses."""
    text = msgspec.json.encode(settings_in(tmp_path, [1])).decode()
    assert base64.urlsafe_b64encode(bytes(KEY)).decode().rstrip("=") not in text
