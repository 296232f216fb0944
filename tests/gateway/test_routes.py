from __future__ import annotations

import asyncio
import base64
import json
import re
import time

import pytest

from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_link import manifest_key
from appliance.formats.share_manifest import open_manifest, parse_key
from tests.gateway.conftest import CONTENT, Ask, connect, read_answer
from tests.simulators.patient_side import HOST, PIN, MadeShare, PatientSide

UNKNOWN = b'{"state":"unknown"}'


def spelled(proof: bytes) -> str:
    return base64.urlsafe_b64encode(proof).rstrip(b"=").decode()


def question(share: MadeShare, **more: str) -> bytes:
    return json.dumps({"proof": spelled(share.proof), **more}).encode()


def names(share: MadeShare, file: str | None = None) -> dict[str, str]:
    return {"Praxis-Locator": share.locator, "Praxis-File": file or share.documents[0].file}


async def test_the_right_pin_opens_the_share(side: PatientSide, share: MadeShare, ask: Ask) -> None:
    answer = await ask("POST", "/api/open", body=question(share, pin=PIN))
    opened = json.loads(answer.body)
    assert set(opened) == {"r", "box", "expires_at"}
    sealed = await ask("GET", "/share/manifest", {"Praxis-Locator": share.locator})
    box = bytes.fromhex(opened["box"])
    from appliance.formats.share_link import derive

    key = manifest_key(derive(share.secret).wrap_key, base64.urlsafe_b64decode(opened["r"] + "="))
    [document] = open_manifest(sealed.body, key, box, share.locator, opened["expires_at"]).documents
    file = await ask("GET", "/share/document", names(share, document.file))
    opener = DocumentOpener(parse_key(document.key), box, bytes.fromhex(document.id), document.length)
    assert opener.open(file.body) + opener.finish() == CONTENT


async def test_a_wrong_pin_says_how_many_tries_are_left_and_nothing_else(share: MadeShare, ask: Ask) -> None:
    for left in (4, 3, 2, 1):
        answer = json.loads((await ask("POST", "/api/open", body=question(share, pin="111111"))).body)
        assert (answer["state"], answer["tries_left"]) == ("open", left)
        assert set(answer) == {"state", "tries_left", "telephone", "practice"}
    assert json.loads((await ask("POST", "/api/open", body=question(share, pin="111111"))).body)["state"] == "closed"
    assert json.loads((await ask("POST", "/api/open", body=question(share, pin=PIN))).body)["state"] == "closed"


async def test_asking_for_the_state_costs_no_try(share: MadeShare, ask: Ask) -> None:
    for _ in range(3):
        answer = json.loads((await ask("POST", "/api/state", body=question(share))).body)
        assert answer == {
            "state": "open", "tries_left": 5, "telephone": "030 1234567", "practice": "Praxis Dr. Anna Beispiel"
        }  # fmt: skip


