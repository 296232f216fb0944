"""The catalogues: same keys in both languages, a text for every failure, every page in both languages."""

import importlib
import re
import string
from pathlib import Path

import pytest

from appliance.contracts import audit, backup, records, snapshots, tunnel, values, vault, watch
from appliance.core.errors import FAMILIES, Invalid, NotFound, Unavailable
from appliance.practice import pages, problems, restore_step, store_form
from appliance.practice.texts import read_catalogue, read_texts

DE, EN = read_catalogue("de"), read_catalogue("en")
PRACTICE = Path(pages.__file__).parent
#: Codes a peer or the core answers that nobody outside can bring about, and families' own texts cover.
INTERNAL = {"call", "reply", "descriptors", "verb", "interface", "stream", "frame_size"}


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_catalogues_have_the_same_keys_and_names():
    assert set(DE) == set(EN)
    for key in DE:
        assert DE[key].strip(), key
        assert EN[key].strip(), key
        assert names(DE[key]) == names(EN[key]), key


def test_every_code_in_the_contracts_has_a_text():
    failure = re.compile(r'(Refused|Invalid|Unavailable|Tampered|NotFound)\(((?:"[a-z_]+"[/, a-z_]*)+)')
    for contract in (vault, records):
        for verb in vars(contract).values():
            for family, codes in failure.findall(getattr(verb, "__doc__", None) or ""):
                assert family in FAMILIES
                for code in re.findall(r'"([a-z_]+)"', codes):
                    assert f"error.{code}.what" in DE or code in NOT_FOR_READERS, code


def test_every_code_that_a_backup_or_restore_may_end_with_has_a_text():
    codes = set()
    for contract in (backup, snapshots, tunnel):
        for verb in vars(contract).values():
            if isinstance(verb, type) and verb.__module__ == contract.__name__:
                codes |= set(re.findall(r'"([a-z_]{3,})"', verb.__doc__ or ""))
    assert {"store_away", "repository_password", "copy_files", "restoring"} <= codes
    for code in codes - {"bundle"}:
        assert f"error.{code}.what" in DE, code


@pytest.mark.parametrize("folder", ["practice", "vault", "records", "core/varlink"])
def test_every_code_raised_on_the_way_to_a_reader_has_a_text(folder):
    raised = re.compile(r'raise (Refused|Invalid|Unavailable|NotFound)\(\s*"([a-z_]+)"')
    for path in (PRACTICE.parent / folder).glob("*.py"):
        for _, code in raised.findall(path.read_text(encoding="utf-8")):
            if code not in INTERNAL and "settings" not in path.name:
                assert f"error.{code}.what" in DE or code in NOT_FOR_READERS, (path.name, code)


#: What ends a process at its start, or only another process can bring about.
NOT_FOR_READERS = {
    "copy",  # this and the next two are for backup
    "no_copy",
    "folders_left",
    "first",
    "patient",
    "name",
    "family_name",
    "host",
    "release_keys",
    "secure_boot",
    "database_key",
    "spool_group",
    "share_exists",
    "message_empty",
    "message_size",
    "message_truncated",
    "confinement",
    "full",
    "subject",
    "turned_keys",
    "credential",  # this and the next are met at the bench: the station says them
    "endorsement_certificate",
    "generation_used",
    "document_keys",
    "url",  # this and the next are for certificate
    "nonce",
    "page_request",
    "page_certificate",
    "page_key",
}


def test_every_failure_family_has_words():
    for texts in read_texts().values():
        for family in FAMILIES.values():
            text = texts.error(family("never_heard_of"))
            assert text.what
            assert text.todo
        assert "{" not in texts.error(Unavailable("slow_down")).todo  # without the fact it needs


