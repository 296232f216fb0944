"""Writes and checks tests/vectors/envelope_*.json, which the browser's tests read too.

`python tests/formats/test_envelope_vectors.py` writes the files anew; a changed byte in them is a changed format.
A vector's file is the concatenation of its `sealed` parts: a slice of one of `files` (base64), or `hex`.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from appliance.core.errors import Tampered
from appliance.formats import envelope
from appliance.formats.padme import padme

FOLDER = Path(__file__).parent.parent / "vectors"
KEY, SALT, PREFIX = bytes(range(32)), bytes(range(64, 96)), bytes(range(7))
BOX, DOCUMENT, CONTEXT = bytes(range(16)), bytes(range(32, 48)), b"vector"
SEGMENT = 65536


def noise(label: str, length: int) -> bytes:
    return hashlib.shake_128(label.encode()).digest(length)


def seal_stream(plaintext: bytes, context: bytes, salt: bytes = SALT) -> bytes:
    sealer = envelope.Sealer(KEY, context, salt, PREFIX)
    return sealer.header() + sealer.seal(plaintext) + sealer.finish()


def seal_document(name: str, media_type: str, content: bytes) -> bytes:
    sealer = envelope.DocumentSealer(KEY, BOX, DOCUMENT, name, media_type, SALT, PREFIX)
    return sealer.header() + sealer.seal(content) + b"".join(sealer.finish())


def part(file: str, start: int, end: int) -> dict[str, Any]:
    return {"file": file, "from": start, "to": end}


def damaged(file: str, sealed: bytes) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Return every kind of damage to a file of three segments: name -> what was done, parts."""
    size = len(sealed)
    head, middle, last = part(file, 0, SEGMENT), part(file, SEGMENT, 2 * SEGMENT), part(file, 2 * SEGMENT, size)
    places = {
        "header_length": 0,
        "salt": 1,
        "nonce_prefix": 33,
        "first_byte": 40,
        "first_tag": SEGMENT - 1,
        "second_segment": SEGMENT + 5,
        "last_segment": 2 * SEGMENT,
        "last_tag": size - 1,
    }
    cases = {
        f"changed_{name}": (
            f"lowest bit of byte {at} changed",
            [part(file, 0, at), {"hex": bytes((sealed[at] ^ 1,)).hex()}, part(file, at + 1, size)],
        )
        for name, at in places.items()
    }
    cases |= {
        "nothing": ("no byte at all", []),
        "half_a_header": ("ends within the header", [part(file, 0, 39)]),
        "only_the_header": ("no segment", [part(file, 0, 40)]),
        "cut_by_one": ("last byte missing", [part(file, 0, size - 1)]),
        "cut_after_first_segment": ("ends at the first border", [head]),
        "cut_after_second_segment": ("ends at the second border", [head, middle]),
        "cut_within_second_segment": ("ends within the second segment", [part(file, 0, SEGMENT + 4000)]),
        "without_second_segment": ("a segment left out", [head, last]),
        "second_segment_twice": ("a segment repeated", [head, middle, middle, last]),
        "last_segment_twice": ("last segment repeated", [head, middle, last, last]),
        "segments_exchanged": ("last segment before the second", [head, last, middle]),
        "one_byte_more": ("a zero byte at the end", [part(file, 0, size), {"hex": "00"}]),
        "file_twice": ("the whole file repeated", [part(file, 0, size), part(file, 0, size)]),
    }
    return cases


