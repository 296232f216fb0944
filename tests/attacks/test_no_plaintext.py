"""A5: there is no plaintext path and nothing is negotiated. A6: names, types and sizes are inside the ciphertext too.

What is on the wire, on the disk and in memory: test_canaries.py.
"""

import contextlib
import re
import socket
import ssl
from pathlib import Path

import pytest

from appliance.formats.share_link import format_secret, parse_secret
from tests.attacks.canaries import Canaries
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient
from tests.simulators.staff import Staff

ROOT = Path(__file__).parents[2]


async def planted(staff: Staff) -> tuple[Canaries, str, str]:
    """Give canaries, link and PIN of a new patient's one document."""
    canaries = Canaries()
    patient = await staff.create_patient(canaries.plant("family"))
    content = (canaries.plant("content") + "\n").encode() * 400
    await staff.upload(patient, content, name=f"{canaries.plant('file')}.txt", title=canaries.plant("title"))
    link, pin = await staff.share(patient)
    return canaries, link, pin


# --- A5 --------------------------------------------------------------------------------------------------------

WISHES = [
    {"Accept-Encoding": "identity"},
    {"Accept": "text/plain, application/pdf"},
    {"X-Encryption": "none"},
    {"Praxis-Encryption": "off"},
    {"Cookie": "encryption=none; plain=1"},
    {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"},
    {"TE": "trailers, deflate"},
    {"Want-Content-Digest": "sha-256=1"},
]


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: next(iter(wish)))
async def test_no_header_makes_the_box_send_anything_but_the_same_ciphertext(box: DemoBox, staff: Staff, wish):
    canaries, link, pin = await planted(staff)
    async with Patient(link, box.portal_ca) as holder:
        ((document, _),) = await holder.open_documents(pin)
        asked = {"Praxis-Locator": holder.keys.locator, "Praxis-File": document.file}
        plain = await holder.ask("GET", "/share/document", headers=asked)
        wished = await holder.ask("GET", "/share/document", headers=asked | wish)
        assert wished.body == plain.body
        assert canaries.found_in(wished.body) == set()


@pytest.mark.parametrize("query", ["?plain=1", "?encryption=none", "?format=pdf", "?alt=media"])
async def test_no_parameter_is_understood(box: DemoBox, query):
    async with Patient(box.patient_link, box.portal_ca) as holder:
        for path in ("/share/document", "/share/manifest", "/api/state"):
            answer = await holder.ask("GET", path + query, headers={"Praxis-Locator": holder.keys.locator})
            assert answer.body == b'{"state":"unknown"}'


def test_a_link_of_another_version_is_no_link():
    good = format_secret(bytes(32))
    assert parse_secret(good) == bytes(32)
    for version in (0, 2, 255):
        other = __import__("base64").urlsafe_b64encode(bytes((version,)) + bytes(32)).decode()
        with pytest.raises(Exception, match="share_version"):
            parse_secret(other)


def test_the_portal_s_port_speaks_tls_1_3_and_nothing_less(box: DemoBox):
    port = box.port_base + 1
    for host in (box.said["page_host"], box.said["portal_name"]):
        context = ssl.create_default_context(cafile=str(box.portal_ca))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", port), 5) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(raw, server_hostname=host)
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: " + box.said["page_host"].encode() + b"\r\n\r\n")
        raw.settimeout(15)
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(100) == b"", "no plaintext HTTP, not even an answer to it"


def test_no_source_knows_a_way_without_encryption():
    """A branch that leaves encryption out would need a word for it."""
    words = re.compile(
        r"no_encrypt|unencrypted|without_encryption|plaintext_(mode|path)|cipher\s*=\s*None|suite\s*=="
    )
    for folder in ("appliance/formats", "appliance/gateway", "appliance/records", "appliance/vault"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in {".py", ".js"} and "node_modules" not in file.parts:
                for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                    assert not words.search(line), f"{file.relative_to(ROOT)}:{number}: {line.strip()}"


# --- A6 --------------------------------------------------------------------------------------------------------


async def test_what_gateway_sends_holds_no_name_title_type_or_content(box: DemoBox, staff: Staff):
    """The same inside TLS: every body that gateway answers with."""
    canaries, link, pin = await planted(staff)
    async with Patient(link, box.portal_ca) as holder:
        ((document, _),) = await holder.open_documents(pin)
        bodies = [
            (await holder.state()).body,
            (await holder.offer(pin)).body,
            (await holder.manifest()).body,
            (await holder.sealed(document.file)).body,
            (await holder.ask("GET", "/")).body,
        ]
    for body in bodies:
        assert canaries.found_in(body) == set()
        assert b"text/plain" not in body or body is bodies[-1]


async def test_files_of_one_size_class_have_one_sealed_length(box: DemoBox, staff: Staff):
    """Padmé: 100,000 and 100,200 bytes are one class, so the portal cannot tell them apart; 120,000 is another."""
    patient = await staff.create_patient("Groesse")
    for size in (100_000, 100_200, 120_000):
        await staff.upload(patient, b"x" * size, name="befund.txt")
    link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        documents = [document for document, _ in await holder.open_documents(pin)]
        lengths = {document.length: len((await holder.sealed(document.file)).body) for document in documents}
    assert lengths[100_000] == lengths[100_200] < lengths[120_000]


async def test_the_length_of_a_name_does_not_show(box: DemoBox, staff: Staff):
    """Manifests of one document have one size for names of 5 and of 25 characters."""
    sizes = set()
    for name in ("a.txt", "b" * 21 + ".txt"):
        patient = await staff.create_patient(f"Manifest{len(name)}")
        await staff.upload(patient, b"x" * 1000, name=name, title="Befund")
        link, _ = await staff.share(patient)
        async with Patient(link, box.portal_ca) as holder:
            sizes.add(len((await holder.manifest()).body))
    assert max(sizes) - min(sizes) <= 32, "one step of the padding at this size"
