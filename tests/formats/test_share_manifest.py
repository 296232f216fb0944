"""The manifest: it opens for its key, box, locator and expiry only, in one spelling, and hides names and counts.

`python tests/formats/test_share_manifest.py` writes tests/vectors/share_manifest.json anew.
"""

import contextlib
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import Invalid, Tampered
from appliance.formats import share_manifest
from appliance.formats.padme import padme

FILE = Path(__file__).parent.parent / "vectors" / "share_manifest.json"
KEY, NONCE, BOX, LOCATOR, EXPIRES_AT = bytes(range(32)), bytes(range(12)), bytes(range(16)), "0f" * 16, 1_900_000_000


def document(number: int = 1, **changes: Any) -> share_manifest.ManifestDocument:
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "file": f"{number + 1000:032x}",
        "key": share_manifest.format_key(number.to_bytes(32, "big")),
        "name": "Befund „Müller“.pdf",
        "title": "Befund vom 3. März",
        "kind": "finding",
        "media_type": "application/pdf",
        "length": 1000,
        "sealed_length": 1200,
        "sha256": "ab" * 32,
    }
    return share_manifest.ManifestDocument(**(values | changes))


def preview(number: int = 2001, **changes: Any) -> share_manifest.ManifestPreview:
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "file": f"{number + 1000:032x}",
        "key": share_manifest.format_key(number.to_bytes(32, "big")),
        "length": 500,
        "sealed_length": 700,
        "sha256": "cd" * 32,
    }
    return share_manifest.ManifestPreview(**(values | changes))


def manifest(*documents: share_manifest.ManifestDocument) -> share_manifest.Manifest:
    return share_manifest.Manifest(version=1, documents=documents or (document(),))


def seal(value: share_manifest.Manifest) -> bytes:
    return share_manifest.seal_manifest(value, KEY, NONCE, BOX, LOCATOR, EXPIRES_AT)


def opened(sealed: bytes) -> share_manifest.Manifest:
    return share_manifest.open_manifest(sealed, KEY, BOX, LOCATOR, EXPIRES_AT)


def seal_json(encoded: bytes) -> bytes:
    """Seal any bytes under the right key and context: authentic, but not what the format says."""
    context = share_manifest.manifest_associated_data(BOX, LOCATOR, EXPIRES_AT)
    return NONCE + AESGCM(KEY).encrypt(NONCE, encoded, context)


def padded(encoded: bytes) -> bytes:
    return encoded.ljust(padme(len(encoded)))


