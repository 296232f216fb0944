"""The intake for practice software: one PUT a document; the token opens nothing else; errors have codes and words."""

import asyncio
import json
import ssl
import struct

import pytest

from tests.practice.bench import PDF

HEADERS = {
    "Content-Type": "application/pdf",
    "Praxis-Kind": "finding",
    "Praxis-Title": "Befund%20%C3%9Cbersicht",
    "Praxis-Name": "UTF-8''Befund%20%C3%84.pdf",
    "Praxis-Patient-Family-Name": "Mustermann",
    "Praxis-Patient-Given-Name": "Erika",
    "Praxis-Patient-Birth-Date": "1964-08-12",
    "Idempotency-Key": "2026-11-25/1".replace("/", "."),
}


@pytest.fixture
async def intake(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    await browser.open("/devices")
    headers = {**HEADERS, "Authorization": f"Bearer {await browser.device_token()}"}
    return browser, await bench.browser(), patient, headers


async def test_document_is_stored_once(intake):
    browser, machine, patient, headers = intake
    made = await machine.put(headers, PDF)
    assert made.status == 201
    assert json.loads(made.body) == {"document": json.loads(made.body)["document"], "patient": patient}
    again = await machine.put(headers, PDF)
    assert (again.status, again.body) == (200, made.body)
    other = await machine.put(headers, PDF + b"other")
    assert (other.status, json.loads(other.body)["code"]) == (409, "idempotency_key")
    by_path = {name: value for name, value in headers.items() if name != "Idempotency-Key"}
    assert (await machine.put(by_path, PDF, "/intake/v1/documents/key-2")).status == 201
    page = await browser.open(f"/patients/{patient}")
    assert page.text.count("Befund Übersicht</span>") == 2
    assert "Praxissoftware" in page.text
    document = json.loads(made.body)["document"]
    got = await browser.open(f"/documents/{document}/download")
    assert got.body == PDF
    assert "Befund%20%C3%84.pdf" in got.headers["Content-Disposition"]


async def test_every_error_has_its_status_code_and_words(intake):
    _, machine, _, headers = intake
    without = object()
    for change, status, code, header in (
        ({"Authorization": without}, 401, "token", None),
        ({"Authorization": "Bearer " + "x" * 43}, 401, "token", None),
        ({"Authorization": "Basic abc"}, 401, "token", None),
        ({"Praxis-Kind": "secret"}, 422, "kind", "Praxis-Kind"),
        ({"Praxis-Kind": without}, 400, "header_missing", "Praxis-Kind"),
        ({"Praxis-Name": without}, 400, "header_missing", "Praxis-Name"),
        ({"Praxis-Name": "%zz"}, 400, "header_encoding", "Praxis-Name"),
        ({"Praxis-Name": "%ff"}, 400, "header_encoding", "Praxis-Name"),
        ({"Praxis-Name": "Befund Ä.pdf"}, 400, "header_encoding", "Praxis-Name"),
        ({"Praxis-Title": "x" * 201}, 422, "field_long", "Praxis-Title"),
        ({"Praxis-Patient-Given-Name": without}, 400, "header_missing", "Praxis-Patient-Given-Name"),
        ({"Praxis-Patient-Birth-Date": "12.08.1964"}, 422, "birth_date", "Praxis-Patient-Birth-Date"),
        ({"Praxis-Patient-Birth-Date": "1964-13-12"}, 422, "birth_date", "Praxis-Patient-Birth-Date"),
        ({"Praxis-Patient-Number": "x" * 41}, 422, "field_long", "Praxis-Patient-Number"),
        ({"Praxis-Patient-Family-Name": "Niemand"}, 404, "patient", None),
        ({"Idempotency-Key": without}, 400, "idempotency_key_missing", "Idempotency-Key"),
        ({"Idempotency-Key": "a b"}, 400, "idempotency_key_missing", "Idempotency-Key"),
        ({"Content-Type": "application/zip"}, 415, "document_type", "Content-Type"),
        ({"Content-Type": "image/png"}, 415, "document_type", None),
        ({"Content-Encoding": "gzip"}, 415, "content_encoding", "Content-Encoding"),
    ):
        sent = {name: value for name, value in {**headers, **change}.items() if value is not without}
        answer = await machine.put(sent, PDF)
        problem = json.loads(answer.body)
        assert (answer.status, problem["code"], problem.get("header")) == (status, code, header), change
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert problem["status"] == status
        assert problem["type"] == f"urn:praxissafe:problem:{code}"
        assert set(problem["texts"]) == {"de", "en"}
        assert problem["title"] in problem["texts"]["de"]
    empty = await machine.put(headers, b"")
    assert (empty.status, json.loads(empty.body)["code"]) == (422, "document_empty")
    english = await machine.put({**headers, "Praxis-Kind": "x", "Accept-Language": "en"}, PDF)
    assert json.loads(english.body)["title"] == "The kind of document is missing or unknown."
    two = await machine.put(headers, PDF, "/intake/v1/documents/other-key")
    assert (two.status, json.loads(two.body)["code"]) == (400, "idempotency_key_two")


async def test_patient_is_matched_by_number_first(bench):
    browser = await bench.claimed()
    for given, number in (("Erika", "1"), ("Erika", "2")):
        await browser.open("/patients/new")
        person = {"family_name": "Doppel", "given_name": given, "birth_date": "1.1.1980", "number": number}
        await browser.send("/patients/new", {**person, "same_name": "yes"})
    await browser.open("/devices")
    headers = {**HEADERS, "Authorization": f"Bearer {await browser.device_token()}"}
    headers |= {"Praxis-Patient-Family-Name": "Doppel", "Praxis-Patient-Birth-Date": "1980-01-01"}
    answer = await browser.put(headers, PDF)
    assert (answer.status, json.loads(answer.body)["code"]) == (409, "patient_ambiguous")
    assert (await browser.put({**headers, "Praxis-Patient-Number": "2"}, PDF)).status == 201


async def test_staff_session_is_no_device_token(bench):
    browser = await bench.claimed()
    await browser.add_patient()
    session = browser.cookies["__Host-session"].value
    assert (await browser.put({**HEADERS, "Authorization": f"Bearer {session}"}, PDF)).status == 401
    assert (await browser.put(HEADERS, PDF)).status == 401  # the cookie counts for nothing here


async def test_revoked_token_stores_nothing(intake):
    browser, machine, _, headers = intake
    page = await browser.open("/devices")
    path = next(part.split('"')[0] for part in page.text.split('href="') if "/revoke" in part.split('"')[0])
    assert "Praxissoftware" in (await browser.open(path)).text
    await browser.send(path, {"confirmed": "yes"})
    assert (await machine.put(headers, PDF)).status == 401


async def test_token_is_shown_once(intake):
    browser, _, _, headers = intake
    token = headers["Authorization"].partition(" ")[2]
    shown = [answer for answer in browser.bench.answers if token.encode() in answer.body]
    assert len(shown) == 1
    assert token not in (await browser.open("/devices")).text


async def test_body_is_asked_for_only_after_the_checks(intake, bench):
    """Expect: 100-continue (RFC 9110 10.1.1): whoever is refused has sent no document."""
    _, _, _, headers = intake
    context = ssl.create_default_context(cafile=str(bench.desk.certificate.authority))

    async def ask(sent: dict[str, str]) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", bench.port, ssl=context, server_hostname=bench.host
        )
        lines = [f"{name}: {value}" for name, value in {**sent, "Host": bench.host, "Expect": "100-continue"}.items()]
        head = "\r\n".join(["PUT /intake/v1/documents HTTP/1.1", f"Content-Length: {len(PDF)}", *lines])
        writer.write(head.encode() + b"\r\n\r\n")
        return await asyncio.wait_for(reader.readline(), 10), reader, writer

    line, _, writer = await ask({**headers, "Authorization": "Bearer " + "x" * 43})
    assert line == b"HTTP/1.1 401 Unauthorized\r\n"
    writer.close()
    line, reader, writer = await ask(headers)
    assert line == b"HTTP/1.1 100 Continue\r\n"
    writer.write(PDF)
    assert b"201 Created" in await asyncio.wait_for(reader.readuntil(b"Created"), 10)
    writer.close()