def stream_vectors() -> dict[str, Any]:
    plaintexts = {"empty": b"", "one_byte": b"\x5a", "one_full_segment": noise("full", 65480)}
    plaintexts["three_segments"] = noise("three", 65480 + 65520 + 1)
    files = {name: seal_stream(plaintext, CONTEXT) for name, plaintext in plaintexts.items()}
    common = {"key": KEY.hex(), "associated_data": CONTEXT.hex()}
    vectors = [
        {
            "name": name,
            "outcome": "ok",
            **common,
            "plaintext_length": len(plaintext),
            "plaintext_sha256": hashlib.sha256(plaintext).hexdigest(),
            "sealed": [part(name, 0, len(files[name]))],
        }
        for name, plaintext in plaintexts.items()
    ]
    whole = [part("three_segments", 0, len(files["three_segments"]))]
    vectors += [
        {"name": name, "outcome": "tampered", "comment": comment, **common, "sealed": parts}
        for name, (comment, parts) in damaged("three_segments", files["three_segments"]).items()
    ]
    vectors += [
        {"name": "other_key", "outcome": "tampered", **common, "key": "00" * 32, "sealed": whole},
        {"name": "other_context", "outcome": "tampered", **common, "associated_data": "", "sealed": whole},
    ]
    header = files["one_full_segment"][:40]
    cipher = envelope.SegmentCipher(KEY, CONTEXT, header)
    doubtful = header + cipher.seal(0, False, plaintexts["one_full_segment"]) + cipher.seal(1, True, b"")
    files["empty_last_segment"] = doubtful
    vectors.append(
        {
            "name": "empty_last_segment",
            "outcome": "tampered",
            "comment": "authentic, but the same plaintext has a shorter form",
            "only_one_spelling": True,
            **common,
            "sealed": [part("empty_last_segment", 0, len(doubtful))],
        }
    )
    return {
        "format": "docs/formats/envelope.md, section Stream",
        "how_to_read": "sealed = the parts one after another; a part is files[file] (base64) from..to, or hex",
        "files": {name: b64encode(sealed).decode() for name, sealed in files.items()},
        "vectors": vectors,
    }


def inner(encoded: bytes, content: bytes, *, padding: bytes | None = None, length: int | None = None) -> bytes:
    """Return a document's plaintext, well formed unless told otherwise. `encoded` has its length before it."""
    bare = len(encoded) + len(content) + 8
    padding = bytes(padme(bare) - bare) if padding is None else padding
    return encoded + content + padding + (len(content) if length is None else length).to_bytes(8, "big")


def with_length(encoded: bytes) -> bytes:
    return len(encoded).to_bytes(4, "big") + encoded


def document_vectors() -> dict[str, Any]:
    documents = {
        "empty_text": ("leer.txt", "text/plain", b""),
        "short_text": ("Befund „Müller“ 1.txt", "text/plain", b"Alles in Ordnung.\n"),
        "zeros": ("zeros.bin", "application/octet-stream", bytes(500)),
        "three_segments": ("Röntgen.png", "image/png", noise("image", 129_500)),
    }
    files = {name: seal_document(*document) for name, document in documents.items()}
    common: dict[str, Any] = {"key": KEY.hex(), "box": BOX.hex(), "document": DOCUMENT.hex()}
    vectors: list[dict[str, Any]] = [
        {
            "name": name,
            "outcome": "ok",
            **common,
            "length": len(content),
            "document_name": document_name,
            "media_type": media_type,
            "content_sha256": hashlib.sha256(content).hexdigest(),
            "sealed": [part(name, 0, len(files[name]))],
        }
        for name, (document_name, media_type, content) in documents.items()
    ]
    length = len(documents["three_segments"][2])
    whole = [part("three_segments", 0, len(files["three_segments"]))]
    vectors += [
        {"name": name, "outcome": "tampered", "comment": comment, **common, "length": length, "sealed": parts}
        for name, (comment, parts) in damaged("three_segments", files["three_segments"]).items()
    ]
    refused = {"outcome": "tampered", **common, "length": length, "sealed": whole}
    vectors += [
        {**refused, "name": "other_key", "key": "00" * 32},
        {**refused, "name": "other_box", "box": "00" * 16},
        {**refused, "name": "other_document", "document": "00" * 16},
        {**refused, "name": "length_one_less", "length": length - 1},
        {**refused, "name": "length_one_more", "length": length + 1},
        {**refused, "name": "length_far_more", "length": length * 2},
        {**refused, "name": "zeros_length_less", "length": 499, "sealed": [part("zeros", 0, len(files["zeros"]))]},
    ]
    good = envelope.encode_inner_header("a.txt", "text/plain")
    content = b"content of 30 bytes, no more.\n"
    bare = len(good) + len(content) + 8
    room = padme(bare) - bare
    wrong = {
        "padding_not_zero": inner(good, content, padding=bytes(room - 1) + b"\x01"),
        "padding_missing": inner(good, content, padding=b""),
        "padding_too_long": inner(good, content, padding=bytes(room + 1)),
        "trailer_differs": inner(good, content, length=31),
        "no_trailer": (good + content)[:-3],
        "inner_header_unknown_field": inner(
            with_length(b'{"name":"a.txt","media_type":"text/plain","length":30}'), content
        ),
        "inner_header_missing_field": inner(with_length(b'{"name":"a.txt"}'), content),
        "inner_header_other_spelling": inner(with_length(b'{"media_type":"text/plain","name":"a.txt"}'), content),
        "inner_header_space": inner(with_length(b'{"name": "a.txt","media_type":"text/plain"}'), content),
        "inner_header_not_utf8": inner(with_length(b'{"name":"\xff.txt","media_type":"text/plain"}'), content),
        "inner_header_control_character": inner(
            with_length(b'{"name":"a\\n.txt","media_type":"text/plain"}'), content
        ),
        "inner_header_media_type": inner(with_length(b'{"name":"a.txt","media_type":"text"}'), content),
        "inner_header_length_beyond_end": inner((2000).to_bytes(4, "big") + good[4:], content),
        "inner_header_length_over_cap": inner(with_length(b'{"name":"' + b"a" * 2100 + b'"}'), content),
        "no_inner_header": b"",
    }
    for name, plaintext in wrong.items():
        files[name] = seal_stream(plaintext, envelope.document_associated_data(BOX, DOCUMENT))
        vectors.append(
            {
                **refused,
                "name": name,
                "comment": "authentic stream, wrong inside",
                "length": len(content),
                "sealed": [part(name, 0, len(files[name]))],
            }
        )
    return {
        "format": "docs/formats/envelope.md",
        "how_to_read": "sealed = the parts one after another; a part is files[file] (base64) from..to, or hex",
        "files": {name: b64encode(sealed).decode() for name, sealed in files.items()},
        "vectors": vectors,
    }