def as_json(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def vectors() -> dict[str, Any]:
    common: dict[str, Any] = {"key": KEY.hex(), "box": BOX.hex(), "locator": LOCATOR, "expires_at": EXPIRES_AT}
    one, two = manifest(), manifest(document(1), document(2, kind="sick_note", title="", length=0, sealed_length=120))
    stated = [
        {"name": name, "outcome": "ok", **common, "sealed": b64encode(seal(value)).decode(),
         "manifest": value}
        for name, value in (("one_document", one), ("two_documents", two))
    ]  # fmt: skip
    good = seal(one)
    plain = msgspec.json.encode(one)
    text = plain.decode()
    refused = {**common, "outcome": "tampered", "sealed": b64encode(good).decode()}
    stated += [
        {**refused, "name": "other_key", "key": "00" * 32},
        {**refused, "name": "other_box", "box": "00" * 16},
        {**refused, "name": "other_locator", "locator": "00" * 16},
        {**refused, "name": "later_expiry", "expires_at": EXPIRES_AT + 1},
    ]
    wrong = {
        "nothing": b"",
        "only_nonce_and_half_a_tag": good[:20],
        "changed_nonce": bytes((good[0] ^ 1,)) + good[1:],
        "changed_text": good[:50] + bytes((good[50] ^ 1,)) + good[51:],
        "changed_tag": good[:-1] + bytes((good[-1] ^ 1,)),
        "cut_by_one": good[:-1],
        "one_byte_more": good + b"\0",
        "not_padded": seal_json(plain),
        "padded_with_zeros": seal_json(plain + bytes(padme(len(plain)) - len(plain))),
        "not_json": seal_json(b"no"),
        "version_2": seal_json(padded(plain.replace(b'"version":1', b'"version":2'))),
        "unknown_field": seal_json(padded(plain.replace(b'{"version":1', b'{"more":1,"version":1'))),
        "missing_field": seal_json(padded(plain.replace(b'"kind":"finding",', b""))),
        "other_spelling": seal_json(padded(json.dumps(json.loads(text), ensure_ascii=False).encode())),
        "escaped_letters": seal_json(padded(json.dumps(json.loads(text), separators=(",", ":")).encode())),
        "no_documents": seal_json(padded(b'{"version":1,"documents":[]}')),
        "document_twice": seal_json(padded(msgspec.json.encode(manifest(document(1), document(1))))),
        "key_too_short": seal_json(padded(msgspec.json.encode(manifest(document(key="AAAA"))))),
        "path_in_file": seal_json(padded(msgspec.json.encode(manifest(document(file="../" + "0" * 29))))),
        "length_negative": seal_json(padded(msgspec.json.encode(manifest(document(length=-1))))),
        "sealed_shorter_than_content": seal_json(padded(msgspec.json.encode(manifest(document(sealed_length=999))))),
    }
    shown = document(1, name="schädel.dcm", media_type="application/dicom", kind="image", preview=preview())
    stated_previews = manifest(shown, document(2), document(3, preview=preview(2002)))
    with_preview = msgspec.json.encode(manifest(shown))
    wrong |= {
        "preview_null": seal_json(padded(plain.replace(b"}]}", b',"preview":null}]}'))),
        "preview_before_its_place": seal_json(padded(_preview_first(with_preview))),
        "preview_with_a_name": seal_json(
            padded(with_preview.replace(b'"length":500', b'"name":"a.jpg","length":500'))
        ),
        "preview_without_digest": seal_json(padded(with_preview.replace(b',"sha256":"' + b"cd" * 32 + b'"', b""))),
        "preview_has_the_document_s_key": _with_preview(key=document(1).key),
        "preview_has_the_document_s_file": _with_preview(file=document(1).file),
        "preview_has_another_document_s_identifier": _with_preview(id=document(2).id),
        "preview_sealed_shorter_than_content": _with_preview(sealed_length=500),
        "preview_is_a_list": seal_json(padded(plain.replace(b"}]}", b',"preview":[]}]}'))),
    }
    stated += [{**refused, "name": name, "sealed": b64encode(sealed).decode()} for name, sealed in wrong.items()]
    stated.append(
        {
            "name": "with_previews",
            "outcome": "ok",
            **common,
            "sealed": b64encode(seal(stated_previews)).decode(),
            "manifest": stated_previews,
        }
    )
    stated += _with_boxes(common, refused)
    return as_json({"format": "docs/formats/share-manifest.md", "how_to_read": "sealed is base64", "vectors": stated})


def _with_boxes(common: dict[str, Any], refused: dict[str, Any]) -> list[dict[str, Any]]:
    """Files that another box sealed: each document and each preview says so for itself."""
    other, third = "ab" * 16, "cd" * 16
    shown = {"name": "schädel.dcm", "media_type": "application/dicom", "kind": "image"}
    value = manifest(
        document(1, box=other),
        document(2),
        document(3, box=other, preview=preview(box=third), **shown),
        document(4, preview=preview(2004, box=other), **shown),
        document(5, box=other, preview=preview(2005), **shown),
    )
    encoded = msgspec.json.encode(manifest(document(box=other)))
    spelled = b',"box":"' + other.encode() + b'"'
    assert spelled in encoded
    wrong = {
        "own_box_named": msgspec.json.encode(manifest(document(box=BOX.hex()))),
        "own_box_named_by_a_preview": msgspec.json.encode(manifest(document(preview=preview(box=BOX.hex())))),
        "box_null": encoded.replace(spelled, b',"box":null'),
        "box_empty": encoded.replace(spelled, b',"box":""'),
        "box_in_capitals": encoded.replace(other.encode(), other.upper().encode()),
        "box_too_short": encoded.replace(other.encode(), other[2:].encode()),
        "box_is_a_list": encoded.replace(spelled, b',"box":["' + other.encode() + b'"]'),
        "box_before_its_place": encoded.replace(spelled, b"").replace(b'{"id"', b"{" + spelled[1:] + b',"id"'),
        "box_of_the_manifest": encoded.replace(spelled, b"").replace(b"}]}", b"}]" + spelled + b"}"),
    }
    good = {**common, "outcome": "ok", "name": "sealed_on_other_boxes", "manifest": value}
    return [
        good | {"sealed": b64encode(seal(value)).decode()},
        *(
            {**refused, "name": name, "sealed": b64encode(seal_json(padded(text))).decode()}
            for name, text in wrong.items()
        ),
    ]


def _with_preview(**changes: Any) -> bytes:
    value = manifest(document(1, preview=preview(**changes)), document(2))
    return seal_json(padded(msgspec.json.encode(value)))


def _preview_first(encoded: bytes) -> bytes:
    value = json.loads(encoded)
    entry = value["documents"][0]
    value["documents"][0] = {"preview": entry.pop("preview"), **entry}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


STORED = json.loads(FILE.read_text()) if FILE.exists() else {"vectors": []}


def test_the_format_still_writes_the_stored_vectors() -> None:
    assert vectors() == STORED


@pytest.mark.parametrize("vector", STORED["vectors"], ids=lambda vector: vector["name"])
def test_vector_has_its_outcome(vector: dict[str, Any]) -> None:
    key, box = bytes.fromhex(vector["key"]), bytes.fromhex(vector["box"])
    arguments = (b64decode(vector["sealed"]), key, box, vector["locator"], vector["expires_at"])
    if vector["outcome"] == "tampered":
        with pytest.raises(Tampered):
            share_manifest.open_manifest(*arguments)
    else:
        assert as_json(share_manifest.open_manifest(*arguments)) == vector["manifest"]


def test_the_box_of_a_document_cannot_be_changed_without_breaking_the_manifest() -> None:
    """Whoever holds the sealed bytes, and even knows what stands in them, cannot make them say another box."""
    other = "ab" * 16
    sealed = seal(manifest(document(box=other)))
    assert [share_manifest.sealed_on(each, BOX).hex() for each in opened(sealed).documents] == [other]
    at = 12 + msgspec.json.encode(manifest(document(box=other))).index(other.encode())
    for place in range(at, at + 32):
        with pytest.raises(Tampered):
            opened(sealed[:place] + bytes((sealed[place] ^ 0x01,)) + sealed[place + 1 :])
    assert share_manifest.sealed_on(document(), BOX) == BOX
    with pytest.raises(Invalid):
        seal(manifest(document(box=BOX.hex())))


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(texts, texts, st.integers(0, 1 << 40)), min_size=1, max_size=20))
def test_what_is_sealed_opens(values: list[tuple[str, str, int]]) -> None:
    value = manifest(
        *(
            document(number, name=name, title=title, length=length, sealed_length=length + 100)
            for number, (name, title, length) in enumerate(values)
        )
    )
    sealed = seal(value)
    assert opened(sealed) == value
    assert len(sealed) - 28 == padme(len(sealed) - 28)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(seal(manifest()))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Tampered):
        opened(bytes(sealed))


