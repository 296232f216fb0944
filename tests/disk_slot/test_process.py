"""The process as a whole: it sees to the kit that is published, and to one that is published while it works."""

import pytest

from appliance.core.errors import NotFound
from appliance.disk_slot import __main__ as process
from appliance.disk_slot.settings import DiskSlotSettings
from appliance.formats.kit_public import encode_kit_public
from tests.disk_slot.disk import Kit


@pytest.fixture
def published(disk, tmp_path, monkeypatch):
    path = tmp_path / "kit-public"
    settings = DiskSlotSettings(
        device=str(disk.path), kit_public=str(path), folder=str(disk.boot), key_file=str(disk.key_file)
    )
    monkeypatch.setattr(process, "read_settings", lambda kind, name: settings)
    return path


async def test_the_kit_that_is_published_has_its_slot(disk, published):
    published.write_bytes(encode_kit_public(Kit.of(1).public))
    await process.main({})
    assert [token["kit"] for token in disk.kit_tokens()] == [Kit.of(1).opened.kit]


async def test_a_kit_that_is_published_meanwhile_is_not_missed(disk, published, monkeypatch):
    """systemd does not look at the file while the service runs (systemd.path(5))."""
    keep_slot = process.keep_slot

    def keep_while_vault_publishes(*words):
        published.write_bytes(encode_kit_public(Kit.of(2).public))
        return keep_slot(*words)

    published.write_bytes(encode_kit_public(Kit.of(1).public))
    monkeypatch.setattr(process, "keep_slot", keep_while_vault_publishes)
    await process.main({})
    assert [token["kit"] for token in disk.kit_tokens()] == [Kit.of(2).opened.kit]


async def test_without_a_published_kit_the_disk_is_left_alone(disk, published):
    before = disk.path.read_bytes()
    with pytest.raises(NotFound, match="no_kit"):
        await process.main({})
    assert disk.path.read_bytes() == before


def test_a_box_needs_no_settings():
    settings = DiskSlotSettings()
    assert (settings.key_file, settings.folder) == ("", "/boot/praxissafe")
