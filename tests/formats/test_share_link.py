"""The share link: its one spelling, its derivations, and vectors that a browser must agree with.

`python tests/formats/test_share_link.py` writes tests/vectors/share_link.json anew.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import Invalid
from appliance.formats import share_link

FILE = Path(__file__).parent.parent / "vectors" / "share_link.json"
secrets = st.binary(min_size=32, max_size=32)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def vectors() -> dict[str, Any]:
    stated = []
    for secret, release in [(bytes(range(32)), b"r" * 32), (bytes(32), bytes(32)), (b"\xff" * 32, b"\xfe" * 32)]:
        keys = share_link.derive(secret)
        stated.append(
            {
                "outcome": "ok",
                "fragment": share_link.format_secret(secret),
                "link": share_link.format_link("praxis-0a1b2c3d.localhost:8443", secret),
                "secret": secret.hex(),
                "locator": keys.locator,
                "proof": keys.proof.hex(),
                "proof_verifier": share_link.proof_verifier(keys.proof).hex(),
                "wrap_key": keys.wrap_key.hex(),
                "release": release.hex(),
                "manifest_key": share_link.manifest_key(keys.wrap_key, release).hex(),
            }
        )
    good = share_link.format_secret(bytes(range(32)))
    refused = {
        "nothing": "",
        "one character less": good[:-1],
        "one character more": good + "A",
        "with padding": good + "=",
        "version 0": "AA" + good[2:],
        "version 2": "Ag" + good[2:],
        "standard base64 plus": good[:-1] + "+",
        "standard base64 slash": good[:-1] + "/",
        "space before": " " + good[1:],
        "line end after": good + "\n",
        "percent escape": good[:-3] + "%41",
        "letter outside ASCII": good[:-1] + "Ä",
        "with number sign": "#" + good[1:],
    }
    stated += [{"outcome": "invalid", "comment": name, "fragment": text} for name, text in refused.items()]
    return {"format": "docs/formats/share-link.md", "vectors": stated}


STORED = json.loads(FILE.read_text()) if FILE.exists() else {"vectors": []}


def test_the_format_still_writes_the_stored_vectors() -> None:
    assert vectors() == STORED


@pytest.mark.parametrize("vector", STORED["vectors"], ids=lambda vector: vector.get("comment", vector["outcome"]))
def test_vector_has_its_outcome(vector: dict[str, Any]) -> None:
    if vector["outcome"] == "invalid":
        with pytest.raises(Invalid):
            share_link.parse_secret(vector["fragment"])
    else:
        assert share_link.parse_secret(vector["fragment"]).hex() == vector["secret"]


@given(secrets)
def test_a_secret_has_one_spelling_of_44_characters(secret: bytes) -> None:
    text = share_link.format_secret(secret)
    assert len(text) == share_link.SECRET_TEXT_LENGTH
    assert share_link.parse_secret(text) == secret


@given(st.text(ALPHABET, min_size=44, max_size=44) | st.text(max_size=60) | st.text(ALPHABET, max_size=43))
def test_what_is_parsed_formats_to_the_same_text(text: str) -> None:
    for candidate in (text, "AQ" + text[2:], "AR" + text[2:]):
        try:
            secret = share_link.parse_secret(candidate)
        except Invalid:
            continue
        assert share_link.format_secret(secret) == candidate


def rfc5869(secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF as RFC 5869 writes it, for at most 32 bytes, with no salt."""
    pseudorandom_key = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(pseudorandom_key, info + b"\x01", hashlib.sha256).digest()[:length]


@given(secrets, secrets)
def test_derivations_follow_rfc_5869(secret: bytes, release: bytes) -> None:
    keys = share_link.derive(secret)
    assert keys.locator == rfc5869(secret, b"praxissafe share 1 locator", 16).hex()
    assert keys.proof == rfc5869(secret, b"praxissafe share 1 proof", 32)
    assert keys.wrap_key == rfc5869(secret, b"praxissafe share 1 wrap", 32)
    expected = rfc5869(keys.wrap_key + release, b"praxissafe share 1 manifest", 32)
    assert share_link.manifest_key(keys.wrap_key, release) == expected


@given(secrets)
def test_nothing_derived_shows_in_repr_or_the_link(secret: bytes) -> None:
    keys = share_link.derive(secret)
    assert repr(keys) == "ShareKeys()"
    link = share_link.format_link("praxis.example:8443", secret)
    assert link.split("#")[0] == "https://praxis.example:8443/"
    assert keys.locator not in link


@pytest.mark.parametrize("host", ["a.example", "praxis-0a1b2c3d.localhost:8443", "localhost", "a:1"])
def test_a_host_makes_a_link(host: str) -> None:
    assert share_link.format_link(host, bytes(32)).startswith(f"https://{host}/#A")


@pytest.mark.parametrize(
    "host",
    ["", "A.example", "a.example/", "a.example:", "a.example:0", "a.example:123456", "user@a.example", "a..b", "-a",
     "a\n", "a b", "[::1]", "a" * 254, "münchen.example", "a.example#"],
)  # fmt: skip
def test_what_is_no_host_makes_no_link(host: str) -> None:
    with pytest.raises(Invalid):
        share_link.format_link(host, bytes(32))


@pytest.mark.parametrize(
    "call",
    [
        lambda: share_link.format_secret(bytes(31)),
        lambda: share_link.derive(bytes(33)),
        lambda: share_link.proof_verifier(b""),
        lambda: share_link.manifest_key(bytes(32), bytes(31)),
        lambda: share_link.manifest_key(bytes(31), bytes(32)),
    ],
)
def test_values_of_a_wrong_size_are_invalid(call: Any) -> None:
    with pytest.raises(Invalid):
        call()


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n")