ENCODED = msgspec.json.encode(manifest())


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(ENCODED)), st.integers(0, 3), st.binary(max_size=3), st.booleans())
def test_what_opens_seals_to_the_same_bytes(at: int, dropped: int, added: bytes, pad: bool) -> None:
    """Fuzz the inside under the valid key: what a reader accepts has one form only."""
    encoded = ENCODED[:at] + added + ENCODED[at + dropped :]
    sealed = seal_json(padded(encoded) if pad else encoded)
    with contextlib.suppress(Tampered):
        assert seal(opened(sealed)) == sealed


@given(st.binary(max_size=200))
def test_noise_is_tampered_and_nothing_else(noise: bytes) -> None:
    for sealed in (noise, seal_json(noise)):
        with pytest.raises(Tampered):
            opened(sealed)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "A" * 32}, {"file": "0" * 31}, {"file": "0" * 32 + "\n"}, {"key": "A" * 42 + "B"}, {"key": "A" * 44},
        {"name": ""}, {"name": "a\nb"}, {"name": "\ud800"}, {"title": "a\x00"}, {"kind": "Finding"},
        {"media_type": "pdf"}, {"box": "AB" * 16}, {"box": ""}, {"length": -1}, {"length": 1 << 41}, {"sealed_length": 1000}, {"sha256": "ab" * 31},
    ],
)  # fmt: skip
def test_a_manifest_no_reader_would_accept_is_not_sealed(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        seal(manifest(document(**changes)))


def test_a_document_file_or_key_occurs_once() -> None:
    for field in ("id", "file", "key"):
        with pytest.raises(Invalid):
            seal(manifest(document(1), document(2, **{field: getattr(document(1), field)})))


def test_number_and_size_are_capped() -> None:
    most = [document(number) for number in range(share_manifest.MAX_DOCUMENTS)]
    assert len(opened(seal(manifest(*most))).documents) == share_manifest.MAX_DOCUMENTS
    with pytest.raises(Invalid):
        seal(manifest(*most, document(300)))
    longest = [document(number, name="🩺" * 255, title="🩺" * 255) for number in range(share_manifest.MAX_DOCUMENTS)]
    assert opened(seal(manifest(*longest))).documents[0].name == "🩺" * 255
    with pytest.raises(Tampered):
        opened(bytes(share_manifest.MAX_SEALED_MANIFEST_BYTES + 1))


def test_the_size_tells_steps_only() -> None:
    """400 bytes are padded in steps of 16, a share of twenty documents in steps of 256."""
    assert len({len(seal(manifest(document(title="a" * length)))) for length in range(100)}) <= 8
    twenty = [document(number) for number in range(20)]
    sizes = {len(seal(manifest(*twenty, document(99, title="a" * length)))) for length in range(100)}
    assert len(sizes) <= 2


def test_nothing_of_a_document_shows_in_repr() -> None:
    assert repr(document()) == "ManifestDocument(...)"
    assert "ller" not in repr(manifest())


def test_a_key_has_one_spelling() -> None:
    for key in (bytes(32), b"\xff" * 32, bytes(range(32))):
        assert share_manifest.parse_key(share_manifest.format_key(key)) == key
    with pytest.raises(Invalid):
        share_manifest.format_key(bytes(31))


@pytest.mark.parametrize(
    ("box", "locator", "expires_at"),
    [
        (bytes(15), LOCATOR, EXPIRES_AT), (BOX, "0F" * 16, EXPIRES_AT), (BOX, "0f" * 15, EXPIRES_AT),
        (BOX, "0f " * 10 + "0f", EXPIRES_AT), (BOX, "zz" * 16, EXPIRES_AT), (BOX, LOCATOR, 0),
        (BOX, LOCATOR, 1 << 63),
    ],
)  # fmt: skip
def test_a_context_of_a_wrong_form_is_invalid(box: bytes, locator: str, expires_at: int) -> None:
    with pytest.raises(Invalid):
        share_manifest.manifest_associated_data(box, locator, expires_at)


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n")