async def test_without_a_valid_proof_every_answer_is_the_same_and_takes_the_same_time(
    side: PatientSide, share: MadeShare, ask: Ask
) -> None:
    async def timed(path: str, body: bytes) -> tuple[int, bytes, dict[str, str], float]:
        reader, writer = await connect(side)
        began = time.monotonic()
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{side.port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await read_answer(reader)
        writer.close()
        headers = {name: value for name, value in answer.headers.items() if name != "date"}
        return answer.status, answer.body, headers, time.monotonic() - began

    absent = spelled(b"\0" * 32)
    wrong = [
        ("/api/state", json.dumps({"proof": absent}).encode()),
        ("/api/open", json.dumps({"proof": absent, "pin": PIN}).encode()),
        ("/api/state", b"{}"),
        ("/api/state", b"not json"),
        ("/api/state", json.dumps({"proof": absent[:-1]}).encode()),
        ("/api/state", json.dumps({"proof": absent[:-1] + "B"}).encode()),
        ("/api/open", question(share, pin="1")),
        ("/api/open", question(share, pin=PIN, more="field")),
        ("/api/state", b'{"proof":"' + b"A" * 5000 + b'"}'),
    ]
    answers = await asyncio.gather(*(timed(path, body) for path, body in wrong))
    assert {(status, body) for status, body, _, _ in answers} == {(404, UNKNOWN)}
    assert all(headers == answers[0][2] for _, _, headers, _ in answers)
    assert all(0.24 < took < 0.45 for _, _, _, took in answers), [took for *_, took in answers]
    assert share.state.tries_left == 5


@pytest.mark.parametrize("state", ["expired", "revoked"])
async def test_a_proof_is_told_why_nothing_opens(share: MadeShare, ask: Ask, state: str) -> None:
    if state == "expired":
        share.state.expires_at = 0
    else:
        share.state.revoked = True
    for path, more in (("/api/state", {}), ("/api/open", {"pin": PIN})):
        answer = json.loads((await ask("POST", path, body=question(share, **more))).body)
        assert (answer["state"], answer["telephone"]) == (state, "030 1234567")
        assert "r" not in answer


async def test_a_broken_transfer_goes_on_where_it_broke(share: MadeShare, ask: Ask) -> None:
    whole = (await ask("GET", "/share/document", names(share))).body
    rest = await ask("GET", "/share/document", {**names(share), "Range": "bytes=1000000-"})
    assert (rest.status, rest.headers["content-range"]) == (206, f"bytes 1000000-{len(whole) - 1}/{len(whole)}")
    assert rest.body == whole[1000000:]
    part = await ask("GET", "/share/document", {**names(share), "Range": "bytes=5-9"})
    assert (part.status, part.body) == (206, whole[5:10])


async def test_a_share_revoked_while_it_is_delivered_ends_there(side: PatientSide, ask: Ask) -> None:
    from tests.simulators.sample_documents import Sample

    pieces = [b"\7" * (1 << 20)] * 48
    share = side.make_share([Sample("gross.pdf", "Groß", "image", "application/pdf", pieces)])
    reader, writer = await connect(side)
    head = "".join(f"{name}: {value}\r\n" for name, value in names(share).items())
    writer.write(f"GET /share/document HTTP/1.1\r\nHost: {HOST}:{side.port}\r\n{head}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(1 << 20)
    share.folder.rename(share.folder.with_name("withdrawn"))
    received = 1 << 20
    try:
        while piece := await reader.read(1 << 20):
            received += len(piece)
    except ConnectionError:
        pass
    assert received < share.documents[0].sealed_length
    assert (await ask("GET", "/share/document", names(share))).body == UNKNOWN
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/share/document", {}),
        ("GET", "/share/document", {"Praxis-Locator": "0" * 32, "Praxis-File": "0" * 32}),
        ("GET", "/share/document", {"Praxis-Locator": "../state", "Praxis-File": "page.key"}),
        ("GET", "/share/manifest", {"Praxis-Locator": "0" * 32}),
        ("GET", "/share", {}),
        ("GET", "/share/", {}),
        ("GET", "/assets/", {}),
        ("GET", "/assets/../__main__.py", {}),
        ("GET", "/assets/%2e%2e/routes.py", {}),
        ("GET", "/api/state", {}),
        ("GET", "/api/shares", {}),
        ("OPTIONS", "/api/open", {"Origin": "https://example.org"}),
        ("PUT", "/share/document", {}),
        ("DELETE", "/share/document", {}),
        ("PROPFIND", "/", {}),
        ("GET", "/download/1", {}),
        ("GET", "/metrics", {}),
    ],
)
async def test_what_is_not_one_of_the_questions_gets_the_constant_answer(
    ask: Ask, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = await ask(method, path, headers)
    assert (answer.status, answer.body) == (404, UNKNOWN)


async def test_head_is_inert(side: PatientSide) -> None:
    reader, writer = await connect(side)
    writer.write(f"HEAD / HTTP/1.1\r\nHost: {HOST}:{side.port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"\r\n\r\n")
    writer.close()


async def test_another_files_name_with_this_locator_is_not_there(
    side: PatientSide, share: MadeShare, ask: Ask
) -> None:
    from tests.simulators.sample_documents import sample_documents

    other = side.make_share(sample_documents())
    answer = await ask("GET", "/share/document", names(share, other.documents[0].file))
    assert (answer.status, answer.body) == (404, UNKNOWN)


@pytest.mark.parametrize(
    "host", ["example.org", "localhost", "127.0.0.1", f"{HOST}:1", f"{HOST}.example.org", "", f"a@{HOST}"]
)
async def test_another_host_name_is_foreign(ask: Ask, host: str) -> None:
    answer = await ask("GET", "/", host=host or " ")
    assert (answer.status, answer.body) == (404, UNKNOWN)


@pytest.mark.parametrize("origin", ["https://example.org", "null", f"http://{HOST}", ""])
async def test_another_sites_script_is_foreign(share: MadeShare, ask: Ask, origin: str) -> None:
    answer = await ask("POST", "/api/state", {"Origin": origin}, question(share))
    assert (answer.status, answer.body) == (404, UNKNOWN)


async def test_the_page_is_the_same_for_every_link_and_query(ask: Ask) -> None:
    page = (await ask("GET", "/")).body
    assert (await ask("GET", "/?fbclid=1")).body == page
    leaked = await ask("GET", "/%23AQAAAA")
    assert (leaked.status, leaked.body) == (200, page)
    assert page.count(b"<title>") == 1
    assert b"Dokumente aus Ihrer Praxis</title>" in page


async def test_no_answer_may_be_stored_framed_or_sniffed(share: MadeShare, ask: Ask) -> None:
    answers = [
        await ask("GET", "/"),
        await ask("GET", "/viewer.html"),
        await ask("GET", "/assets/page.js"),
        await ask("GET", "/service-worker.js"),
        await ask("POST", "/api/state", body=question(share)),
        await ask("GET", "/share/manifest", names(share)),
        await ask("GET", "/share/document", names(share)),
        await ask("GET", "/nothing"),
    ]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["server"] == "praxissafe"
        assert "set-cookie" not in answer.headers
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "base-uri 'none'; form-action 'none'" in policy


async def test_every_script_is_a_file_of_this_box(ask: Ask) -> None:
    """No inline script, no other address: what the page names is on gateway's list."""
    for path in ("/", "/viewer.html"):
        text = (await ask("GET", path)).body.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"\son\w+=|style=|javascript:|https?://", text)
        for name in re.findall(r'(?:src|href)="([^"]+)"', text):
            assert (await ask("GET", name)).status == 200, name


async def test_every_import_of_the_page_is_on_the_list(ask: Ask) -> None:
    seen, waiting = set(), ["/assets/page.js", "/assets/viewer.js"]
    while waiting:
        path = waiting.pop()
        if path in seen or "/pdfjs/" in path:
            continue
        seen.add(path)
        answer = await ask("GET", path)
        assert answer.status == 200, path
        imports = re.findall(r'^(?:import|export)[^"]*?from "([^"]+)"', answer.body.decode(), re.MULTILINE)
        waiting += [name if name.startswith("/") else f"/assets/{name.removeprefix('./')}" for name in imports]
    assert len(seen) > 10
