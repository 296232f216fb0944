"""Search: what people type is words; German is found as it is typed; what is erased leaves no trace in any page."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from appliance.contracts.records import CorrectPatient, DeletePatient, EraseDocument, Person, SearchDocuments
from appliance.core.errors import Refused, Unavailable
from appliance.records import search
from appliance.records.passages import place_of
from tests.records.bench import records_process

PAGE_BYTES, RESERVED_BYTES, SALT_BYTES, IV_BYTES = 4096, 80, 16, 16


async def add(bench, patient, text="", *, title="Befund", name="befund.pdf"):
    added = await bench.add(patient=patient, title=title, name=name)
    if text:
        await bench.archive.database.run(lambda rows: search.index_document(rows, added.document, title, name, text))
    return added.document


async def found(bench, text, **fields):
    return (await bench.ask(SearchDocuments, text=text, **fields)).documents


async def titles(bench, text):
    return [each.document.title for each in await found(bench, text)]


AS_TYPED = {
    "Müller": ["müller", "MUELLER", "muller", "Mü", "mul", "mu\u0308ller"],
    "Größe": ["groesse", "GRÖSSE", "grosse", "größ"],
    "Straße": ["strasse", "STRASSE", "straße"],
    "Meyer-Lüdenscheidt": ["meyer-lüdenscheidt", "lüdenscheidt meyer", "Ludenscheidt"],
    "Łukasiewicz": ["lukasiewicz", "Łuk"],
    "Ærøskøbing": ["aeroskobing", "aeroeskoebing"],
    "MRT-Kniegelenk re. 12.03.2026": ["mrt kniegelenk", "12.03.2026", "re 12"],
    "Ἀθήνα Київ 東京": ["αθηνα", "київ", "東京"],
}


async def test_a_word_is_found_however_it_is_typed(bench):
    patient = await bench.add_patient()
    for written in AS_TYPED:
        await add(bench, patient, f"vorne {written} hinten", title="im Text")
        await add(bench, patient, title=f"{written} im Titel")
        await add(bench, patient, title="im Namen", name=f"{written}.pdf")
    for written, typed in AS_TYPED.items():
        for text in typed:
            assert await titles(bench, text) == ["im Namen", f"{written} im Titel", "im Text"], text


async def test_a_plain_word_with_two_vowels_is_not_taken_for_an_umlaut(bench):
    patient = await bench.add_patient()
    await add(bench, patient, "Potenz, Neurologie", title="eins")
    assert await titles(bench, "poet") == []
    assert await titles(bench, "neuer") == []


# fmt: off
HOSTILE = [
    '"', "'", "*", "befund*", "befund OR x", "NOT befund", "words : befund", "{words}: x", "befund NEAR(a b)", "-befund",
    "^befund", "befund + x", "(", ")", "\\", "a\x00b", "'; DROP TABLE documents; --", "%", "_", "😀", "x" * 120, "",
]
# fmt: on


async def test_what_people_type_is_never_a_query_language(bench):
    patient = await bench.add_patient()
    await add(bench, patient, "Befund", title="Befund")
    for text in HOSTILE:
        words = search.text_search_words(text)
        expected = 1 if words and all("befund".startswith(spellings) for spellings in words) else 0
        assert len(await found(bench, text)) == expected, text


async def test_the_patients_name_narrows_and_does_not_list_by_itself(bench):
    hers = await bench.add_patient("Ahrens", "Wiebke")
    his = await bench.add_patient("Brandt", "Ole")
    await add(bench, hers, title="MRT Knie")
    await add(bench, his, title="MRT Schulter")
    assert await titles(bench, "ahrens mrt") == ["MRT Knie"]
    assert await titles(bench, "mrt") == ["MRT Schulter", "MRT Knie"]
    assert await titles(bench, "ahrens") == []
    person = Person(family_name="Ahrens-Übel", given_name="Wiebke", birth_date="1980-02-29")
    await bench.ask(CorrectPatient, patient=hers, person=person)
    assert await titles(bench, "uebel mrt") == ["MRT Knie"]


async def test_pages_follow_each_other_without_gap_or_repetition_while_documents_come_in(bench):
    patient = await bench.add_patient()
    added = [await add(bench, patient, title=f"Labor {number}") for number in range(7)]
    seen, before = [], None
    while True:
        page = await bench.ask(SearchDocuments, text="labor", before=before, count=3)
        seen += [each.document.document for each in page.documents]
        if page.older is None:
            break
        before = page.older
        await add(bench, patient, title="Labor dazwischen")
    assert seen == added[::-1]


async def test_a_text_that_comes_again_replaces_the_one_before(bench):
    patient = await bench.add_patient()
    document = await add(bench, patient, "Erstfassung")
    await bench.archive.database.run(
        lambda rows: search.index_document(rows, document, "Befund", "befund.pdf", "Zweitfassung")
    )
    assert await titles(bench, "erstfassung") == []
    assert await titles(bench, "zweitfassung") == ["Befund"]


async def test_text_of_a_document_that_was_erased_meanwhile_is_dropped(bench):
    patient = await bench.add_patient()
    document = await add(bench, patient)
    await bench.ask(EraseDocument, document=document, reason="no_record")
    await bench.archive.database.run(
        lambda rows: search.index_document(rows, document, "Befund", "befund.pdf", "zu spät")
    )
    assert await bench.archive.database.run(lambda rows: rows.all("SELECT * FROM document_texts")) == []
    assert await titles(bench, "zu") == []


async def test_documents_of_before_the_index_are_indexed_at_start(tmp_path, vault):
    token = vault.log_in()
    async with records_process(tmp_path, vault.peer, token) as bench:
        patient = await bench.add_patient()
        document = await add(bench, patient, title="Altbestand")
        await bench.archive.database.run(lambda rows: search.forget_document(rows, document))
        assert await titles(bench, "altbestand") == []
    async with records_process(tmp_path, vault.peer, token) as bench:
        assert await titles(bench, "altbestand") == ["Altbestand"]


def decrypted_pages(path, key):
    """Give every page of a database as its key's holder reads it (SQLCipher design, "Database File Format")."""
    raw, pages = path.read_bytes(), []
    for start in range(0, len(raw), PAGE_BYTES):
        page = raw[start : start + PAGE_BYTES]
        iv = page[PAGE_BYTES - RESERVED_BYTES :][:IV_BYTES]
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        skipped = SALT_BYTES if start == 0 else 0
        pages.append(decryptor.update(page[skipped : PAGE_BYTES - RESERVED_BYTES]))
    return b"".join(pages).lower()