async def test_a_broken_transfer_keeps_nothing(intake, bench):
    browser, _, patient, headers = intake
    context = ssl.create_default_context(cafile=str(bench.desk.certificate.authority))
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, ssl=context, server_hostname=bench.host)
    lines = [f"{name}: {value}" for name, value in {**headers, "Host": bench.host}.items()]
    head = "\r\n".join(["PUT /intake/v1/documents HTTP/1.1", "Content-Length: 9999999", *lines])
    writer.write(head.encode() + b"\r\n\r\n" + PDF)
    await writer.drain()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: a reset, like a pulled cable
    writer.transport.abort()
    for _ in range(50):
        await asyncio.sleep(0)
    assert "Noch keine Dokumente" in (await browser.open(f"/patients/{patient}")).text
    assert (await browser.put(headers, PDF)).status == 201  # the key is not used up


async def test_records_away_is_told_in_problem_json(intake, bench):
    _, machine, _, headers = intake
    await bench.take_away("records")
    answer = await machine.put(headers, PDF)
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "peer_away")
    assert answer.headers["Retry-After"]


async def test_too_large_a_document_is_refused_before_its_bytes(intake, bench):
    _, _, _, headers = intake
    context = ssl.create_default_context(cafile=str(bench.desk.certificate.authority))
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, ssl=context, server_hostname=bench.host)
    lines = [f"{name}: {value}" for name, value in {**headers, "Host": bench.host}.items()]
    head = "\r\n".join(["PUT /intake/v1/documents HTTP/1.1", f"Content-Length: {513 * 2**20}", *lines])
    writer.write(head.encode() + b"\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 413 ")
    writer.close()
