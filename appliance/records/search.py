"""Full-text search over documents: by title, file name, text, and the names of their patient.

Rules: the index lies in the encrypted database and nowhere else; what is forgotten is overwritten there at once
(FTS5's secure-delete, and secure_delete for the pages it frees). What people type is words and never FTS5's query
language. A document is found if every word of the search begins a word of it or of its patient's names, and at least
one begins a word of its own, so that a patient's name alone does not list all their documents.

Words are cut and folded by names.py, in both German spellings, and stored parted by blanks; the tokenizer `ascii`
takes every other character as part of a word, so that index and search can never cut differently. The text as it
was is kept beside, for the lines shown with a result: docs/decisions/search.md.

Sources: sqlite.org/fts5.html sections 3, 4.3.4, 4.6 and 6.11.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.records.database import Rows
from appliance.records.names import text_search_words, text_words
from appliance.records.schema import DOCUMENT_WORDS

#: About 130 closely written pages; what comes after is not searched.
MAX_TEXT_CHARACTERS = 400_000
#: A shorter word of a search must be a whole word: a letter's continuations are half the index.
MIN_BEGINNING_CHARACTERS = 2
MAX_NUMBER = 2**62


@dataclass(frozen=True)
class Found:
    """A document that a search found. `number` is its place in the order; `text` what is known to stand in it."""

    document: str
    number: int
    text: str


def index_document(rows: Rows, document: str, title: str, name: str, text: str) -> None:
    """Make a document findable, or replace what it is found by; `text` is what stands in it, "" if none is known.

    Nothing happens if the document was erased meanwhile.
    """
    owner = rows.one(
        "SELECT family_name, given_name FROM documents JOIN patients USING (patient) WHERE document = ?", document
    )
    if owner is None:
        return
    text = text[:MAX_TEXT_CHARACTERS]
    known = rows.one("SELECT number FROM document_texts WHERE document = ?", document)
    if known is None:
        rows.change("INSERT INTO document_texts (document, text) VALUES (?, ?)", document, text)
        known = rows.one("SELECT number FROM document_texts WHERE document = ?", document)
    else:
        rows.change("UPDATE document_texts SET text = ? WHERE document = ?", text, document)
        rows.change("DELETE FROM document_words WHERE rowid = ?", known[0])
    rows.change(
        "INSERT INTO document_words (rowid, names, words) VALUES (?, ?, ?)",
        known[0] if known else None,
        text_words(f"{owner[0]} {owner[1]}"),
        text_words(f"{title}\n{name}\n{text}"),
    )


def forget_document(rows: Rows, document: str) -> None:
    """Take everything out that a document was found by; before its row goes."""
    known = rows.one("SELECT number FROM document_texts WHERE document = ?", document)
    if known is not None:
        rows.change("DELETE FROM document_words WHERE rowid = ?", known[0])
        rows.change("DELETE FROM document_texts WHERE number = ?", known[0])


def forget_all(rows: Rows) -> None:
    """Forget every document: one by one would take minutes."""
    rows.change("DROP TABLE document_words")
    for statement in DOCUMENT_WORDS:
        rows.change(statement)
    rows.change("DELETE FROM document_texts")


def rename_patient(rows: Rows, patient: str, family_name: str, given_name: str) -> None:
    """Have a patient's documents found by the corrected names."""
    names = text_words(f"{family_name} {given_name}")
    for (number,) in rows.all(
        "SELECT number FROM documents JOIN document_texts USING (document) WHERE patient = ?", patient
    ):
        rows.change("UPDATE document_words SET names = ? WHERE rowid = ?", names, number)


def index_missing(rows: Rows, count: int) -> int:
    """Index up to `count` documents of before there was an index, by title and file name; give how many."""
    missing = rows.all(
        "SELECT document, title, name FROM documents "
        "WHERE document NOT IN (SELECT document FROM document_texts) ORDER BY added_at, document LIMIT ?",
        count,
    )
    for document, title, name in missing:
        index_document(rows, document, title, name, "")
    return len(missing)


def find(rows: Rows, text: str, before: int | None, count: int) -> tuple[list[Found], bool]:
    """Find documents, the last that came first, with a number below `before`; and whether there are more."""
    query = _query(text)
    if not query:
        return [], False
    numbers = rows.all(
        "SELECT rowid FROM document_words WHERE document_words MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",
        query,
        MAX_NUMBER if before is None else before,
        count + 1,
    )
    texts = [
        rows.all("SELECT document, number, text FROM document_texts WHERE number = ?", number)
        for (number,) in numbers[:count]
    ]
    return [Found(*row) for (row,) in texts], len(numbers) > count


def _query(text: str) -> str:
    """Give FTS5's query: all words, and one of them a word of the document itself."""
    words = [f"({_beginning(short)} OR {_beginning(long)})" for short, long in text_search_words(text)]
    if not words:
        return ""
    return f"{' AND '.join(words)} AND {{words}} : ({' OR '.join(words)})"


def _beginning(word: str) -> str:
    # A word holds letters and digits only, no quotation mark (section 3.1, "FTS5 Strings").
    return f'"{word}"*' if len(word) >= MIN_BEGINNING_CHARACTERS else f'"{word}"'
