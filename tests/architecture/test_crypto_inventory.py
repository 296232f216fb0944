"""The page of every key is what the code does: no primitive, label, derived key or TPM handle is missing or made up."""

import pytest

from tests.architecture.crypto_inventory import BEGIN, PAGE, generated, scan, written_names

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_generated_inventory_is_what_a_scan_of_the_code_finds():
    begins = TEXT.index(BEGIN)
    assert TEXT[begins:] == generated(scan()), "run: python -m tests.architecture.crypto_inventory"


def test_every_label_derived_key_and_handle_has_its_row_and_every_row_stands_in_the_code():
    found = scan().names()
    assert found - written_names(TEXT) == set()
    assert written_names(TEXT) - found == set()


def test_every_key_has_parent_life_and_algorithm():
    rows = [row for row in TEXT.partition(BEGIN)[0].splitlines() if row.startswith("| ") and "---" not in row]
    assert len(rows) > 30
    for row in rows:
        assert len(row.split(" | ")) == 5, row
        assert all(cell.strip(" |") for cell in row.split(" | ")), row


@pytest.mark.parametrize(
    ("path", "source", "name"),
    [
        ("appliance/vault/x.py", 'CONTEXT = b"praxissafe new thing 1\\0"', "praxissafe new thing 1"),
        ("appliance/vault/x.py", 'key = derive(root_key, "new key")', "new key"),
        ("appliance/vault/tpm_x.py", "INDEX = 0x01A50009", "0x01A50009"),
        ("appliance/gateway/page/x.js", 'derive(secret, "praxissafe share 2 other", 16)', "praxissafe share 2 other"),
    ],
)
def test_the_scan_sees_what_is_new(tmp_path, path, source, name):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source)
    assert name in scan(tmp_path).names()
    assert name not in written_names(TEXT)


@pytest.mark.parametrize(
    ("source", "primitive"),
    [
        ("import hashlib\nhashlib.md5(b'')", "hashlib.md5"),
        (
            "from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305",
            "cryptography: ChaCha20Poly1305",
        ),
        ("from cryptography.hazmat.primitives.asymmetric import rsa", "cryptography: rsa"),
    ],
)
def test_the_scan_sees_a_primitive_that_is_new(tmp_path, source, primitive):
    file = tmp_path / "appliance/practice/x.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    assert primitive in scan(tmp_path).primitives
