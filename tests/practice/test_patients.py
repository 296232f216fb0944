"""Patients: search, create, correct, delete; what was typed stays in a form that failed."""

import re

from appliance.core.errors import Unavailable
from tests.practice.bench import PDF


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


async def test_one_search_finds_patients_and_words_in_documents(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient("Lüdenscheid", "Erika", "12.08.1964")
    for number in range(7):
        await browser.add_document(patient, title=f"MRT Knie {number}", name=f"aufnahme{number}.pdf")

    async def found(path: str) -> tuple[list[str], str]:
        text = (await browser.open(path)).text
        return re.findall(r">(MRT Knie \d)</a>", text), text

    titles, text = await found("/patients?text=knie")
    assert titles == [f"MRT Knie {number}" for number in (6, 5, 4, 3, 2)]
    assert "Kein Patient heißt so" in text
    assert f'<a href="/patients/{patient}">Lüdenscheid, Erika</a>, geboren am 12.08.1964' in text
    assert 'href="/documents?text=knie"' in text
    assert "Dateiname: aufnahme3.pdf" in (await found("/patients?text=AUFNAHME3"))[1]
    assert (await found("/patients?text=luedenscheid+mrt"))[0] == titles
    titles, text = await found("/patients?text=luedenscheid")
    assert titles == []
    assert "Lüdenscheid, Erika" in text
    assert (await found("/patients?text=knie&birth_date=12.08.1964"))[0] == []
    assert "In keinem Dokument" in (await found("/documents?text=knie+h%C3%BCfte"))[1]
    assert "zum Beispiel" in (await found("/documents"))[1]


async def test_found_documents_are_shown_page_by_page(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient()
    await browser.upload(patient, *((f"labor {number}.pdf", PDF) for number in range(23)))
    text = (await browser.open("/documents?text=labor")).text
    assert text.count('class="row-name"') == 20
    older = re.findall(r'href="(/documents\?text=labor&amp;before=\d+)"', text)[0].replace("&amp;", "&")
    text = (await browser.open(older)).text
    assert re.findall(r">(labor \d+)</a>", text) == ["labor 2", "labor 1", "labor 0"]
    assert "before=" not in text
    for nonsense in (
        "before=x",
        "before=-1",
        "before=99999999999999999999",
        "before=%F0%9F%98%80",
        "text=%22%20OR%20*",
    ):
        assert (await browser.open(f"/documents?{nonsense}")).status == 200


async def test_what_is_found_is_shown_as_text_and_never_as_markup(bench):
    browser = await bench.claimed()
    patient = await browser.add_patient("<b>Böse</b>")
    await browser.add_document(patient, title="<script>alert(1)</script>", name="<i>x.pdf")
    for path in ("/patients?text=script", "/documents?text=script", "/documents?text=%3Cscript%3E"):
        text = (await browser.open(path)).text
        assert "&lt;script&gt;alert(1)" in text
        assert "<script>" not in text
        assert "<b>B" not in text


async def test_who_searched_too_much_is_told_and_still_finds_patients(bench, monkeypatch):
    browser = await bench.claimed()
    await browser.add_patient("Meniskowski")

    async def refuse(*_, **__):
        raise Unavailable("search_limit", wait_s=300)

    monkeypatch.setattr("appliance.records.search_answers.SearchAnswers._log_passages", refuse)
    answer = await browser.open("/patients?text=menisk")
    assert (answer.status, answer.error) == (200, "search_limit")
    assert "Meniskowski, Erika" in answer.text
    answer = await browser.open("/documents?text=menisk")
    assert (answer.status, answer.error) == (429, "search_limit")


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
    assert (
        "gelöscht"
        in (await browser.send(f"/patients/{patient}/delete", {"confirmed": "yes", "reason": "no_record"})).text
    )
    assert (await browser.open(f"/patients/{patient}")).status == 404
    assert (await browser.open(f"/documents/{document}/open")).status == 404