@pytest.mark.parametrize("erase", ["document", "patient", "text"])
async def test_erased_text_is_in_no_page_of_the_database(tmp_path, vault, erase):
    """Not in the index, not in its prefixes, not in the kept text, not in a free page, not in the log."""
    traces = {place: f"kanarie{place}{os.urandom(4).hex()}" for place in ("title", "name", "text", "mitte", "ende")}
    async with records_process(tmp_path, vault.peer, vault.log_in()) as bench:
        other, patient = await bench.add_patient("Anders"), await bench.add_patient("Kanarienvogel")
        for number in range(40):
            await add(bench, other, f"bleibt{number} " * 50, title=f"Bleibt {number}")
        text = f"{traces['text']} {'wort ' * 3000} {traces['mitte']} {'noch ' * 3000} {traces['ende']}"
        document = await add(bench, patient, text, title=traces["title"], name=f"{traces['name']}.pdf")
        for number in range(40):
            await add(bench, other, f"danach{number} " * 50, title=f"Danach {number}")
        await bench.archive.database.forget()
        before = decrypted_pages(bench.state / "records.db", vault.database_key)
        assert all(trace.encode() in before for trace in traces.values())
        if erase == "document":
            await bench.ask(EraseDocument, document=document, reason="no_record")
        elif erase == "patient":
            await bench.ask(DeletePatient, patient=patient, reason="no_record")
            traces["patient"] = "kanarienvogel"
        else:
            traces = {place: trace for place, trace in traces.items() if place not in ("title", "name")}
            await bench.archive.database.run(
                lambda rows: search.index_document(rows, document, "Befund", "befund.pdf", "")
            )
            await bench.archive.database.forget()
        assert (bench.state / "records.db-wal").stat().st_size == 0
        after = decrypted_pages(bench.state / "records.db", vault.database_key)
        assert b"danach7" in after
        assert [place for place, trace in traces.items() if trace.encode() in after] == []
        # Words of the index stand there in part only, the beginning left out that they share with the one before.
        assert [place for place, trace in traces.items() if trace[-8:].encode() in after] == []
        assert await titles(bench, "danach7") == ["Danach 7"]


