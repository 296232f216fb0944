"""Patients: found by the beginnings of names however they are spelt, matched without guessing."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.contracts.records import (
    CorrectPatient,
    CreatePatient,
    DeletePatient,
    FindPatients,
    Person,
    ReadHistory,
    ReadPatient,
)
from appliance.core.errors import Invalid, NotFound
from appliance.records import names
from appliance.records.patients import create, find
from tests.records.bench import PDF


def person(family="Muster", given="Erika", birth_date="1980-02-29", number=""):
    return Person(family_name=family, given_name=given, birth_date=birth_date, number=number)


async def found(bench, text="", **fields):
    return [patient.person.family_name for patient in (await bench.ask(FindPatients, text=text, **fields)).patients]


@pytest.mark.parametrize(
    ("stored", "searches"),
    [
        (
            "Müller-Lüdenscheidt",
            ["müller", "Mueller", "muller", "MÜL", "lüd", "lued", "lud", "müller-lü", "lüden mül"],
        ),
        ("Weiß", ["weiß", "weiss", "WEIS"]),
        ("Mueller", ["müller", "mueller"]),
        ("Ångström", ["ang", "aangstroem", "Ång"]),
        ("Şahin", ["sahin", "şa"]),
        ("Łukasz", ["luk", "ŁUK"]),
        ("d'Aubigné", ["aubigne", "d'aub", "d aub"]),
        ("Иванова", ["ива", "ИВАНОВА"]),
        ("İpek", ["ipek", "İpe"]),
    ],
)
async def test_a_patient_is_found_however_the_name_is_spelt(bench, stored, searches):
    await bench.add_patient(stored)
    await bench.add_patient("Zufall")
    for text in searches:
        assert await found(bench, text) == [stored], text
    assert await found(bench, stored[1:5] + "x") == []


async def test_every_word_of_a_search_must_begin_a_name(bench):
    await bench.add_patient("Schmidt", "Anna Maria")
    await bench.add_patient("Schmidt", "Bernd")
    assert await found(bench, "schm ma") == ["Schmidt"]
    assert len(await found(bench, "schm")) == 2
    assert await found(bench, "ernd") == []
    assert await found(bench, "%") == ["Schmidt"] * 2  # no word at all: nothing is asked for
    assert await found(bench, "schmidt", birth_date="1980-02-29") == ["Schmidt"] * 2
    assert await found(bench, "schmidt", birth_date="1980-03-01") == []


async def test_patients_are_paged_in_order_of_name(bench):
    for family in ["Ziegler", "Äbel", "Muster", "Adler", "Abel"]:
        await bench.add_patient(family)
    assert await found(bench) == ["Abel", "Adler", "Äbel", "Muster", "Ziegler"]
    page = await bench.ask(FindPatients, after=1, count=2)
    assert ([patient.person.family_name for patient in page.patients], page.more) == (["Adler", "Äbel"], True)
    assert not (await bench.ask(FindPatients, after=3, count=2)).more


async def test_the_same_patient_twice_is_pointed_out(bench):
    first = await bench.ask(CreatePatient, person=person("Müller"))
    with pytest.raises(Invalid, match="patient_exists") as raised:
        await bench.ask(CreatePatient, person=person(" MUELLER "))
    assert raised.value.details == {"patient": first.patient}
    assert (await bench.ask(CreatePatient, person=person("Müller"), same_name=True)).patient != first.patient
    assert (await bench.ask(CreatePatient, person=person("Müller", birth_date="1980-03-01"))).patient


async def test_a_corrected_patient_is_found_by_the_new_name_only(bench):
    patient = await bench.add_patient("Falsch")
    bench.clock.now += 5
    await bench.ask(CorrectPatient, patient=patient, person=person("Richtig"))
    assert await found(bench, "falsch") == []
    assert await found(bench, "richtig") == ["Richtig"]
    assert (await bench.ask(ReadPatient, patient=patient)).patient.changed_at == bench.clock.now
    with pytest.raises(NotFound, match="patient"):
        await bench.ask(CorrectPatient, patient="0" * 32, person=person())


@pytest.mark.parametrize("birth_date", ["2023-02-29", "1980-13-01", "0000-00-00"])
async def test_a_day_that_never_was_is_refused(bench, birth_date):
    with pytest.raises(Invalid, match="birth_date"):
        await bench.ask(CreatePatient, person=person(birth_date=birth_date))


@pytest.mark.parametrize("name", [" ", "\u202e", "\x00\x07", "\u200b\u2066"])
async def test_a_name_of_nothing_visible_is_refused(bench, name):
    with pytest.raises(Invalid, match="family_name"):
        await bench.ask(CreatePatient, person=person(name))


async def test_a_device_files_by_number_or_by_name_and_never_guesses(bench, vault):
    device = vault.log_in("device", "Praxissoftware")
    numbered = await bench.add_patient("Muster", number="1")
    plain = await bench.add_patient("Müller")
    twins = [await bench.add_patient("Zwilling", number=number) for number in ("", "")]

    async def filed(**fields):
        return (await bench.add(PDF, session=device, match=person(**fields))).patient

    assert await filed(family="Anders geschrieben", number="1") == numbered
    assert await filed(family="Mueller", number="77") == plain
    assert await filed(family="MÜLLER") == plain
    assert await filed(family="Muster") == numbered
    with pytest.raises(Invalid, match="patient_ambiguous"):
        await filed(family="Muster", number="1", birth_date="1999-12-31")  # a number, but not that patient's day
    with pytest.raises(NotFound, match="patient"):
        await filed(family="Muster", number="2")  # same names, but both have a number and it is another one
    with pytest.raises(NotFound, match="patient"):
        await filed(family="Unbekannt")
    with pytest.raises(Invalid, match="patient_ambiguous"):
        await filed(family="Zwilling")
    assert len(set(twins)) == 2


async def test_two_patients_with_one_number_are_ambiguous(bench, vault):
    device = vault.log_in("device")
    for family in ("Eins", "Zwei"):
        await bench.add_patient(family, number="9")
    with pytest.raises(Invalid, match="patient_ambiguous"):
        await bench.add(PDF, session=device, match=person("Eins", number="9"))


async def test_staff_name_the_patient_and_devices_do_not(bench):
    patient = await bench.add_patient()
    with pytest.raises(Invalid, match="patient"):
        await bench.add(PDF)
    with pytest.raises(Invalid, match="patient"):
        await bench.add(PDF, patient=patient, match=person())
    with pytest.raises(NotFound, match="patient"):
        await bench.add(PDF, patient="0" * 32)


async def test_documents_are_listed_by_kind_newest_first(bench):
    patient = await bench.add_patient()
    for kind, title in [("lab", "A"), ("letter", "B"), ("lab", "C")]:
        await bench.add(PDF, patient=patient, kind=kind, title=title)
        bench.clock.now += 1
    read = await bench.ask(ReadPatient, patient=patient)
    assert ([one.title for one in read.documents], read.patient.documents) == (["C", "B", "A"], 3)
    lab = await bench.ask(ReadPatient, patient=patient, kind="lab")
    assert [one.title for one in lab.documents] == ["C", "A"]


async def test_history_has_names_until_they_are_erased(bench):
    patient = await bench.add_patient()
    await bench.add(PDF, patient=patient, title="Befund")
    entries = (await bench.ask(ReadHistory, patient=patient)).entries
    assert [(one.entry.action, one.patient_name, one.document_title) for one in entries] == [
        ("document_added", "Muster, Erika", "Befund"),
        ("patient_made", "Muster, Erika", ""),
    ]
    await bench.ask(DeletePatient, patient=patient, reason="no_record")
    read = await bench.ask(ReadHistory)
    assert read.size == len(read.entries) == 4
    assert {(one.patient_name, one.document_title) for one in read.entries} == {("", "")}
    assert (await bench.ask(ReadHistory, before=1)).entries[0].entry.index == 0


async def test_twenty_thousand_patients_are_found_at_once(bench):
    families = [
        "Müller",
        "Schmidt",
        "Schneider",
        "Fischer",
        "Weber",
        "Meyer",
        "Wagner",
        "Becker",
        "Schulz",
        "Hoffmann",
    ]
    givens = ["Anna", "Bernd", "Clara", "Dieter", "Eva", "Frank", "Greta", "Hans", "Ida", "Jan"]

    def fill(rows):
        for number in range(20_000):
            one = person(
                families[number % 10] + f"{number // 10 % 100}",
                givens[number // 1000 % 10],
                f"19{number % 90 + 10}-01-01",
            )
            create(rows, os.urandom(16).hex(), one, 0)

    await bench.archive.database.run(fill)
    for text, birth_date in [("", None), ("m", None), ("s", None), ("mül an", None), ("schmidt7 j", "1931-01-01")]:
        began = time.perf_counter()
        patients, _ = await bench.archive.database.run(lambda rows, t=text, b=birth_date: find(rows, t, b, 0, 50))
        assert patients
        assert time.perf_counter() - began < 0.5, text


# --- names, pure --------------------------------------------------------------------------------------------------

unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(unicode_text)
def test_a_cleaned_name_shows_what_it_is(text):
    cleaned = names.clean(text)
    assert cleaned == names.clean(cleaned)
    assert cleaned == cleaned.strip()
    assert not set(cleaned) & set("\x00\n\r\t\x1b\x7f\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\u2028")


@given(unicode_text)
def test_a_file_name_is_one_component_of_at_most_255_characters(text):
    try:
        name = names.clean_file_name(text)
    except Invalid:
        return
    assert 1 <= len(name) <= 255
    assert not set(name) & set("/\\\0")
    assert name not in (".", "..")
    assert name == names.clean_file_name(name)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("C:\\Befunde\\labor.pdf", "labor.pdf"),
        ("../../etc/passwd", "passwd"),
        ("rechnung\u202efdp.exe", "rechnungfdp.exe"),
        ("a" * 300 + ".pdf", "a" * 251 + ".pdf"),
        ("  Befund \t 1.pdf ", "Befund 1.pdf"),
    ],
)
def test_a_file_name_keeps_its_meaning(given_name, kept):
    assert names.clean_file_name(given_name) == kept


@pytest.mark.parametrize("name", ["..", ".", "/", "a/", "\u200b", "folder\\"])
def test_a_path_without_a_name_is_refused(name):
    with pytest.raises(Invalid, match="file_name"):
        names.clean_file_name(name)


@given(unicode_text.filter(lambda text: names.clean(text)), unicode_text.filter(lambda text: names.clean(text)))
def test_whoever_is_stored_is_found_by_the_own_name(family, given_name):
    stored = names.name_words(person(names.clean(family)[:120], names.clean(given_name)[:120]))
    for short, long in names.search_words(names.clean(family)[:120]):
        assert any(word.startswith((short, long)) for word in stored)
