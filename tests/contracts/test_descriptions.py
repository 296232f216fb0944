"""Each interface's `.varlink` file says what its structures say, and the sets of verbs are the ones we decided on."""

import importlib
import re
from pathlib import Path

import pytest

from appliance.contracts.certificate import CertificateState
from appliance.contracts.page_key import PageKey, PageKeys
from appliance.core.varlink.describe import describe, interfaces
from appliance.watch.settings import LogSettings, MonitorSettings, WatchSettings
from appliance.watch.state import LogState, MonitorState, State

CONTRACTS = Path(__file__).parents[2] / "appliance/contracts"
NAMES = sorted(file.stem for file in CONTRACTS.glob("*.varlink"))


@pytest.mark.parametrize("name", NAMES)
def test_description_file_matches_the_structures(name):
    (interface,) = interfaces(importlib.import_module(f"appliance.contracts.{name}"))
    expected = describe(interface.name, list(interface.verbs.values()))
    assert (CONTRACTS / f"{name}.varlink").read_text(encoding="utf-8") == expected, (
        f"run: python -m appliance.core.varlink.describe {name}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_says_who_may_call_it(name):
    (interface,) = interfaces(importlib.import_module(f"appliance.contracts.{name}"))
    for verb in interface.verbs.values():
        assert verb.callers, verb
        assert verb.callers <= {
            "vault",
            "records",
            "audit",
            "practice",
            "gateway",
            "tunnel",
            "enrol",
            "backup",
            "certificate",
            "watch",
            "presence",
            "root",
        }, verb


def test_gateway_may_ask_vault_for_six_things_and_records_for_none():
    """A captured gateway asks: who is this box, is it open, what state has my link, open my link. It has no list.

    And it says which key is the page's, and asks for the thumbprint of the account that challenges are answered for.
    """
    asked = {
        f"{name}.{verb.__name__}"
        for name in NAMES
        for interface in interfaces(importlib.import_module(f"appliance.contracts.{name}"))
        for verb in interface.verbs.values()
        if "gateway" in verb.callers
    }
    assert asked == {
        "vault.Describe",
        "vault.WatchOpening",
        "vault.ShowShare",
        "vault.OpenShare",
        "page_key.RegisterPageKey",
        "page_key.ReadAcmeAccount",
    }


def test_tunnel_may_ask_for_a_proof_and_hand_over_connections():
    asked = {
        f"{name}.{verb.__name__}"
        for name in NAMES
        for interface in interfaces(importlib.import_module(f"appliance.contracts.{name}"))
        for verb in interface.verbs.values()
        if "tunnel" in verb.callers
    }
    assert asked == {"vault.Describe", "vault.ProveDevice", "gateway.TakeConnection"}


def test_gateway_offers_tunnel_one_verb_and_certificate_five():
    (interface,) = interfaces(importlib.import_module("appliance.contracts.gateway"))
    offered = {name: set(verb.callers) for name, verb in interface.verbs.items()}
    assert offered.pop("TakeConnection") == {"tunnel"}
    about_the_certificate = {
        "ReadPageRequest",
        "AnswerChallenge",
        "TakePageCertificate",
        "MakePageKey",
        "NoteRevoked",
    }
    assert offered == {verb: {"certificate"} for verb in about_the_certificate}


def test_certificate_has_vault_sign_six_kinds_of_request_and_asks_for_no_bytes_to_be_signed():
    asked = {
        f"{name}.{verb.__name__}"
        for name in NAMES
        for interface in interfaces(importlib.import_module(f"appliance.contracts.{name}"))
        for verb in interface.verbs.values()
        if "certificate" in verb.callers
    }
    signing = {"Account", "Order", "Read", "Challenge", "Finalize", "Revocation"}
    gateway = {"ReadPageRequest", "AnswerChallenge", "TakePageCertificate", "MakePageKey", "NoteRevoked"}
    assert asked == {
        "vault.WatchOpening",
        "tunnel.ReadState",
        *(f"page_key.SignAcme{kind}" for kind in signing),
        *(f"gateway.{verb}" for verb in gateway),
    }


def test_only_vault_and_records_append_to_the_log():
    (interface,) = interfaces(importlib.import_module("appliance.contracts.audit"))
    assert interface.verbs["Append"].callers == {"vault", "records"}
    assert set(interface.verbs) == {"Append", "ReadEntries"}


def test_root_may_ask_for_nothing_that_opens_anything():
    (interface,) = interfaces(importlib.import_module("appliance.contracts.vault"))
    asked = {name for name, verb in interface.verbs.items() if "root" in verb.callers}
    assert asked == {"Describe", "DescribeOpening", "SealForSecureBoot", "RaiseFloor"}
    (interface,) = interfaces(importlib.import_module("appliance.contracts.records"))
    assert not [name for name, verb in interface.verbs.items() if "root" in verb.callers]


def test_every_records_verb_carries_a_session():
    (interface,) = interfaces(importlib.import_module("appliance.contracts.records"))
    for verb in interface.verbs.values():
        assert "session" in verb.__struct_fields__, verb


def test_watch_holds_no_secret():
    """It asks two questions, whose answers the world may read, and what it keeps and is set to has no room for one."""
    asked = {
        f"{name}.{verb.__name__}": verb.reply
        for name in NAMES
        for interface in interfaces(importlib.import_module(f"appliance.contracts.{name}"))
        for verb in interface.verbs.values()
        if "watch" in verb.callers
    }
    assert asked == {"page_key.ListPageKeys": PageKeys, "certificate.ReadState": CertificateState}
    assert set(PageKeys.__struct_fields__) == {"page_host", "keys"}
    assert set(PageKey.__struct_fields__) == {"public_key", "since"}
    kept = {*State.__struct_fields__, *LogState.__struct_fields__, *MonitorState.__struct_fields__}
    assert kept == {
        *(
            "host",
            "logs",
            "monitors",
            "findings",
            "trouble",
            "since",
            "heard_at",
            "head",
            "edge",
            "broken",
            "evidence",
        ),
        *("after", "told", "own_not_before"),
    }
    chosen = {*WatchSettings.__struct_fields__, *LogSettings.__struct_fields__, *MonitorSettings.__struct_fields__}
    assert not [name for name in chosen if re.search("token|password|secret|credential", name)]
