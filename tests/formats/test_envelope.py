"""Claims about the envelope that hold for every input: hypothesis looks for the one that breaks them."""

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import Invalid, PraxisError, Tampered
from appliance.formats import envelope
from appliance.formats.padme import padme

KEY, SALT, PREFIX, BOX, DOCUMENT = b"k" * 32, b"s" * 32, b"prefix7", b"b" * 16, b"d" * 16
SEGMENT = 65536
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255)
media_types = st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,20}/[a-z0-9][a-z0-9.+-]{0,20}", fullmatch=True)
#: Around what two segments hold, counted so that a document's header does not matter.
lengths = st.integers(0, 300) | st.integers(65300, 65600) | st.integers(130_900, 131_100) | st.integers(0, 300_000)


def noise(seed: object, length: int) -> bytes:
    return hashlib.shake_128(repr(seed).encode()).digest(length)


def in_pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut `data` by turns into pieces of these sizes."""
    pieces, start, turn = [], 0, 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[start : start + size])
        start, turn = start + size, turn + 1
    return pieces


def seal_stream(plaintext: bytes, sizes: list[int] | None = None) -> bytes:
    sealer = envelope.Sealer(KEY, b"context", SALT, PREFIX)
    return sealer.header() + b"".join(map(sealer.seal, in_pieces(plaintext, sizes or [1 << 20]))) + sealer.finish()


def open_stream(sealed: bytes, sizes: list[int] | None = None) -> bytes:
    opener = envelope.Opener(KEY, b"context")
    return b"".join(map(opener.open, in_pieces(sealed, sizes or [1 << 20]))) + opener.finish()


def seal_document(name: str, media_type: str, content: bytes, sizes: list[int] | None = None) -> bytes:
    sealer = envelope.DocumentSealer(KEY, BOX, DOCUMENT, name, media_type, SALT, PREFIX)
    sealed = sealer.header() + b"".join(map(sealer.seal, in_pieces(content, sizes or [1 << 20])))
    sealed += b"".join(sealer.finish())
    assert sealer.content_length == len(content)
    return sealed


piece_sizes = st.lists(st.integers(1000, 200_000), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(lengths, piece_sizes, piece_sizes)
def test_pieces_of_any_size_give_the_same_bytes(length: int, sealed_by: list[int], opened_by: list[int]) -> None:
    plaintext = noise(length, length)
    sealed = seal_stream(plaintext, sealed_by)
    assert sealed == seal_stream(plaintext)
    assert len(sealed) == envelope.sealed_length(length)
    assert open_stream(sealed, opened_by) == plaintext


def test_single_bytes_pass_through() -> None:
    plaintext = noise("single", 65600)
    assert open_stream(seal_stream(plaintext, [1]), [1]) == plaintext


@settings(max_examples=60, deadline=None)
@given(names, media_types, lengths, piece_sizes)
def test_a_document_returns_with_its_name_type_and_bytes(
    name: str, media_type: str, length: int, sizes: list[int]
) -> None:
    content = noise(length, length)
    sealed = seal_document(name, media_type, content, sizes)
    assert len(sealed) == envelope.document_sealed_length(name, media_type, length)
    opener = envelope.DocumentOpener(KEY, BOX, DOCUMENT, length)
    assert b"".join(map(opener.open, in_pieces(sealed, sizes))) + opener.finish() == content
    assert opener.inner_header == envelope.InnerHeader(name, media_type)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([0, 1, 500, 65480, 65481, 131_000, 131_001, 150_000]), st.data())
def test_any_changed_byte_is_noticed(length: int, data: st.DataObject) -> None:
    sealed = bytearray(seal_stream(noise(length, length)))
    borders = [at for at in (0, 39, 40, 65520, 65535, 65536, 131_072, len(sealed) - 1) if at < len(sealed)]
    at = data.draw(st.sampled_from(borders) | st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Tampered):
        open_stream(bytes(sealed))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0, 500, 65481, 131_001]), st.data())
def test_any_cut_is_noticed(length: int, data: st.DataObject) -> None:
    sealed = seal_stream(noise(length, length))
    end = data.draw(st.sampled_from([0, 39, 40, 56, 65536, 131_072]) | st.integers(0, len(sealed) - 1))
    if end < len(sealed):
        with pytest.raises(Tampered):
            open_stream(sealed[:end])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0, 500, 65480, 131_001]), st.binary(min_size=1, max_size=100))
def test_any_extension_is_noticed(length: int, more: bytes) -> None:
    with pytest.raises(Tampered):
        open_stream(seal_stream(noise(length, length)) + more)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=7))
def test_only_the_whole_row_of_segments_opens(order: list[int]) -> None:
    """Dropped, repeated and exchanged segments, and mixtures of these."""
    plaintext = noise("row", 65480 + 3 * 65520 + 100)
    sealed = seal_stream(plaintext)
    segments = [
        sealed[40:SEGMENT],
        *(sealed[start : start + SEGMENT] for start in range(SEGMENT, len(sealed), SEGMENT)),
    ]
    assert len(segments) == 5
    arranged = sealed[:40] + b"".join(segments[index] for index in order)
    if order == [0, 1, 2, 3, 4]:
        assert open_stream(arranged) == plaintext
    else:
        with pytest.raises(Tampered):
            open_stream(arranged)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.data())
def test_any_change_of_a_document_is_noticed(length: int, data: st.DataObject) -> None:
    sealed = bytearray(seal_document("a.txt", "text/plain", noise(length, length)))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    opener = envelope.DocumentOpener(KEY, BOX, DOCUMENT, length)
    with pytest.raises(Tampered):
        (opener.open(sealed), opener.finish())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 6000), st.booleans())
def test_only_the_true_length_opens(length: int, claimed: int, zeros: bool) -> None:
    content = bytes(length) if zeros else noise(length, length)
    opener = envelope.DocumentOpener(KEY, BOX, DOCUMENT, claimed)
    sealed = seal_document("a.txt", "text/plain", content)
    if claimed == length:
        assert opener.open(sealed) + opener.finish() == content
    else:
        with pytest.raises(Tampered):
            (opener.open(sealed), opener.finish())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 100))
def test_what_opens_seals_to_the_same_bytes(plaintext: bytes, length: int) -> None:
    """Fuzz the inside under a valid key: what a reader accepts has one form only."""
    sealer = envelope.Sealer(KEY, envelope.document_associated_data(BOX, DOCUMENT), SALT, PREFIX)
    sealed = sealer.header() + sealer.seal(plaintext) + sealer.finish()
    _assert_refused_or_same(sealed, length)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", b" ", b'{"name":"a","media_type":"b/c"}', b'{"media_type":"b/c","name":"a"}'])
    | st.builds(
        lambda name, kind: b'{"name":"%b","media_type":"%b"}' % (name, kind), st.binary(max_size=5), st.binary()
    ),
    st.binary(max_size=40),
    st.integers(-1, 1),
    st.integers(-1, 1),
    st.sampled_from([0, 0, 0, 1]),
)
def test_nearly_right_documents_seal_to_the_same_bytes(
    header: bytes, content: bytes, more_padding: int, more_length: int, filler: int
) -> None:
    bare = 4 + len(header) + len(content) + 8
    padding = bytes((filler,)) * max(0, padme(bare) - bare + more_padding)
    trailer = max(0, len(content) + more_length).to_bytes(8, "big")
    sealer = envelope.Sealer(KEY, envelope.document_associated_data(BOX, DOCUMENT), SALT, PREFIX)
    sealed = sealer.header() + sealer.seal(len(header).to_bytes(4, "big") + header + content + padding + trailer)
    _assert_refused_or_same(sealed + sealer.finish(), len(content))


def _assert_refused_or_same(sealed: bytes, length: int) -> None:
    opener = envelope.DocumentOpener(KEY, BOX, DOCUMENT, length)
    with contextlib.suppress(Tampered):
        content = opener.open(sealed) + opener.finish()
        header = opener.inner_header
        assert header is not None
        assert seal_document(header.name, header.media_type, content) == sealed


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), piece_sizes)
def test_noise_is_tampered_and_nothing_else(noise_bytes: bytes, sizes: list[int]) -> None:
    opener = envelope.DocumentOpener(KEY, BOX, DOCUMENT, 5)
    with pytest.raises(Tampered):
        ([opener.open(piece) for piece in in_pieces(b"\x28" + noise_bytes, sizes)], opener.finish())


def test_a_file_opens_for_its_box_and_document_only() -> None:
    sealed = seal_document("a.txt", "text/plain", b"content")
    for key, box, document in [
        (bytes(32), BOX, DOCUMENT),
        (KEY, DOCUMENT, DOCUMENT),
        (KEY, BOX, BOX),
        (KEY, DOCUMENT, BOX),
    ]:
        opener = envelope.DocumentOpener(key, box, document, 7)
        with pytest.raises(Tampered):
            (opener.open(sealed), opener.finish())


def test_documents_of_similar_size_have_one_size() -> None:
    assert (
        len({envelope.document_sealed_length("a.txt", "text/plain", size) for size in range(100_500, 102_300)}) == 1
    )


def test_a_name_moves_the_size_no_more_than_content_does() -> None:
    sizes = {envelope.document_sealed_length("n" * length, "image/png", 1_000_000) for length in range(1, 256)}
    assert len(sizes) == 1


def test_name_and_type_are_not_in_the_file() -> None:
    sealed = seal_document("canary-name.txt", "text/canary", b"canary-content")
    assert b"canary" not in sealed


def test_an_opener_stays_closed_after_a_failure() -> None:
    good = seal_stream(noise("closed", 200_000))
    bad = good[:70_000] + bytes((good[70_000] ^ 1,)) + good[70_001:]
    opener = envelope.Opener(KEY, b"context")
    with pytest.raises(Tampered):
        opener.open(bad)
    for again in (lambda: opener.open(good), opener.finish):
        with pytest.raises(Tampered):
            again()


def test_a_sealer_is_used_once() -> None:
    sealer = envelope.Sealer(KEY, b"context", SALT, PREFIX)
    sealer.finish()
    for again in (lambda: sealer.seal(b"more"), sealer.finish):
        with pytest.raises(ValueError, match="finished"):
            again()


def test_unfinished_content_is_only_what_was_authentic() -> None:
    content = noise("partial", 200_000)
    sealed = seal_document("a.bin", "application/octet-stream", content)
    opener = envelope.DocumentOpener(KEY, BOX, DOCUMENT, len(content))
    opened = opener.open(sealed[: SEGMENT + 1])
    assert content.startswith(opened)
    assert 65_000 < len(opened) < 65_480
    assert opener.inner_header is not None


@settings(max_examples=30, deadline=None)
@given(lengths)
def test_single_segments_open_in_any_order(length: int) -> None:
    plaintext = noise(length, length)
    sealed = seal_stream(plaintext)
    cipher = envelope.SegmentCipher(KEY, b"context", sealed[:40])
    spans = [envelope.segment_span(index) for index in range(-(-len(sealed) // SEGMENT))]
    opened = {
        index: cipher.open(index, index == len(spans) - 1, sealed[offset : offset + greatest])
        for index, (offset, greatest) in reversed(list(enumerate(spans)))
    }
    assert b"".join(opened[index] for index in range(len(spans))) == plaintext


def test_at_most_one_segment_is_held_back() -> None:
    sealer, opener = envelope.Sealer(KEY, b"context", SALT, PREFIX), envelope.Opener(KEY, b"context")
    given_bytes, sealed_bytes, opened_bytes = 0, len(sealer.header()), len(opener.open(sealer.header()))
    for _ in range(300):
        sealed = sealer.seal(bytes(1000))
        given_bytes, sealed_bytes = given_bytes + 1000, sealed_bytes + len(sealed)
        opened_bytes += len(opener.open(sealed))
        assert given_bytes - sealed_bytes <= SEGMENT
        assert sealed_bytes - opened_bytes <= SEGMENT + 200


def test_the_end_of_a_large_document_comes_in_small_pieces() -> None:
    sealer = envelope.DocumentSealer(KEY, BOX, DOCUMENT, "a.bin", "application/octet-stream", SALT, PREFIX)
    piece = bytes(1 << 20)
    for _ in range(33):  # 33 MiB: 1 MiB of padding follows
        sealer.seal(piece)
    assert max(map(len, sealer.finish())) <= 2 * SEGMENT


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("", "text/plain"),
        ("a" * 256, "text/plain"),
        ("a\nb", "text/plain"),
        ("a\x85b", "text/plain"),
        ("a\n", "text/plain"),
        ("\ud800", "text/plain"),
        ("a", "text"),
        ("a", "Text/Plain"),
        ("a", "text/plain; charset=utf-8"),
        ("a", "text/plain\n"),
    ],
)
def test_a_name_no_reader_would_accept_is_not_sealed(name: str, media_type: str) -> None:
    with pytest.raises(Invalid):
        envelope.encode_inner_header(name, media_type)


def test_the_longest_name_fits() -> None:
    for name in ("🩺" * 255, '"\\' * 127):
        encoded = envelope.encode_inner_header(name, "a" * 63 + "/" + "b" * 63)
        assert envelope.decode_inner_header(encoded[4:]).name == name
        assert len(encoded) - 4 <= envelope.MAX_INNER_JSON_BYTES


@pytest.mark.parametrize(
    "call",
    [
        lambda: envelope.Sealer(b"short", b"", SALT, PREFIX),
        lambda: envelope.Sealer(KEY, b"", b"", PREFIX),
        lambda: envelope.Sealer(KEY, b"", SALT, b"twelve bytes"),
        lambda: envelope.Opener(b"short", b""),
        lambda: envelope.document_associated_data(b"", DOCUMENT),
        lambda: envelope.DocumentOpener(KEY, BOX, DOCUMENT, -1),
        lambda: envelope.DocumentOpener(KEY, BOX, DOCUMENT, 1 << 41),
        lambda: envelope.sealed_length(-1),
        lambda: envelope.document_sealed_length("a", "b/c", -1),
    ],
)
def test_arguments_of_a_wrong_size_are_refused(call: object) -> None:
    with pytest.raises(PraxisError):
        call()  # type: ignore[operator]
