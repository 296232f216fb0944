"""Two scanners against a patient's way to a box, and one ClientHello of our own; each result as plain data.

testssl.sh is Debian's; sslyze lives in an environment of its own (requirements/scan.txt). Both are sent to 127.0.0.1 with the
box's name in SNI. Sources: testssl(1); sslyze's JSON output; RFC 8446 4.1.4 and 4.2.8 (a group that is offered without a
share of it is asked for by HelloRetryRequest), draft-ietf-tls-ecdhe-mlkem (the group's number).
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SSLYZE = ROOT / ".venv-scan/bin/python"
X25519, X25519MLKEM768 = 0x001D, 0x11EC
#: RFC 8446 4.1.3: the random of a ServerHello that is a HelloRetryRequest.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
#: Protocols, cipher categories, forward secrecy, what the server says of itself and its certificate.
QUICK_CHECKS = ("-p", "-s", "-f", "-S")


async def scan_with_testssl(
    host: str, port: int, authority: Path, folder: Path, checks: tuple[str, ...] = QUICK_CHECKS
) -> list[dict[str, str]]:
    """Give testssl's findings: id, severity, finding. No check at all means every one it has."""
    found, said = folder / "testssl.json", folder / "testssl.txt"
    with said.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("testssl", "--warnings", "off", "--color", "0", "--quiet", "--nodns", "none", "--ip", "127.0.0.1"),
            *("--add-ca", str(authority), "--jsonfile", str(found), *checks, f"{host}:{port}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TERM": "dumb"},
        )
        await process.wait()
    assert found.exists(), said.read_text()
    findings: list[dict[str, str]] = json.loads(found.read_text())
    assert findings[-1]["id"] == "scanTime", said.read_text()  # else it gave up on the way
    return findings


async def scan_with_sslyze(host: str, port: int, authority: Path, folder: Path) -> dict[str, Any]:
    """Give sslyze's result of every check: name -> result."""
    assert SSLYZE.exists(), "`make .venv-scan/.installed` installs it"
    found = folder / "sslyze.json"
    versions = ("--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3")
    others = ("--certinfo", "--compression", "--early_data", "--elliptic_curves", "--fallback", "--heartbleed")
    process = await asyncio.create_subprocess_exec(
        *(str(SSLYZE), "-m", "sslyze", *versions, *others, "--openssl_ccs", "--reneg", "--resum", "--robot"),
        *("--mozilla_config=disable", "--certinfo_ca_file", str(authority), "--json_out", str(found)),
        *("--sni", host, f"127.0.0.1:{port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert found.exists(), said.decode()
    [server] = json.loads(found.read_text())["server_scan_results"]
    checks = {name: check for name, check in server["scan_result"].items() if check["status"] != "NOT_SCHEDULED"}
    assert {check["status"] for check in checks.values()} == {"COMPLETED"}, checks
    return {name: check["result"] for name, check in checks.items()}


async def offers_group(host: str, port: int, group: int) -> bool:
    """Say whether a server takes this group: it is the only one offered, without a share of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(hello_with_group(host, group))
    header = await reader.read(5)
    if header[:1] in (b"", b"\x15"):  # an alert, or the end: asyncio says none when a handshake fails
        writer.close()
        return False
    record = await reader.readexactly(int.from_bytes(header[3:], "big"))
    writer.close()
    assert (header[0], record[0]) == (22, 2), "a ServerHello"
    assert record[6:38] == RETRY
    assert struct.pack(">HHH", 51, 2, group) in record, "key_share names the group"
    return True


def hello_with_group(host: str, group: int) -> bytes:
    """Give the ClientHello."""

    def extension(number: int, body: bytes) -> bytes:
        return struct.pack(">HH", number, len(body)) + body

    name = host.encode()
    extensions = b"".join(
        [
            extension(0, struct.pack(">HBH", len(name) + 3, 0, len(name)) + name),
            extension(10, struct.pack(">HH", 2, group)),
            extension(13, struct.pack(">HHH", 4, 0x0403, 0x0804)),
            extension(43, b"\x02\x03\x04"),
            extension(51, b"\x00\x00"),
        ]
    )
    body = b"\x03\x03" + os.urandom(32) + b"\x20" + os.urandom(32) + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message
