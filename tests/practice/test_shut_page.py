"""While vault is shut, whoever opens the practice page is told why and what to do, in both languages."""

import asyncio
import contextlib
import datetime
import os
import re
import socket
import ssl

import aiohttp
import pytest

from appliance.contracts.vault import VAULT, Opening
from appliance.core.errors import Unavailable
from appliance.core.varlink import Peer, serve
from appliance.practice import shut_page
from appliance.practice.lan_certificate import keep_certificate, stored_certificate
from appliance.practice.settings import PracticeSettings
from appliance.practice.texts import read_texts
from appliance.vault.tpm_connection import REFUSALS

HOST = "praxis-0123abcd-lan.localhost"


@pytest.mark.parametrize("why", ["boot_image", "boot_parameters", "boot_secure_boot", "release_too_old"])
def test_each_changed_pcr_and_an_old_release_have_a_sentence_of_their_own(why):
    page = shut_page.shut_page(why, read_texts()).decode()
    other = shut_page.shut_page("key_file", read_texts()).decode()
    for language in ("de", "en"):
        section = page.split(f'<section lang="{language}">')[1].split("</section>")[0]
        what = re.search("<strong>(.+?)</strong>", section).group(1)
        assert what not in other


@pytest.mark.parametrize("why", [*REFUSALS.values(), "key_file", "state", "nobody_knows"])
def test_whatever_keeps_vault_shut_there_is_a_page(why):
    assert shut_page.shut_page(why, read_texts())


async def test_the_page_is_there_until_vault_opens(tmp_path, monkeypatch):
    keep_certificate(tmp_path, HOST, datetime.datetime.now(datetime.UTC))
    monkeypatch.setattr(shut_page, "ASK_AGAIN_S", 0.01)
    now = [Opening(state="shut", why="boot_secure_boot")]

    async def answer(*_):
        return now[0]

    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(tmp_path / "vault.sock"))
        local.listen()
        serving = asyncio.create_task(
            serve(local, [(VAULT, dict.fromkeys(VAULT.verbs.values(), answer))], {os.getuid(): "practice"})
        )
        showing = asyncio.create_task(
            shut_page.show_shut_page(
                listener,
                PracticeSettings(state=tmp_path),
                Peer(VAULT, tmp_path / "vault.sock"),
                "boot_secure_boot",
            )
        )
        context = ssl.create_default_context(cafile=str(tmp_path / "lan-ca.pem"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        port = listener.getsockname()[1]
        for method, path in (("GET", "/"), ("GET", "/patients?q=1"), ("POST", "/login"), ("PUT", "/intake")):
            url = f"https://127.0.0.1:{port}{path}"
            async with session.request(method, url, ssl=context, server_hostname=HOST) as shown:
                assert shown.status == 503
                text = await shown.text()
                assert "Secure Boot" in text
                assert "rufen Sie die Technik an" in text
                assert "call your technician" in text
                assert shown.headers["Cache-Control"] == "no-store"
        assert not showing.done()
        now[0] = Opening(state="open", why="")
        await asyncio.wait_for(showing, 20)
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
            await serving


async def test_a_box_no_browser_knows_shows_nothing(tmp_path):
    assert stored_certificate(tmp_path) is None
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Unavailable, match="shut"):
        await shut_page.show_shut_page(
            listener, PracticeSettings(state=tmp_path), Peer(VAULT, tmp_path / "vault.sock"), "state"
        )
