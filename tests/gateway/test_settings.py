from __future__ import annotations

from pathlib import Path

import pytest

from appliance.core.errors import Invalid
from appliance.core.settings import read_settings
from appliance.gateway.settings import GatewaySettings


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert read_settings(GatewaySettings, "gateway", tmp_path) == GatewaySettings()


def test_a_file_sets_what_it_names_and_nothing_unknown(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('spool = "/srv/spool"\nmax_connections = 3\n')
    settings = read_settings(GatewaySettings, "gateway", tmp_path)
    assert (settings.spool, settings.max_connections) == ("/srv/spool", 3)
    (tmp_path / "gateway.toml").write_text('host = "other.example"\n')
    with pytest.raises(Invalid):
        read_settings(GatewaySettings, "gateway", tmp_path)
