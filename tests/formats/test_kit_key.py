"""The kit's key and its bundles: published vectors, another implementation, and every bit that must not change."""

import json
import secrets
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats.kit_bundle import BundleHeader, decode_bundle
from appliance.formats.kit_key import SUITE, of_seed, open_bundle, seal_bundle

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/kit_key.json").read_text(encoding="utf-8"))
SEED = of_seed(bytes(range(32)))
HEADER = BundleHeader(SEED.kit, "ab" * 16, 7, 1_800_000_000)
DATABASE, DOCUMENTS = b"d" * 32, (b"e" * 32,)
OTHER = Path(__file__).parent / "other_hpke.mjs"
PACKAGES = Path(__file__).parents[1] / "browser/node_modules/@hpke"


def sealed(header=HEADER, documents=DOCUMENTS):
    return seal_bundle(SEED.public_key, SEED.authentication_key, header, DATABASE, documents)


@pytest.mark.parametrize("vector", VECTORS["published_keys"])
def test_a_published_seed_gives_its_published_public_key(vector):
    """draft-ietf-hpke-pq, test vectors of KEM 0x647a: skRm, pkRm."""
    assert of_seed(bytes.fromhex(vector["skRm"])).public_key.hex() == vector["pkRm"]


def test_what_another_implementation_sealed_opens():
    vector = VECTORS["sealed_by_another_implementation"]
    seed = of_seed(bytes.fromhex(vector["seed"]))
    opened = SUITE.decrypt(bytes.fromhex(vector["sealed"]), seed.private_key, info=bytes.fromhex(vector["info"]))
    assert opened.hex() == vector["plaintext"]


@pytest.mark.skipif(not PACKAGES.exists(), reason="the browser tests' packages are not installed")
def test_another_implementation_opens_what_we_sealed_and_the_other_way_round():
    def other(*words: str) -> bytes:
        node = shutil.which("node") or "node"
        run = subprocess.run([node, OTHER, *words], capture_output=True, text=True, check=True)
        return bytes.fromhex(run.stdout.strip())

    random = secrets.token_bytes(32)
    seed = of_seed(random)
    header = replace(HEADER, kit=seed.kit)
    bundle = decode_bundle(seal_bundle(seed.public_key, seed.authentication_key, header, DATABASE, DOCUMENTS))
    info = b"praxissafe kit bundle 1\0" + bundle.bound
    assert other("open", random.hex(), info.hex(), bundle.sealed.hex()) == DATABASE + DOCUMENTS[0]
    theirs = other("seal", seed.public_key.hex(), info.hex(), b"theirs".hex())
    assert SUITE.decrypt(theirs, seed.private_key, info=info) == b"theirs"


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_bundle_gives_back_its_keys(count):
    documents = tuple(secrets.token_bytes(32) for _ in range(count))
    old = open_bundle(SEED, sealed(documents=documents))
    assert (old.header, old.database, old.document_keys) == (HEADER, DATABASE, documents)
    assert len(sealed()) == 1281


def test_a_bundle_of_another_kit_is_named():
    other = of_seed(secrets.token_bytes(32))
    with pytest.raises(Refused, match="bundle_of_other_kit"):
        open_bundle(other, sealed())


def test_no_bit_of_a_bundle_can_change():
    bundle = sealed()
    for place in [*range(60), *range(60, len(bundle), 37), len(bundle) - 1]:
        changed = bytearray(bundle)
        changed[place] ^= 1
        with pytest.raises((Tampered, Refused, Invalid)):
            open_bundle(SEED, bytes(changed))


@pytest.mark.parametrize("cut", [0, 1, 48, 49, 1169, 1280])
def test_a_cut_bundle_does_not_open(cut):
    with pytest.raises(Tampered):
        open_bundle(SEED, sealed()[:cut])
    with pytest.raises(Tampered):
        open_bundle(SEED, sealed() + b"\0")


def test_who_only_knows_the_public_key_cannot_make_a_bundle():
    forged = seal_bundle(SEED.public_key, secrets.token_bytes(32), HEADER, DATABASE, DOCUMENTS)
    with pytest.raises(Tampered, match="bundle"):
        open_bundle(SEED, forged)


def test_what_follows_from_the_seed_shows_in_no_repr():
    shown = repr(SEED)
    for secret in (SEED.authentication_key, SEED.repository_password):
        assert repr(secret)[2:-1] not in shown