def test_every_key_the_pages_use_is_in_the_catalogue():
    used = re.compile(r"""\bt(?:exts)?(\.count)?\(\s*["']([a-z_.]+)["']([^)]?)""")
    dynamic = re.compile(r"""\bt\(\s*["']([a-z_.]+\.)["']\s*~""")
    for path in [*PRACTICE.glob("templates/*.html"), *PRACTICE.glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for count, key, _ in used.findall(text):
            if not key.endswith("."):
                assert (f"{key}.one" if count else key) in DE, (path.name, key)
        for prefix in dynamic.findall(text):
            assert any(key.startswith(prefix) for key in DE), (path.name, prefix)


def test_every_value_a_page_shows_has_a_word():
    for kind in values.DocumentKind.__args__:
        assert f"kind.{kind}" in DE
        assert f"kinds.{kind}" in DE
    for media_type in values.MediaType.__args__:
        assert f"media.{media_type.replace('/', '_')}" in DE
    for state in values.ShareState.__args__:
        assert f"share.state.{state}" in DE
    for kind in backup.StoreKind.__args__:
        for part in ("kind", "about", "place", "place_hint"):
            assert f"store.{part}.{kind}" in DE
        for name in {"user", "secret"} & set(store_form.FIELDS[kind]):
            assert f"store.{name}.{kind}" in DE
    for step in backup.StepName.__args__:
        assert f"progress.{step}" in DE
    for step in restore_step.Step.__args__:
        assert f"restore.heading.{step}" in DE
    for action in audit.Action.__args__:
        assert f"action.{action}" in DE
    for kind in watch.FindingKind.__args__:
        assert {f"page_key.finding.{kind}.what", f"page_key.finding.{kind}.todo"} <= DE.keys()
    for trouble in set(watch.Trouble.__args__) - {""}:
        assert f"page_key.trouble.{trouble}" in DE
    for key in ("away", "none", "expired", "replacing", "revoking", "late", "valid"):
        assert f"page_key.standing.{key}" in DE
    for code in problems._STATUS:
        assert f"error.{code}.what" in DE


#: As tests/page/texts.test.mjs has it for the patient's page.
TRADE = re.compile(
    r"token|server|session|sitzung|manifest|schlüssel\b|\bkey\b|cache|cookie|browser|javascript|http|krypt|crypt|tls"
    r"|hash|url|login|log in|einlogg|account|upload|hochlad|klick|\bclick|\btab\b|website|webseite|online|zertifikat"
    r"|certificate",
    re.IGNORECASE,
)


@pytest.mark.parametrize("catalogue", [DE, EN], ids=["de", "en"])
def test_the_papers_for_patients_use_none_of_our_trades_words(catalogue):
    papers = {key: text for key, text in catalogue.items() if key.startswith(("sheet.", "slip."))}
    # In small print for those who want to look: the words are those of the menu they are to find.
    del papers["sheet.key"]
    assert len(papers) > 15
    assert not [key for key, text in papers.items() if TRADE.search(text)]


def test_one_of_anything_is_said_in_the_singular():
    for catalogue in (DE, EN):
        counted = {key.removesuffix(".other") for key in catalogue if key.endswith(".other")}
        assert counted == {key.removesuffix(".one") for key in catalogue if key.endswith(".one")}
        assert not [key for key in catalogue if key.startswith("metric.") and not key.endswith((".one", ".other"))]
        assert not [key for key in counted if "{number}" in catalogue[f"{key}.one"]]


def test_every_done_code_is_in_the_catalogue():
    for path in PRACTICE.glob("*_routes.py"):
        for code in re.findall(r"\?done=([a-z_]+)", path.read_text(encoding="utf-8")):
            assert f"done.{code}" in DE


async def test_every_page_exists_in_both_languages(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    document = await browser.add_document(patient)
    share, _ = await browser.share(patient, document)
    stranger = await bench.browser()
    paths = ["/patients", "/patients?text=zzz", "/patients?birth_date=x", "/patients/new", f"/patients/{patient}"]
    paths += [f"/patients/{patient}/edit", f"/patients/{patient}/delete", f"/documents/{document}/delete", "/shares"]
    paths += [f"/shares/{share}/link", f"/shares/{share}/revoke", "/history", "/staff", "/devices", "/password"]
    paths += ["/status", "/lock", "/unlocking", "/nothing", "/kit", "/backup", "/backup/store"]
    paths += [f"/backup/store?kind={kind}" for kind in backup.StoreKind.__args__]
    paths += ["/restore", "/restore/store", "/restore/abandon", "/shares/earlier", "/shares/earlier/print"]
    paths += ["/status/page-key", "/status/internet"]
    own = {f"/{path.stem}" for path in PRACTICE.glob("templates/*.html")}
    for language, words in (("de", DE), ("en", EN)):
        other = EN if language == "de" else DE
        for who, path in [*((browser, path) for path in paths), (stranger, "/login"), (stranger, "/invitation")]:
            answer = await who.open(path, headers={"Accept-Language": language})
            assert f'<html lang="{language}">' in answer.text, path
            assert answer.headers["Content-Language"] == language
            assert words["page.skip"] in answer.text
            assert other["page.skip"] not in answer.text
            assert f'href="/language/{"en" if language == "de" else "de"}?next=' in answer.text
    assert own >= {"/claim", "/login", "/patients", "/status"}


def test_dates_times_and_sizes_are_written_as_the_reader_writes_them():
    texts = read_texts()
    assert texts["de"].date("1962-03-05") == "05.03.1962"
    assert texts["en"].date("1962-03-05") == "05/03/1962"
    assert [texts["de"].size(length) for length in (5, 1024, 1_600_000, 512 * 2**20)] == [
        "5 B",
        "1 KB",
        "1,5 MB",
        "512 MB",
    ]
    assert texts["de"].moment(1_800_000_000) == "15.01.2027, 09:00", "the practice's clock, whatever the box's is"
    assert texts["de"].moment(1_785_535_140) == "31.07.2026, 23:59", "in summer too"
    assert texts["de"].moment(0) == texts["en"].day(0) == ""
    assert texts["de"].count("days", 1) == "1 Tag"
    assert texts["de"].error(Invalid("field_long", field="name", limit=120)).field == "name"
    assert texts["de"].error(NotFound("patient")).code == "patient"


def test_every_template_is_compiled_at_start():
    assert importlib.import_module("appliance.practice.pages")
    box = vault.Box(
        box="0" * 32, page_host="a", page_port=443, lan_host="b", lan_port=443, portal_address="c:1", portal_name="c",
        portal_ca="", provisioned=True, claimed=True, practice_name="P", telephone="1",
    )  # fmt: skip
    compiled = pages.Pages(box)._templates
    assert set(compiled) == {path.name for path in PRACTICE.glob("templates/*.html")}
