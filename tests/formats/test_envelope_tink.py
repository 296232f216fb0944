"""The stream against Google's own implementation (the tink package), both ways and around segment borders."""

import hashlib
import io
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import Tampered
from appliance.formats.envelope import HEADER_BYTES, Opener, Sealer, sealed_length

tink = pytest.importorskip("tink")
from tink import secret_key_access, streaming_aead  # noqa: E402  (only where the package is)
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2  # noqa: E402

streaming_aead.register()
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "envelope_stream.json").read_text())
BORDERS = [0, 65480, 65480 + 65520, 65480 + 2 * 65520]
lengths = st.builds(lambda border, step: max(0, border + step), st.sampled_from(BORDERS), st.integers(-20, 20))


def primitive(key: bytes) -> Any:
    """Return tink's streaming AEAD with every parameter stated: no template of tink has 64 KiB."""
    parameters = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=65536, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    streaming_key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, params=parameters, key_value=key)
    keyset = tink_pb2.Keyset(
        primary_key_id=1,
        key=[
            tink_pb2.Keyset.Key(
                key_data=tink_pb2.KeyData(
                    type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
                    value=streaming_key.SerializeToString(),
                    key_material_type=tink_pb2.KeyData.SYMMETRIC,
                ),
                status=tink_pb2.ENABLED,
                key_id=1,
                output_prefix_type=tink_pb2.RAW,
            )
        ],
    )
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


class KeptBytes(io.BytesIO):
    """A file whose bytes survive that tink closes it."""

    kept = b""

    def close(self) -> None:
        if not self.closed:
            self.kept = self.getvalue()
        super().close()


def tink_seal(key: bytes, associated_data: bytes, plaintext: bytes) -> bytes:
    target = KeptBytes()
    with primitive(key).new_encrypting_stream(target, associated_data) as stream:
        stream.write(plaintext)
    return target.kept


def tink_open(key: bytes, associated_data: bytes, sealed: bytes) -> bytes:
    with primitive(key).new_decrypting_stream(io.BytesIO(sealed), associated_data) as stream:
        return bytes(stream.read())


def noise(seed: bytes, length: int) -> bytes:
    return hashlib.shake_128(seed).digest(length)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@settings(max_examples=40, deadline=None)
@given(
    lengths,
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=60),
    st.integers(1000, 200_000),
    st.binary(max_size=8),
)
def test_tink_opens_what_we_seal(length: int, key: bytes, context: bytes, size: int, seed: bytes) -> None:
    plaintext = noise(seed, length)
    sealer = Sealer(key, context, noise(seed, 32), noise(seed, 7))
    sealed = sealer.header() + b"".join(map(sealer.seal, pieces(plaintext, size))) + sealer.finish()
    assert len(sealed) == sealed_length(length)
    assert tink_open(key, context, sealed) == plaintext


@settings(max_examples=40, deadline=None)
@given(
    lengths,
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=60),
    st.integers(1000, 200_000),
    st.binary(max_size=8),
)
def test_we_open_what_tink_seals(length: int, key: bytes, context: bytes, size: int, seed: bytes) -> None:
    plaintext = noise(seed, length)
    sealed = tink_seal(key, context, plaintext)
    assert len(sealed) == sealed_length(length)
    opener = Opener(key, context)
    assert b"".join(map(opener.open, pieces(sealed, size))) + opener.finish() == plaintext


@settings(max_examples=20, deadline=None)
@given(lengths, st.binary(min_size=32, max_size=32), st.binary(max_size=8))
def test_a_salt_and_prefix_of_tink_give_the_same_bytes(length: int, key: bytes, seed: bytes) -> None:
    plaintext = noise(seed, length)
    sealed = tink_seal(key, b"context", plaintext)
    sealer = Sealer(key, b"context", sealed[1:33], sealed[33:HEADER_BYTES])
    assert sealer.header() + sealer.seal(plaintext) + sealer.finish() == sealed


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_tink_agrees_with_the_vectors(vector: dict[str, Any]) -> None:
    files = {name: b64decode(text) for name, text in VECTORS["files"].items()}
    sealed = b"".join(
        bytes.fromhex(part["hex"]) if "hex" in part else files[part["file"]][part["from"] : part["to"]]
        for part in vector["sealed"]
    )
    key, context = bytes.fromhex(vector["key"]), bytes.fromhex(vector["associated_data"])
    if vector["outcome"] == "ok":
        opener = Opener(key, context)
        assert tink_open(key, context, sealed) == opener.open(sealed) + opener.finish()
        return
    with pytest.raises(Tampered):
        (opener := Opener(key, context)).open(sealed), opener.finish()
    if vector.get("only_one_spelling"):
        return  # tink reads an empty last segment that it would not write; we refuse it
    with pytest.raises((tink.TinkError, OSError, ValueError)):
        tink_open(key, context, sealed)
