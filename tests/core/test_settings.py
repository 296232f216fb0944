"""Settings are read once and strictly; the journal takes codes and numbers only."""

import pytest

from appliance.core.errors import Invalid
from appliance.core.journal import say
from appliance.core.metrics import Counter
from appliance.core.settings import MAX_SETTINGS_BYTES, Settings, read_settings


class Example(Settings, frozen=True):
    tcti: str = "device:/dev/tpmrm0"
    port: int = 443


def test_a_missing_file_means_the_defaults(tmp_path):
    assert read_settings(Example, "vault", tmp_path) == Example()


def test_a_file_replaces_defaults(tmp_path):
    (tmp_path / "vault.toml").write_text("port = 8443\n")
    assert read_settings(Example, "vault", tmp_path).port == 8443


@pytest.mark.parametrize(
    "text", ["colour = 1", "port = 'x'", "port = ", "[section]\nport = 1", "#" * (MAX_SETTINGS_BYTES + 1), "\0"]
)
def test_anything_else_is_invalid(tmp_path, text):
    (tmp_path / "vault.toml").write_text(text)
    with pytest.raises(Invalid, match="settings"):
        read_settings(Example, "vault", tmp_path)


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Example().port = 1


@pytest.mark.parametrize(
    "fields",
    [{"name": "Erika Mustermann"}, {"path": "/var/lib/x"}, {"pin": "123456"}, {"code": "a" * 60}, {"code": ""}],
)
def test_journal_refuses_free_text(fields):
    with pytest.raises(ValueError, match="code"):
        say("document_added", **fields)


def test_journal_refuses_free_text_as_event():
    with pytest.raises(ValueError, match="code"):
        say("Patient Erika Mustermann added")


def test_metrics_refuse_a_label_value_that_is_not_in_the_set():
    counter = Counter("example_total", "An example.", ["right", "wrong"])
    counter.add("right")
    with pytest.raises(KeyError):
        counter.add("Erika Mustermann")
