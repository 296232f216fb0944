"""Patients: search, create, correct, delete; what was typed stays in a form that failed."""

import re


async def test_patients_are_found_by_name_and_birth_date_in_any_spelling(bench):
    browser = await bench.claimed()
    await browser.add_patient("Mustermann", "Erika", "12.08.1964")
    await browser.add_patient("Mustermann", "Max", "1961-02-03")
    await browser.add_patient("Öztürk", "Aylin", "27111988")

    async def found(query: str) -> list[str]:
        text = (await browser.open(f"/patients?{query}")).text
        return re.findall(r'class="row-name">([^<]+)<', text)

    assert await found("text=muster") == ["Mustermann, Erika", "Mustermann, Max"]
    assert await found("text=erika+muster") == ["Mustermann, Erika"]
    assert await found("text=ozturk") == ["Öztürk, Aylin"]
    assert await found("birth_date=3.2.1961") == ["Mustermann, Max"]
    assert await found("text=muster+12.8.1964") == ["Mustermann, Erika"]
    assert await found("text=muster&birth_date=27/11/1988") == []
    wrong = await browser.open("/patients?text=muster&birth_date=33.1.2000")
    assert (wrong.status, wrong.error) == (422, "birth_date")
    assert 'value="33.1.2000"' in wrong.text
    assert (await browser.open("/patients?after=99999999999999")).status == 200


async def test_failed_patient_form_keeps_what_was_typed(bench):
    browser = await bench.claimed()
    await browser.open("/patients/new")
    typed = {"family_name": "Vogel", "given_name": "Ida", "birth_date": "31.2.1990", "number": "77"}
    answer = await browser.send("/patients/new", typed)
    assert (answer.status, answer.error) == (422, "birth_date")
    for value in typed.values():
        assert f'value="{value}"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1


async def test_same_person_twice_is_asked_about_first(bench):
    browser = await bench.claimed()
    first = await browser.add_patient()
    await browser.open("/patients/new")
    person = {"family_name": "Mustermann", "given_name": "Erika", "birth_date": "12.08.1964", "number": ""}
    answer = await browser.send("/patients/new", person)
    assert (answer.status, answer.error) == (409, "patient_exists")
    assert f"/patients/{first}" in answer.text
    answer = await browser.send("/patients/new", {**person, "same_name": "yes"})
    assert "done=patient_made" in answer.url


async def test_patient_is_corrected(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    form = await browser.open(f"/patients/{patient}/edit")
    assert 'value="12.08.1964"' in form.text
    answer = await browser.send(
        f"/patients/{patient}/edit",
        {"family_name": "Neu", "given_name": "Erika", "birth_date": "12.08.1964", "number": "5"},
    )
    assert "Neu, Erika" in answer.text
    assert "Nr. 5" in answer.text


async def test_patient_is_deleted_only_after_confirmation(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    document = await browser.add_document(patient)
    asked = await browser.open(f"/patients/{patient}/delete")
    assert "1 Dokument" in asked.text
    assert (await browser.open(f"/patients/{patient}")).status == 200
    assert "gelöscht" in (await browser.send(f"/patients/{patient}/delete", {"confirmed": "yes"})).text
    assert (await browser.open(f"/patients/{patient}")).status == 404
    assert (await browser.open(f"/documents/{document}/open")).status == 404