@pytest.mark.parametrize(
    ("typed", "place", "marked"),
    [
        ("knie", "title", None),
        ("erika knie", "title", None),
        ("scan", "name", None),
        ("meniskus", "text", "Meniskusläsion"),
        ("knie meniskus", "text", "Meniskusläsion"),
        ("laesionen", "text", "Läsionen"),
        ("lasionen", "text", "Läsionen"),
        ("groesse", "text", "Größe"),
        ("GROSSE", "text", "Größe"),
    ],
)
def test_a_line_of_the_text_is_shown_only_if_nothing_else_explains_the_result(typed, place, marked):
    text = "Befund vom 3. März:\n\n  Meniskusläsion rechts,   weitere Läsionen\nvon 2 mm Größe"
    found_at, passage = place_of(typed, "MRT Knie", "scan_0815.pdf", "Muster Erika", text)
    assert found_at == place
    assert (passage.words if passage else None) == marked
    if marked == "Meniskusläsion":
        assert passage.before == "Befund vom 3. März: "
        assert passage.after == " rechts, weitere Läsionen von 2 mm Größe"


def test_a_line_is_short_and_cut_between_words():
    _, passage = place_of("mitte", "", "", "", "anfang " * 50 + "Mitte " + "schluss " * 50)
    assert passage.before.startswith("… anfang")
    assert passage.after.endswith("schluss …")
    assert len(passage.before + passage.words + passage.after) < 200


async def test_a_passage_is_logged_once_and_a_title_is_not(bench):
    patient = await bench.add_patient()
    document = await add(bench, patient, "Meniskus", title="MRT")
    for text in ("mrt", "meniskus", "meniskus"):
        assert len(await found(bench, text)) == 1
    entries = [entry for entry in await bench.entries() if entry.action == "document_found"]
    assert [(entry.patient, entry.document) for entry in entries] == [(patient, document)]


async def test_a_passage_that_cannot_be_logged_is_not_shown_then_or_later(bench, monkeypatch):
    patient = await bench.add_patient()
    await add(bench, patient, "Meniskus", title="MRT")

    async def away(*_, **__):
        raise Unavailable("audit_away")

    with monkeypatch.context() as patched:
        patched.setattr(type(bench.archive), "log", away)
        with pytest.raises(Unavailable, match="audit_away"):
            await found(bench, "meniskus")
    await found(bench, "meniskus")
    assert (await bench.actions()).count("document_found") == 1


async def test_passages_are_limited_for_a_member_of_staff_and_titles_are_not(bench, vault, monkeypatch):
    monkeypatch.setattr(bench.archive.sessions._passages, "_count", 2)
    patient = await bench.add_patient()
    for number in range(3):
        await add(bench, patient, f"Meniskus nummer{number}", title="MRT")
    await found(bench, "nummer0")
    await found(bench, "nummer1")
    await found(bench, "nummer0")
    with pytest.raises(Unavailable, match="search_limit"):
        await found(bench, "nummer2")
    assert len(await found(bench, "mrt")) == 3
    bench.clock.now += 601
    assert len(await found(bench, "nummer2")) == 1


async def test_a_device_searches_nothing(bench, vault):
    with pytest.raises(Refused, match="session_kind"):
        await found(bench, "x", session=vault.log_in("device"))
