"""Documents: uploads streamed to records, shown and given back byte for byte, erased."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys

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
        _, parameters = aiohttp.multipart.parse_content_disposition(answer.headers["Content-Disposition"])
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert parameters["filename*"] == kept
        assert parameters["filename"].isascii()


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
    await browser.send(f"/documents/{document}/delete", {"confirmed": "yes"})
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
        assert (answer.status, answer.error) == (503, "uploads_busy")


class Alone:
    """practice in its own process, beside the bench's peers."""

    def __init__(self, bench: Bench) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        os.set_inheritable(self.listener.fileno(), True)
        command = [sys.executable, "-m", "tests.practice.alone", str(bench.folder), str(self.listener.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[self.listener.fileno()], stdout=subprocess.PIPE)
        self.port = self.listener.getsockname()[1]

    def peak_bytes(self) -> int:
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) * 1024

    def __enter__(self) -> "Alone":
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.process.stdout.close()
        self.listener.close()


async def test_upload_is_never_buffered_on_disk(bench):
    """practice runs confined and may write no byte to a file; 96 MiB pass through it in a few MiB of memory."""
    browser = await bench.claimed()
    patient = await browser.add_patient()
    size = 96 * 1024 * 1024
    content = PDF + bytes(size)
    with await asyncio.to_thread(Alone(bench).__enter__) as alone:
        try:
            other = Browser(bench, browser._client.connector._ssl)
            other.origin = f"https://{bench.host}:{alone.port}"
            other.set_cookie("__Host-session", browser.cookies["__Host-session"].value)
            sent = {"Host": bench.host}
            await other.open(f"/patients/{patient}", headers=sent)
            before = alone.peak_bytes()
            form = aiohttp.FormData(default_to_multipart=True)
            form.add_field("csrf", other.csrf)
            form.add_field("kind", "finding")
            form.add_field("file", content, filename="gross.pdf")
            sent["Sec-Fetch-Site"] = "same-origin"
            answer: Answer = await other.ask(
                "POST", f"/patients/{patient}/documents", data=form, headers=sent, follow=False
            )
            assert (answer.status, answer.headers["Location"]) == (303, f"/patients/{patient}?done=uploaded")
            page = await other.open(f"/patients/{patient}", headers={"Host": bench.host})
            document = re.search(r'value="([0-9a-f]{32})"', page.text)[1]
            got = await other.open(f"/documents/{document}/download", headers={"Host": bench.host})
            assert got.body == content
            assert alone.peak_bytes() - before < 32 * 1024 * 1024, json.dumps([before, alone.peak_bytes()])
        finally:
            await other.close()
            alone.__exit__()
