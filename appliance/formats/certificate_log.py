"""What a certificate log answers (RFC 6962): signed tree heads, entries, proofs. Pure.

Rules: nothing is believed that the log's own key has not signed; lengths inside an entry must add up to the last
byte; everything has a cap. What `extra_data` holds is read past: no tree hash covers it.
Sources: RFC 6962 3.2 to 3.5 (structures), 4.3 to 4.6 (messages); RFC 5246 7.4.1.4.1 (numbers of algorithms).
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from appliance.core.errors import Invalid, Tampered
from appliance.formats.merkle_tree import HASH_BYTES, MAX_PROOF_HASHES

MAX_SIZE = 2**48
MAX_TIMESTAMP_MS = 2**53
MAX_CERTIFICATE_BYTES = 256 * 1024
MAX_SIGNATURE_BYTES = 1024
MIN_RSA_BITS = 2048
_SHA256, _RSA, _ECDSA = 4, 1, 3
_X509_ENTRY, _PRECERT_ENTRY = 0, 1
_HEAD = struct.Struct(">BBQQ32s")
_LEAF = struct.Struct(">BBQH")

LogKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]
_Hashes = Annotated[list[bytes], msgspec.Meta(max_length=MAX_PROOF_HASHES)]
_Answer = TypeVar("_Answer")


class _Head(msgspec.Struct):
    tree_size: _Size
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMESTAMP_MS)]
    sha256_root_hash: Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
    tree_head_signature: Annotated[bytes, msgspec.Meta(min_length=5, max_length=MAX_SIGNATURE_BYTES)]


class _Consistency(msgspec.Struct):
    consistency: _Hashes


class _Inclusion(msgspec.Struct):
    leaf_index: _Size
    audit_path: _Hashes


class _Entry(msgspec.Struct):
    leaf_input: bytes


class _Entries(msgspec.Struct):
    entries: list[_Entry]


@dataclass(frozen=True)
class TreeHead:
    """A head whose signature was checked; `timestamp_ms` is unix time in milliseconds, by the log's clock."""

    size: int
    timestamp_ms: int
    root: bytes
    #: As the log gave it, to be shown to others.
    signature: bytes


@dataclass(frozen=True)
class Leaf:
    """An entry of the log: a certificate, or what an authority said it would sign (a precertificate's inner part)."""

    kind: Literal["x509", "precert"]
    timestamp_ms: int
    #: DER: a Certificate, or a TBSCertificate.
    content: bytes


def read_log_key(spki: str) -> LogKey:
    """Read a log's key from base64 of its SubjectPublicKeyInfo; Invalid("log_key"). P-256, or RSA of 2,048 bits."""
    try:
        key = load_der_public_key(base64.b64decode(spki, validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("log_key") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return key
    raise Invalid("log_key")


def log_id(key: LogKey) -> str:
    """Give the log's identifier (RFC 6962 3.2) in hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def read_tree_head(answer: bytes, key: LogKey) -> TreeHead:
    """Read the answer to get-sth; Invalid("log_answer"), Tampered("log_signature")."""
    head = _decode(answer, _Head)
    signed = _HEAD.pack(0, 1, head.timestamp, head.tree_size, head.sha256_root_hash)
    _check_signature(head.tree_head_signature, signed, key)
    return TreeHead(head.tree_size, head.timestamp, head.sha256_root_hash, head.tree_head_signature)


def read_consistency(answer: bytes) -> list[bytes]:
    """Read the answer to get-sth-consistency; Invalid("log_answer")."""
    return _checked(_decode(answer, _Consistency).consistency)


def read_inclusion(answer: bytes) -> tuple[int, list[bytes]]:
    """Read the answer to get-proof-by-hash: index and proof; Invalid("log_answer")."""
    found = _decode(answer, _Inclusion)
    return found.leaf_index, _checked(found.audit_path)


def read_entries(answer: bytes, at_most: int) -> list[bytes]:
    """Read the answer to get-entries: the leaves as they are hashed, 1 to `at_most`; Invalid("log_answer")."""
    leaves = [entry.leaf_input for entry in _decode(answer, _Entries).entries]
    if not 1 <= len(leaves) <= at_most:
        raise Invalid("log_answer")
    return leaves


def read_leaf(leaf: bytes) -> Leaf:
    """Read a MerkleTreeLeaf; Invalid("log_entry") for what this version does not know."""
    if len(leaf) < _LEAF.size:
        raise Invalid("log_entry")
    version, leaf_type, timestamp, entry_type = _LEAF.unpack_from(leaf)
    if version != 0 or leaf_type != 0 or entry_type not in (_X509_ENTRY, _PRECERT_ENTRY):
        raise Invalid("log_entry")
    start = _LEAF.size + (HASH_BYTES if entry_type == _PRECERT_ENTRY else 0)
    content, end = _vector(leaf, start, 3)
    _, end = _vector(leaf, end, 2)
    if end != len(leaf) or not content:
        raise Invalid("log_entry")
    return Leaf("precert" if entry_type == _PRECERT_ENTRY else "x509", timestamp, content)


def _vector(data: bytes, start: int, length_bytes: int) -> tuple[bytes, int]:
    """Read a vector with its length before it (RFC 5246 4.3); give it and where it ends."""
    body = start + length_bytes
    end = body + int.from_bytes(data[start:body], "big")
    if body > len(data) or end > len(data) or end - body > MAX_CERTIFICATE_BYTES:
        raise Invalid("log_entry")
    return data[body:end], end


def _decode(answer: bytes, kind: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("log_answer") from error


def _checked(hashes: list[bytes]) -> list[bytes]:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise Invalid("log_answer")
    return hashes


def _check_signature(digitally_signed: bytes, content: bytes, key: LogKey) -> None:
    algorithms, length = tuple(digitally_signed[:2]), int.from_bytes(digitally_signed[2:4], "big")
    signature = digitally_signed[4:]
    own = (_SHA256, _RSA if isinstance(key, rsa.RSAPublicKey) else _ECDSA)
    if algorithms != own or length != len(signature):
        raise Tampered("log_signature")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, padding.PKCS1v15(), SHA256())
        else:
            key.verify(signature, content, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise Tampered("log_signature") from error
