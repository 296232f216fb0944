"""A large practice: every page is measured, and no question to the database reads more the more there is.

Times are for `make scale`; here plans, rows and SQLite's own steps are counted, which are the same on every machine.
"""

import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from appliance.contracts.records import Document, FindPatients, ListShares, ReadHistory, ReadPatient, SearchDocuments
from appliance.contracts.vault import WrappedKey
from appliance.records import documents, patients, search
from appliance.records.documents import Sealed
from appliance.records.names import clean_person
from tests.records.bench import Bench, records_process
from tests.scale.box import Measured
from tests.scale.practice import LONG_FILE_DOCUMENTS, RARE, SHORT, Size, papers, people
from tests.scale.questions import NOT_MEASURED, forgotten, table
from tests.simulators.vault_peer import vault_peer

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: SQLite's virtual machine's instructions for a page; a full scan of 10,000 rows takes more than ten times as many.
MAX_STEPS = 8_000
#: Patients are put in order before a page is cut off, so everyone whose name begins so is looked at.
MAX_STEPS_FOR_NAMES = MAX_STEPS + 25 * SHORT.patients
MANY_NAMES = {"common name", "common name, later"}
#: These walk an index from its start and stop at the page's end, or are the full-text index itself.
ALLOWED_SCANS = re.compile(
    r"SCAN (patients USING COVERING INDEX patients_by_name|document_words VIRTUAL TABLE INDEX .*)\Z"
)


def rows_of(size: Size, known: list[str]):
    """Give documents as the rows the real path makes; their files are nobody's matter here."""
    for paper in papers(size):
        document = os.urandom(16).hex()
        description = Document(
            document=document,
            patient=known[paper.patient],
            kind=paper.kind,
            title=paper.title,
            name=paper.name,
            media_type="application/pdf",
            length=len(paper.content),
            added_at=paper.added_at,
            added_by="",
        )
        yield (
            Sealed(
                description,
                4096,
                bytes(32),
                WrappedKey(wrapped=bytes(60), generation=1),
                f"{document[:2]}/{document}-0",
            ),
            paper.text,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large(tmp_path_factory) -> AsyncIterator[tuple[Bench, list[str]]]:
    """Records with 2,000 patients and 10,000 documents."""
    folder = tmp_path_factory.mktemp("large")
    async with vault_peer(folder) as vault, records_process(folder, vault.peer, vault.log_in()) as bench:
        known = [os.urandom(16).hex() for _ in range(SHORT.patients)]

        def fill(rows):
            for patient, person in zip(known, people(SHORT.patients), strict=True):
                patients.create(rows, patient, clean_person(person), 0)
            for sealed, text in rows_of(SHORT, known):
                documents.add(rows, sealed, text)

        await bench.archive.database.run(fill)
        yield bench, known


@dataclass
class Work:
    """What a question cost the database."""

    statements: list[str] = field(default_factory=list)
    steps: int = 0


async def work_of(bench: Bench, verb, **fields):
    """Ask, and give the answer with what it cost."""
    work = Work()

    def begin(rows):
        def step():
            work.steps += 10
            return 0

        rows._connection.set_trace_callback(work.statements.append)
        rows._connection.set_progress_handler(step, 10)

    def end(rows):
        rows._connection.set_trace_callback(None)
        rows._connection.set_progress_handler(None, 10)

    await bench.archive.database.run(begin)
    try:
        answer = await bench.ask(verb, **fields)
    finally:
        await bench.archive.database.run(end)
    return answer, work


QUESTIONS = {
    "patients": (FindPatients, {}),
    "patients, last page": (FindPatients, {"after": 1950}),
    "common name": (FindPatients, {"text": "müller"}),
    "common name, later": (FindPatients, {"text": "m", "after": 150}),
    "rare name": (FindPatients, {"text": RARE}),
    "birth date": (FindPatients, {"birth_date": "1962-03-12"}),
    "common word": (SearchDocuments, {"text": "befund"}),
    "common word, last page": (SearchDocuments, {"text": "befund", "before": 60}),
    "common word of texts": (SearchDocuments, {"text": "meniskus"}),
    "two words": (SearchDocuments, {"text": "befund knie"}),
    "name and word": (SearchDocuments, {"text": "müller befund"}),
    "rare word": (SearchDocuments, {"text": RARE}),
    "nothing": (SearchDocuments, {"text": "befund qqqq"}),
    "shares": (ListShares, {}),
    "history": (ReadHistory, {}),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_no_page_reads_more_than_it_shows(large, question):
    bench, _ = large
    verb, fields = QUESTIONS[question]
    answer, work = await work_of(bench, verb, **fields)
    assert work.steps < (MAX_STEPS_FOR_NAMES if question in MANY_NAMES else MAX_STEPS)
    assert_indexed(await plans(bench, work))
    found = getattr(answer, "patients", None) or getattr(answer, "documents", None) or []
    assert len(found) <= fields.get("count", 50)


async def plans(bench: Bench, work: Work) -> list[str]:
    """Give SQLite's plan of every statement that was run."""
    asked = [text for text in work.statements if text.lstrip().upper().startswith("SELECT")]
    return [
        str(row[3])
        for text in asked
        for row in await bench.archive.database.run(lambda rows, text=text: rows.all(f"EXPLAIN QUERY PLAN {text}"))
    ]


def assert_indexed(lines: list[str]) -> None:
    assert [line for line in lines if line.startswith("SCAN") and not ALLOWED_SCANS.match(line)] == []


async def test_a_question_without_an_index_is_noticed(large):
    bench, _ = large
    work = Work(["SELECT document FROM documents WHERE title = 'x'"])
    with pytest.raises(AssertionError):
        assert_indexed(await plans(bench, work))


async def test_a_patients_file_is_read_by_its_own_rows(large):
    bench, known = large
    for patient, count in ((known[0], LONG_FILE_DOCUMENTS), (known[-1], 0)):
        answer, work = await work_of(bench, ReadPatient, patient=patient)
        assert count <= len(answer.documents) <= count * 1.2
        assert_indexed(await plans(bench, work))
        assert work.steps < MAX_STEPS + 60 * len(answer.documents)


async def test_the_index_finds_what_a_reading_of_every_text_finds(large):
    bench, _ = large
    every = await bench.archive.database.run(
        lambda rows: rows.all(
            "SELECT document, title, name, text FROM documents JOIN document_texts USING (document)"
        )
    )
    words = {document: search.text_words(" ".join(texts)).split() for document, *texts in every}
    for text in ("meniskus", "größe", "befund", RARE, "knie"):
        folded = search.text_words(text).split()[0]
        expected = {document for document, its in words.items() if any(word.startswith(folded) for word in its)}
        found: list[str] = []
        older = None
        while True:
            page, more = await bench.archive.database.run(
                lambda rows, text=text, older=older: search.find(rows, text, older, 500)
            )
            found += [each.document for each in page]
            if not more:
                break
            older = page[-1].number
        assert len(found) == len(set(found))
        assert set(found) == expected, text
        assert found


async def test_every_route_of_practice_is_measured_or_left_out_with_a_reason():
    routes = await table()
    assert forgotten(routes) == set()
    assert set(NOT_MEASURED) <= routes
    assert forgotten(routes | {("GET", "/letters")}) == {("GET", "/letters")}


async def test_p95_is_the_slowest_of_the_fastest_nineteen_in_twenty():
    assert Measured("x", [float(number) for number in range(1, 41)]).at(0.95) == 38
    assert Measured("x", [200.0] * 38 + [900.0] * 2).line()["met"]
    assert not Measured("x", [200.0] * 37 + [201.0] * 3).line()["met"]
