"""enrol's door: three requests and nothing else, each strict, and the order that is closed is the one that was given."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.core.errors import Unavailable
from tests.enrol.simulated_bench import BOX, ORDER, running_bench

NOT_FOUND = (404, {"family": "NotFound", "code": "page"})


async def test_a_box_gets_its_keys_and_the_door_closes(tmp_path: Path) -> None:
    async with running_bench(tmp_path) as bench:
        assert await bench.ask("GET", "/state") == (200, {"state": "new"})
        status, made = await bench.ask("POST", "/enrol", json=ORDER)
        assert status == 200
        assert set(made) == {"box", "device_key", "claim_code", "serial", "ticket"}
        assert (made["box"], made["claim_code"], made["serial"]) == (BOX, "CODE-1", "PS-0001")
        assert (
            load_der_public_key(base64.b64decode(made["device_key"], validate=True)) == bench.vault.key.public_key()
        )
        assert bench.vault.orders[0].page_host == ORDER["page_host"]
        assert await bench.ask("GET", "/state") == (200, {"state": "enrolled"})
        assert not bench.routes.ended.done()
        assert await bench.ask("POST", "/finish", json={"ticket": made["ticket"]}) == (200, {"finished": True})
        await asyncio.wait_for(bench.routes.ended, 5)
        assert bench.vault.finished
        assert await bench.ask("GET", "/state") == (200, {"state": "finished"})


@pytest.mark.parametrize("body", [{}, {"ticket": ""}, {"ticket": "another"}, {"ticket": "another", "more": 1}, []])
async def test_nothing_is_closed_without_the_ticket(tmp_path: Path, body: object) -> None:
    async with running_bench(tmp_path) as bench:
        for _ in range(2):  # before any order, and after one
            status, said = await bench.ask("POST", "/finish", json=body)
            assert (status, said["family"]) in {(403, "Refused"), (400, "Invalid")}
            await bench.ask("POST", "/enrol", json=ORDER)
        assert not bench.vault.finished
        assert not bench.routes.ended.done()


async def test_an_order_that_was_overtaken_cannot_be_finished(tmp_path: Path) -> None:
    async with running_bench(tmp_path) as bench:
        _, first = await bench.ask("POST", "/enrol", json=ORDER)
        _, second = await bench.ask("POST", "/enrol", json=ORDER | {"portal_name": "other.example"})
        assert await bench.ask("POST", "/finish", json={"ticket": first["ticket"]}) == (
            403,
            {"family": "Refused", "code": "ticket"},
        )
        assert not bench.vault.finished
        assert second["box"] == first["box"]
        assert (await bench.ask("POST", "/finish", json={"ticket": second["ticket"]}))[0] == 200


async def test_a_finished_box_refuses_a_second_order(tmp_path: Path) -> None:
    async with running_bench(tmp_path) as bench:
        bench.vault.finished = True
        assert await bench.ask("POST", "/enrol", json=ORDER) == (403, {"family": "Refused", "code": "provisioned"})


async def test_a_vault_that_is_busy_leaves_the_door_open(tmp_path: Path) -> None:
    async with running_bench(tmp_path) as bench:
        _, made = await bench.ask("POST", "/enrol", json=ORDER)
        bench.vault.failure = Unavailable("storage")
        finish = {"ticket": made["ticket"]}
        assert await bench.ask("POST", "/finish", json=finish) == (503, {"family": "Unavailable", "code": "storage"})
        assert not bench.routes.ended.done()
        assert (await bench.ask("POST", "/finish", json=finish))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/enrol"),
        ("GET", "/finish"),
        ("POST", "/state"),
        ("HEAD", "/state"),
        ("POST", "/enrol/"),
        ("POST", "/ENROL"),
        ("PUT", "/enrol"),
        ("OPTIONS", "/enrol"),
        ("GET", "/../etc/passwd"),
    ],
)
async def test_anything_else_gets_one_constant_answer(tmp_path: Path, method: str, path: str) -> None:
    async with running_bench(tmp_path) as bench:
        status, said = await bench.ask(method, path)
        assert (status, said) == (NOT_FOUND if method != "HEAD" else (404, None))  # HEAD: without its body
        assert not bench.vault.orders


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"serial": "small"}, "serial"),
        ({"serial": "PS"}, "serial"),
        ({"page_port": 0}, "page_port"),
        ({"page_port": "443"}, "page_port"),
        ({"lan_port": 65536}, "lan_port"),
        ({"portal_name": "No Name"}, "portal_name"),
        ({"portal_ca": ""}, "portal_ca"),
        ({"portal_ca": "x" * 16385}, "portal_ca"),
        ({"portal_ca": "x" * 40000}, "order"),
        ({"page_host": None}, "page_host"),
        ({"more": 1}, "order"),
    ],
)
async def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, object], code: str) -> None:
    async with running_bench(tmp_path) as bench:
        assert await bench.ask("POST", "/enrol", json=ORDER | changes) == (400, {"family": "Invalid", "code": code})
        assert not bench.vault.orders


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"serial": "\xff"}', b'{"a":1}' * 2])
async def test_a_body_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    async with running_bench(tmp_path) as bench:
        headers = {"Content-Type": "application/json"}
        assert await bench.ask("POST", "/enrol", data=body, headers=headers) == (
            400,
            {"family": "Invalid", "code": "order"},
        )


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_a_web_page_may_send_unasked_is_no_order(tmp_path: Path, content_type: str) -> None:
    async with running_bench(tmp_path) as bench:
        headers = {"Content-Type": content_type, "Origin": "https://stranger.example"}
        assert await bench.ask("POST", "/enrol", data=json.dumps(ORDER).encode(), headers=headers) == (
            400,
            {"family": "Invalid", "code": "content_type"},
        )
        assert not bench.vault.orders


async def test_a_bug_ends_enrol_and_tells_nobody_about_it(tmp_path: Path) -> None:
    async with running_bench(tmp_path) as bench:

        async def fail(*_: object, **__: object) -> None:
            raise ValueError("canary")

        bench.vault.orders.append(None)  # type: ignore[arg-type]
        bench.routes._vault.ask = fail  # type: ignore[assignment]
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, ssl=anybody())
            writer.write(b"GET /state HTTP/1.1\r\nHost: box\r\n\r\n")
            said = await reader.read()
            writer.close()
        assert b"500" in said
        assert b"canary" not in said
        with pytest.raises(ValueError, match="canary"):
            await asyncio.wait_for(bench.routes.ended, 5)


def anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_only_tls_1_3_is_spoken(tmp_path: Path) -> None:
    old = anybody()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running_bench(tmp_path) as bench:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", bench.port, ssl=old)
        _, writer = await asyncio.open_connection("127.0.0.1", bench.port, ssl=anybody())
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()
