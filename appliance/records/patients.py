"""Patients as rows: store, correct, find, match. Plain functions on one transaction's rows."""

from __future__ import annotations

from appliance.contracts.records import Patient, Person
from appliance.core.errors import Invalid, NotFound
from appliance.records import erased, search
from appliance.records.database import Row, Rows
from appliance.records.names import match_key, name_words, search_words

_FIND = """
    SELECT patient, family_name, given_name, birth_date, number, changed_at,
        (SELECT count(*) FROM documents WHERE documents.patient = patients.patient)
    FROM patients
"""
_HAS_WORD = "patient IN (SELECT patient FROM patient_words WHERE word >= ? AND word < ? OR word >= ? AND word < ?)"
#: Greater than every continuation of a word in SQLite's byte order.
_AFTER_ALL = "\U0010ffff"


def refuse_same(rows: Rows, person: Person) -> None:
    """Raise Invalid("patient_exists", patient) if there is one with the same names and birth date."""
    known = rows.one(
        "SELECT patient FROM patients WHERE birth_date = ? AND match_key = ?", person.birth_date, match_key(person)
    )
    if known is not None:
        raise Invalid("patient_exists", patient=str(known[0]))


def create(rows: Rows, patient: str, person: Person, now: int) -> None:
    """Store a cleaned person under a new identifier."""
    rows.change(
        "INSERT INTO patients VALUES (?, ?, ?, ?, ?, ?, ?)",
        patient,
        person.family_name,
        person.given_name,
        person.birth_date,
        person.number,
        match_key(person),
        now,
    )
    _index(rows, patient, person)


def correct(rows: Rows, patient: str, person: Person, now: int) -> None:
    """Replace a person's data."""
    changed = rows.change(
        """
        UPDATE patients SET family_name = ?, given_name = ?, birth_date = ?, number = ?, match_key = ?, changed_at = ?
        WHERE patient = ?
        """,
        person.family_name,
        person.given_name,
        person.birth_date,
        person.number,
        match_key(person),
        now,
        patient,
    )
    if not changed:
        raise NotFound("patient")
    rows.change("DELETE FROM patient_words WHERE patient = ?", patient)
    _index(rows, patient, person)
    search.rename_patient(rows, patient, person.family_name, person.given_name)


def remove(rows: Rows, patient: str, now: int) -> None:
    """Remove the patient's row; documents must be gone (foreign key)."""
    if not rows.change("DELETE FROM patients WHERE patient = ?", patient):
        raise NotFound("patient")
    erased.note(rows, "patient", patient, now)


def read(rows: Rows, patient: str) -> Patient:
    """Give one patient."""
    row = rows.one(_FIND + " WHERE patient = ?", patient)
    if row is None:
        raise NotFound("patient")
    return _patient(row)


def find(rows: Rows, text: str, birth_date: str | None, after: int, count: int) -> tuple[list[Patient], bool]:
    """Find by word beginnings and birth date, ordered by name; and whether there are more than `count`."""
    conditions: list[str] = []
    values: list[object] = []
    if birth_date is not None:
        conditions.append("birth_date = ?")
        values.append(birth_date)
    for short, long in search_words(text):
        conditions.append(_HAS_WORD)
        values += [short, short + _AFTER_ALL, long, long + _AFTER_ALL]
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    # The page is chosen first, so that documents are counted for those only who stand on it.
    page = f"SELECT patient FROM patients {where}ORDER BY match_key, patient LIMIT ? OFFSET ?"  # noqa: S608 (ours)
    found = rows.all(
        f"{_FIND} WHERE patient IN ({page}) ORDER BY match_key, patient",
        *values,
        count + 1,
        after,
    )
    return [_patient(row) for row in found[:count]], len(found) > count


def match(rows: Rows, person: Person) -> str:
    """Give the patient whom a practice software means: by number if both have one, else by names and birth date.

    A number must come with its patient's birth date: one mistyped digit must not file a finding to a stranger. Names
    may be spelt otherwise. NotFound("patient"), Invalid("patient_ambiguous").
    """
    found = []
    if person.number:
        found = rows.all("SELECT patient, birth_date FROM patients WHERE number = ? LIMIT 2", person.number)
        if any(birth_date != person.birth_date for _, birth_date in found):
            raise Invalid("patient_ambiguous")
    if not found:
        found = rows.all(
            """
            SELECT patient FROM patients
            WHERE birth_date = ? AND match_key = ? AND (number = '' OR ? = '') LIMIT 2
            """,
            person.birth_date,
            match_key(person),
            person.number,
        )
    if not found:
        raise NotFound("patient")
    if len(found) > 1:
        raise Invalid("patient_ambiguous")
    return str(found[0][0])


def display_names(rows: Rows, patients: set[str]) -> dict[str, str]:
    """Give "Family, Given" of the patients that are still here."""
    names = {}
    for patient in patients:
        row = rows.one("SELECT family_name, given_name FROM patients WHERE patient = ?", patient)
        if row is not None:
            names[patient] = f"{row[0]}, {row[1]}"
    return names


def _index(rows: Rows, patient: str, person: Person) -> None:
    for word in name_words(person):
        rows.change("INSERT INTO patient_words VALUES (?, ?)", word, patient)


def _patient(row: Row) -> Patient:
    patient, family_name, given_name, birth_date, number, changed_at, documents = row
    return Patient(
        patient=patient,
        person=Person(family_name=family_name, given_name=given_name, birth_date=birth_date, number=number),
        documents=documents,
        changed_at=changed_at,
    )
