"""What vault publishes is read as a stranger's: a plain file of the right bytes, or nothing."""

import os
import socket

import pytest

from appliance.core.errors import Invalid, NotFound
from appliance.disk_slot.kit_file import read_kit
from appliance.formats.kit_public import encode_kit_public
from tests.disk_slot.disk import Kit

KIT = Kit.of(1)


def test_a_published_kit_is_read(tmp_path):
    path = tmp_path / "kit-public"
    path.write_bytes(encode_kit_public(KIT.public))
    assert read_kit(str(path)) == KIT.public


def test_no_kit_is_told(tmp_path):
    with pytest.raises(NotFound, match="no_kit"):
        read_kit(str(tmp_path / "kit-public"))


def make_link(path):
    path.with_name("secret").write_bytes(encode_kit_public(KIT.public))
    path.symlink_to(path.with_name("secret"))


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize(
    "make",
    [
        make_link,
        make_socket,
        os.mkfifo,  # must not wait for a writer
        os.mkdir,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(encode_kit_public(KIT.public) + b"\0"),
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
    ],
    ids=["link", "socket", "pipe", "folder", "empty", "longer", "huge"],
)
def test_anything_but_a_good_plain_file_is_refused(tmp_path, make):
    path = tmp_path / "kit-public"
    make(path)
    with pytest.raises(Invalid, match="kit_public"):
        read_kit(str(path))
