"""The streaming AEAD under every sealed file: Tink's AES-GCM-HKDF streaming with 64 KiB segments.

Layout and byte offsets: docs/formats/envelope.md. Source: Tink, "AES-GCM-HKDF streaming AEAD" wire format,
https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming; tests hold it against the tink package.

Rules: whatever `open` returns is authentic and in its place; that nothing is missing is known only when
`finish` has returned. After a failure an opener stays closed. There is one suite and no plaintext path
(docs/threats.md, A5). The caller brings salt and nonce prefix fresh from the system's random source per stream.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.core.errors import Invalid, Tampered

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_PREFIX_BYTES = 7
HEADER_BYTES = 1 + SALT_BYTES + NONCE_PREFIX_BYTES
TAG_BYTES = 16
#: Of the sealed file; the first segment contains the header.
SEGMENT_BYTES = 65536
SEGMENT_PLAINTEXT_BYTES = SEGMENT_BYTES - TAG_BYTES
FIRST_SEGMENT_PLAINTEXT_BYTES = SEGMENT_PLAINTEXT_BYTES - HEADER_BYTES
#: Far below the 2^32 segments that the nonce allows and below 2^53, which JavaScript counts exactly.
MAX_PLAINTEXT_BYTES = 1 << 44

Buffer = bytes | bytearray | memoryview


def sealed_length(plaintext_length: int) -> int:
    """Return the bytes of the sealed stream for `plaintext_length` bytes."""
    if not 0 <= plaintext_length <= MAX_PLAINTEXT_BYTES:
        raise Invalid("envelope_length")
    segments = max(1, -(-(plaintext_length + HEADER_BYTES) // SEGMENT_PLAINTEXT_BYTES))
    return HEADER_BYTES + plaintext_length + segments * TAG_BYTES


def segment_span(index: int) -> tuple[int, int]:
    """Return offset and greatest length, in the sealed file, of segment `index` without the header."""
    if index == 0:
        return HEADER_BYTES, SEGMENT_BYTES - HEADER_BYTES
    return index * SEGMENT_BYTES, SEGMENT_BYTES


def encode_header(salt: bytes, nonce_prefix: bytes) -> bytes:
    """Return the 40 bytes that open the file."""
    if len(salt) != SALT_BYTES or len(nonce_prefix) != NONCE_PREFIX_BYTES:
        raise Invalid("envelope_randomness")
    return bytes((HEADER_BYTES,)) + salt + nonce_prefix


class SegmentCipher:
    """Seals and opens single segments, in any order: the stream below and a random read both stand on it."""

    def __init__(self, key: bytes, associated_data: bytes, header: Buffer) -> None:
        header = bytes(header)
        if len(key) != KEY_BYTES:
            raise Invalid("envelope_key")
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise Tampered("envelope_header")
        salt, self._nonce_prefix = header[1 : 1 + SALT_BYTES], header[1 + SALT_BYTES :]
        self._aead = AESGCM(HKDF(SHA256(), KEY_BYTES, salt, associated_data).derive(key))

    def _nonce(self, index: int, last: bool) -> bytes:
        return self._nonce_prefix + index.to_bytes(4, "big") + (b"\x01" if last else b"\x00")

    def seal(self, index: int, last: bool, plaintext: Buffer) -> bytes:
        """Seal one segment. Never twice with one index: the nonce would repeat."""
        return self._aead.encrypt(self._nonce(index, last), plaintext, None)

    def seal_into(self, index: int, last: bool, plaintext: Buffer, target: memoryview) -> int:
        """Seal one segment to the start of `target` and return its length."""
        end = len(plaintext) + TAG_BYTES
        return self._aead.encrypt_into(self._nonce(index, last), plaintext, None, target[:end])

    def open(self, index: int, last: bool, segment: Buffer) -> bytes:
        """Open the segment found at `segment_span(index)`; `last` says that the file ends with it."""
        plaintext = bytearray(len(segment))
        return bytes(plaintext[: self.open_into(index, last, segment, memoryview(plaintext))])

    def open_into(self, index: int, last: bool, segment: Buffer, target: memoryview) -> int:
        """Open one segment to the start of `target` and return the length; after Tampered use nothing of it."""
        greatest = segment_span(index)[1]
        # A last segment after the first is never empty: a plaintext has one sealed form per key and header.
        least = (TAG_BYTES + bool(index)) if last else greatest
        if not least <= len(segment) <= greatest:
            raise Tampered("envelope_segment")
        end = len(segment) - TAG_BYTES
        try:
            return self._aead.decrypt_into(self._nonce(index, last), segment, None, target[:end])
        except InvalidTag as error:
            raise Tampered("envelope_segment") from error


class Segmenter:
    """Cuts a stream of pieces of any size into whole segments, holding back what may be the last one.

    Copies a byte once if it has to wait for the next piece, else not at all. At most one segment is held.
    """

    def __init__(self, first: int, following: int) -> None:
        self._held = memoryview(bytearray(max(first, following)))
        self._held_length = 0
        self._size = first
        self._following = following

    def cut(self, piece: Buffer) -> Iterator[memoryview]:
        """Yield each segment that is certainly not the last; use it before asking for the next one."""
        view = memoryview(piece)
        while self._held_length + len(view) > self._size:
            size, self._size = self._size, self._following
            if self._held_length:
                taken = size - self._held_length
                self._held[self._held_length : size] = view[:taken]
                self._held_length, view = 0, view[taken:]
                yield self._held[:size]
            else:
                segment, view = view[:size], view[size:]
                yield segment
        self._held[self._held_length : self._held_length + len(view)] = view
        self._held_length += len(view)

    def rest(self) -> memoryview:
        """Return what is held: the last segment."""
        return self._held[: self._held_length]


class Scratch:
    """Memory that lives as long as the stream.

    To join many segments in fresh memory makes the C library give pages back and fetch them again: four times slower.
    """

    def __init__(self) -> None:
        self._memory = memoryview(bytearray())

    def room_for(self, piece_length: int) -> memoryview:
        """Return room for all segments that a piece can complete, sealed or open."""
        needed = (piece_length // FIRST_SEGMENT_PLAINTEXT_BYTES + 1) * SEGMENT_BYTES
        if len(self._memory) < needed:
            self._memory = memoryview(bytearray(needed))
        return self._memory


class Sealer:
    """Seals a stream: `header`, then what each `seal` returns, then what `finish` returns, in this order."""

    def __init__(self, key: bytes, associated_data: bytes, salt: bytes, nonce_prefix: bytes) -> None:
        self._header = encode_header(salt, nonce_prefix)
        self._cipher = SegmentCipher(key, associated_data, self._header)
        self._segmenter = Segmenter(FIRST_SEGMENT_PLAINTEXT_BYTES, SEGMENT_PLAINTEXT_BYTES)
        self._scratch = Scratch()
        self._index = 0
        self._room = MAX_PLAINTEXT_BYTES
        self._finished = False

    def header(self) -> bytes:
        """Return the first bytes of the file."""
        return self._header

    def seal(self, piece: Buffer) -> bytes:
        """Take the next plaintext and return the segments it completes, often none."""
        self._refuse_use_after_finish()
        if len(piece) > self._room:
            raise Invalid("envelope_length")
        self._room -= len(piece)
        target, end = self._scratch.room_for(len(piece)), 0
        for segment in self._segmenter.cut(piece):
            end += self._cipher.seal_into(self._index, False, segment, target[end:])
            self._index += 1
        return bytes(target[:end])

    def finish(self) -> bytes:
        """Return the last segment."""
        self._refuse_use_after_finish()
        self._finished = True
        return self._cipher.seal(self._index, True, self._segmenter.rest())

    def _refuse_use_after_finish(self) -> None:
        if self._finished:  # a bug of the caller, and the nonce of the last segment would repeat
            raise ValueError("the stream is finished")


class Opener:
    """Opens a stream. Any change, cut, extension or new order of the sealed bytes raises Tampered."""

    def __init__(self, key: bytes, associated_data: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Invalid("envelope_key")
        self._key, self._associated_data = key, associated_data
        self._header = b""
        self._cipher: SegmentCipher | None = None
        self._segmenter = Segmenter(SEGMENT_BYTES - HEADER_BYTES, SEGMENT_BYTES)
        self._scratch = Scratch()
        self._index = 0
        self._closed = False

    def open(self, piece: Buffer) -> bytes:
        """Take the next sealed bytes and return the plaintext they complete, often none."""
        self._refuse_use_when_closed()
        self._closed = True  # stays so if anything below raises
        piece = self._take_header(memoryview(piece))
        target, end = self._scratch.room_for(len(piece)), 0
        if self._cipher is not None:
            for segment in self._segmenter.cut(piece):
                end += self._cipher.open_into(self._index, False, segment, target[end:])
                self._index += 1
        self._closed = False
        return bytes(target[:end])

    def finish(self) -> bytes:
        """Return the last plaintext. Only now is it known that the stream is complete."""
        self._refuse_use_when_closed()
        self._closed = True
        if self._cipher is None:
            raise Tampered("envelope_header")
        return self._cipher.open(self._index, True, self._segmenter.rest())

    def _take_header(self, piece: memoryview) -> memoryview:
        if self._cipher is not None:
            return piece
        missing = HEADER_BYTES - len(self._header)
        self._header += bytes(piece[:missing])
        if len(self._header) == HEADER_BYTES:
            self._cipher = SegmentCipher(self._key, self._associated_data, self._header)
        return piece[missing:]

    def _refuse_use_when_closed(self) -> None:
        if self._closed:
            raise Tampered("envelope_closed")