WRITERS = {"envelope_stream.json": stream_vectors, "envelope_document.json": document_vectors}
STORED = {name: json.loads((FOLDER / name).read_text()) for name in WRITERS if (FOLDER / name).exists()}


def sealed_bytes(stored: dict[str, Any], vector: dict[str, Any]) -> bytes:
    return b"".join(
        bytes.fromhex(piece["hex"])
        if "hex" in piece
        else b64decode(stored["files"][piece["file"]])[piece["from"] : piece["to"]]
        for piece in vector["sealed"]
    )


def cases(name: str) -> Any:
    vectors = STORED.get(name, {}).get("vectors", [])
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


@pytest.mark.parametrize("name", WRITERS)
def test_the_format_still_writes_the_stored_vectors(name: str) -> None:
    assert STORED[name] == WRITERS[name]()


@pytest.mark.parametrize("size", [1 << 18, 4001])
@cases("envelope_stream.json")
def test_stream_vector_has_its_outcome(vector: dict[str, Any], size: int) -> None:
    sealed = sealed_bytes(STORED["envelope_stream.json"], vector)
    opener = envelope.Opener(bytes.fromhex(vector["key"]), bytes.fromhex(vector["associated_data"]))

    def read() -> bytes:
        opened = [opener.open(sealed[start : start + size]) for start in range(0, len(sealed), size)]
        return b"".join([*opened, opener.finish()])

    if vector["outcome"] == "tampered":
        with pytest.raises(Tampered):
            read()
        with pytest.raises(Tampered):
            opener.finish()
        return
    plaintext = read()
    assert len(plaintext) == vector["plaintext_length"]
    assert hashlib.sha256(plaintext).hexdigest() == vector["plaintext_sha256"]


@pytest.mark.parametrize("size", [1 << 18, 4001])
@cases("envelope_document.json")
def test_document_vector_has_its_outcome(vector: dict[str, Any], size: int) -> None:
    sealed = sealed_bytes(STORED["envelope_document.json"], vector)
    box, document = bytes.fromhex(vector["box"]), bytes.fromhex(vector["document"])
    opener = envelope.DocumentOpener(bytes.fromhex(vector["key"]), box, document, vector["length"])

    def read() -> bytes:
        opened = [opener.open(sealed[start : start + size]) for start in range(0, len(sealed), size)]
        return b"".join([*opened, opener.finish()])

    if vector["outcome"] == "tampered":
        with pytest.raises(Tampered):
            read()
        with pytest.raises(Tampered):
            opener.finish()
        return
    assert hashlib.sha256(read()).hexdigest() == vector["content_sha256"]
    assert opener.inner_header == envelope.InnerHeader(vector["document_name"], vector["media_type"])


if __name__ == "__main__":
    for file_name, write in WRITERS.items():
        (FOLDER / file_name).write_text(json.dumps(write(), indent=1, ensure_ascii=False) + "\n")
