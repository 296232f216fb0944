"""Documents: uploads streamed to records, shown and given back byte for byte, erased."""

import asyncio
import contextlib
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import unquote

import aiohttp

from appliance.practice import headers
from tests.practice.bench import PDF, Answer, Bench, Browser

PNG = b"\x89PNG\r\n\x1a\n" + os.urandom(5000)
JPEG = b"\xff\xd8\xff\xe0" + os.urandom(300_000)


async def test_documents_come_back_byte_for_byte(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    tricky = PDF + b"\r\n--boundary\r\n--\r\n\r\n" * 1000 + os.urandom(700_001) + b"\r\n"
    for name, content, media_type in (
        ("befund.pdf", tricky, "application/pdf"),
        ("bild.png", PNG, "image/png"),
        ("foto.jpg", JPEG, "image/jpeg"),
        ("labor.txt", "Hämoglobin\n".encode(), "text/plain"),
    ):
        document = await browser.add_document(patient, name, content)
        bench.documents.add(document)
        for way in ("open", "download"):
            answer = await browser.open(f"/documents/{document}/{way}")
            assert answer.body == content
            assert answer.headers["Content-Type"].split(";")[0] == media_type


async def test_several_files_are_kept_each_by_itself(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    answer = await browser.upload(
        patient, ("a.pdf", PDF), ("virus.exe", b"MZ\0\0"), ("leer.pdf", b""), ("b.png", PNG), kind="image"
    )
    assert answer.status == 422
    assert re.findall(r'<li data-code="([a-z_]+)">([^:]+):', answer.text) == [
        ("document_type", "virus.exe"),
        ("document_empty", "leer.pdf"),
    ]
    assert "2 " in re.search(r"Alle \((\d+)\)", answer.text)[1] + " "


async def test_upload_form_that_says_too_little_keeps_nothing(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    assert (await browser.upload(patient, ("", b""))).error == "file_missing"
    assert (await browser.upload(patient, ("a.pdf", PDF), kind="secret")).error == "kind"
    assert (await browser.upload(patient, ("a.pdf", PDF), title="x" * 300)).error == "field_long"
    assert (await browser.upload("0" * 32, ("a.pdf", PDF))).status == 404
    for content_type, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nbroken"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/mixed; boundary=b", b"--b\r\n\r\n--b--"),
        ("application/x-www-form-urlencoded", b"csrf=1"),
    ):
        sent = {"Content-Type": content_type, "Sec-Fetch-Site": "same-origin"}
        answer = await browser.ask("POST", f"/patients/{patient}/documents", data=body, headers=sent)
        assert answer.error in {"form", "csrf"}, content_type
    assert "Noch keine Dokumente" in (await browser.open(f"/patients/{patient}")).text


async def test_token_is_read_before_anything_else_of_an_upload(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("kind", "finding")
    form.add_field("csrf", browser.csrf)
    form.add_field("file", PDF, filename="a.pdf")
    answer = await browser.ask(
        "POST", f"/patients/{patient}/documents", data=form, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.error == "csrf"


async def test_documents_are_shown_as_another_origin(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    text = await browser.add_document(patient, "labor.txt", b"<script>alert(1)</script>")
    shown = await browser.open(f"/documents/{text}/open")
    assert shown.headers["Content-Security-Policy"] == headers.DOCUMENT_POLICY
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    assert shown.headers["Content-Type"] == "text/plain; charset=utf-8"
    bench.documents.add(text)
    old = await browser.add_document(patient, "alt.txt", "Hämoglobin".encode("cp1252"))
    assert "windows-1252" in (await browser.open(f"/documents/{old}/open")).headers["Content-Type"]


async def test_file_names_travel_exactly_and_lead_nowhere(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    for name, kept in (
        ("Röntgen „Thorax“ 100%.pdf", "Röntgen „Thorax“ 100%.pdf"),
        ("../../etc/passwd.pdf", "passwd.pdf"),
        ("C:\\Praxis\\brief.pdf", "brief.pdf"),
    ):
        document = await browser.add_document(patient, name)
        bench.documents.add(document)
        answer = await browser.open(f"/documents/{document}/download")
        sent = answer.headers["Content-Disposition"]
        assert re.match(r'attachment; filename="[A-Za-z0-9 ._()-]+"; filename\*=UTF-8\'\'', sent)
        assert unquote(sent.partition("UTF-8''")[2]) == kept


async def test_download_is_resumed(bench):
    browser = await bench.claimed()
    content = PDF + os.urandom(300_000)
    document = await browser.add_document(await browser.add_patient(), content=content)
    whole = await browser.open(f"/documents/{document}/download")
    path, tag = f"/documents/{document}/download", whole.headers["ETag"]
    rest = await browser.open(path, headers={"Range": "bytes=100000-", "If-Range": tag})
    assert (rest.status, rest.body) == (206, content[100_000:])
    assert rest.headers["Content-Range"] == f"bytes 100000-{len(content) - 1}/{len(content)}"
    for other in ({"Range": "bytes=5-", "If-Range": '"other"'}, {"Range": "bytes=9999999-"}, {"Range": "bytes=-5"}):
        assert (await browser.open(path, headers=other)).body == content


async def test_document_is_deleted_only_after_confirmation(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    document = await browser.add_document(patient)
    assert "befund" in (await browser.open(f"/documents/{document}/delete")).text
    assert (await browser.open(f"/documents/{document}/open")).status == 200
    await browser.send(f"/documents/{document}/delete", {"confirmed": "yes", "reason": "duplicate"})
    assert (await browser.open(f"/documents/{document}/open")).status == 404


async def test_documents_are_shown_by_kind(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    await browser.add_document(patient, "b.pdf", kind="finding", title="Befund A")
    await browser.upload(patient, ("l.txt", b"labor"), kind="lab", title="Labor B")
    both = await browser.open(f"/patients/{patient}")
    assert "Befund A" in both.text
    assert "Labor B" in both.text
    lab = await browser.open(f"/patients/{patient}?kind=lab")
    assert "Befund A" not in lab.text
    assert "Labor B" in lab.text


async def test_too_many_uploads_at_once_are_told_so(tmp_path):
    from tests.practice.bench import practice_bench

    async with practice_bench(tmp_path, max_uploads=0) as bench:
        browser = await bench.claimed()
        answer = await browser.upload(await browser.add_patient(), ("a.pdf", PDF))
        assert (answer.status, answer.error) == (429, "uploads_busy")


@contextlib.asynccontextmanager
async def practice_alone(bench: Bench) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """Run practice in its own process beside the bench's peers; gives its port and its peak memory in bytes.

    What it says on standard error, which is the journal on a box, goes to `<folder>/said`.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, (bench.folder / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.practice.alone", str(bench.folder), str(listener.fileno())),
            pass_fds=[listener.fileno()],
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
        )

        def peak_bytes() -> int:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024

        try:
            assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
            yield listener.getsockname()[1], peak_bytes
        finally:
            process.terminate()
            await process.wait()


async def test_upload_is_never_buffered_on_disk(bench):
    """practice runs confined and may write no byte to a file; 96 MiB pass through it in a few MiB of memory."""
    browser = await bench.claimed()
    patient = await browser.add_patient()
    size = 96 * 1024 * 1024
    content = PDF + bytes(size)
    other = Browser(bench, browser._client.connector._ssl)
    bench.stack.push_async_callback(other.close)
    async with practice_alone(bench) as (port, peak_bytes):
        other.origin, sent = f"https://{bench.host}:{port}", {"Host": bench.host}
        other.set_cookie("__Host-session", browser.cookies["__Host-session"].value)
        await other.open(f"/patients/{patient}", headers=sent)
        before = peak_bytes()
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("csrf", other.csrf)
        form.add_field("kind", "finding")
        form.add_field("file", content, filename="gross.pdf")
        answer: Answer = await other.ask(
            "POST",
            f"/patients/{patient}/documents",
            data=form,
            headers={**sent, "Sec-Fetch-Site": "same-origin"},
            follow=False,
        )
        assert (answer.status, answer.headers["Location"]) == (303, f"/patients/{patient}?done=uploaded")
        page = await other.open(f"/patients/{patient}", headers=sent)
        document = re.search(r'value="([0-9a-f]{32})"', page.text)[1]
        got = await other.open(f"/documents/{document}/download", headers=sent)
        assert got.body == content
        assert peak_bytes() - before < 32 * 1024 * 1024


async def test_journal_gets_no_word_of_what_is_sent(bench):
    """The libraries' warnings quote file names; nothing of them, and no traceback, may reach the journal."""
    browser = await bench.claimed()
    patient = await browser.add_patient(family="Canary")
    other = Browser(bench, browser._client.connector._ssl)
    bench.stack.push_async_callback(other.close)
    async with practice_alone(bench) as (port, _):
        other.origin = f"https://{bench.host}:{port}"
        other.set_cookie("__Host-session", browser.cookies["__Host-session"].value)
        sent = {"Host": bench.host, "Sec-Fetch-Site": "same-origin"}
        csrf = (await other.open(f"/patients/{patient}", headers=sent)).csrf
        for head in ('form-data; name="file"; filename="Canary', 'form-data; file;name="Canary.pdf"', "Canary"):
            parts = ['form-data; name="csrf"', csrf, head, "%PDF-Canary"]
            body = "".join(f"--b\r\nContent-Disposition: {parts[at]}\r\n\r\n{parts[at + 1]}\r\n" for at in (0, 2))
            headers_sent = {**sent, "Content-Type": "multipart/form-data; boundary=b"}
            path = f"/patients/{patient}/documents"
            answer = await other.ask("POST", path, data=f"{body}--b--\r\n".encode(), headers=headers_sent)
            assert answer.status in {415, 422}
        assert (await other.open("/patients?text=Canary", headers=sent)).status == 200
    said = (bench.folder / "said").read_text()
    assert "Canary" not in said
    assert patient not in said
    assert all(line.startswith("confined ") for line in said.splitlines()), said


async def test_a_document_that_must_be_kept_is_deleted_for_a_stated_reason_only(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    document = await browser.add_document(patient)
    asked = await browser.open(f"/documents/{document}/delete")
    assert "zehn Jahre nach dem Ende der Behandlung" in asked.text
    assert asked.text.count('type="radio"') == 4
    refused = await browser.send(f"/documents/{document}/delete", {"confirmed": "yes"})
    assert (refused.status, refused.error) == (403, "retention")
    assert "Das muss noch aufbewahrt werden." in refused.text
    assert 'type="radio"' in refused.text
    assert (await browser.open(f"/documents/{document}/open")).status == 200
    await browser.send(f"/documents/{document}/delete", {"confirmed": "yes", "reason": "wrong_patient"})
    assert (await browser.open(f"/documents/{document}/open")).status == 404
    assert "gehörte zu einer anderen Person" in (await browser.open("/history")).text


async def test_a_patient_whose_documents_must_be_kept_stays(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    await browser.add_document(patient)
    assert 'type="radio"' in (await browser.open(f"/patients/{patient}/delete")).text
    refused = await browser.send(f"/patients/{patient}/delete", {"confirmed": "yes", "reason": "nonsense"})
    assert (refused.status, refused.error) == (403, "retention")
    assert (await browser.open(f"/patients/{patient}")).status == 200
