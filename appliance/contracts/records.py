"""de.praxissafe.Records: patients, documents and shares. Every verb carries a session that vault has checked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from appliance.contracts.audit import Entry
from appliance.contracts.values import (
    MAX_SHARE_DOCUMENTS,
    BirthDate,
    DocumentKind,
    FileName,
    Id,
    MediaType,
    OptionalName,
    PersonName,
    Seconds,
    ShareState,
    Title,
    Token,
)
from appliance.core.varlink import Call, Done, Interface

_BY_PRACTICE = frozenset({"practice"})


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of this interface's values."""


# --- patients --------------------------------------------------------------------------------------------------


class Person(Struct):
    """A patient as staff enter it. `number` is the patient's number in the practice's software, or ""."""

    family_name: PersonName
    given_name: PersonName
    birth_date: BirthDate
    number: Annotated[str, msgspec.Meta(max_length=40)] = ""


class Patient(Struct):
    """A stored patient."""

    patient: Id
    person: Person
    documents: int
    changed_at: Seconds


class PatientId(Struct):
    """A new patient's identifier."""

    patient: Id


class CreatePatient(Call[PatientId]):
    """Store a patient. Invalid("patient_exists", patient) for the same names and birth date, unless `same_name`."""

    reply: ClassVar = PatientId
    callers: ClassVar = _BY_PRACTICE

    session: Token
    person: Person
    same_name: bool = False


class CorrectPatient(Call[Done]):
    """Replace the person's data. NotFound("patient")."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token
    patient: Id
    person: Person


#: Why something is erased: its retention period is over (the box checks that), or a statement of the member of staff,
#: which goes into the audit log: it is another person's; it is there twice; it belongs to no record (a wrong scan, a
#: test); the treatment had ended that long ago before the document came into the box.
ErasureReason = Literal["period_over", "wrong_patient", "duplicate", "no_record", "older_treatment"]
#: Which period a document is under: after the treatment; until the 28th birthday; after radiotherapy.
RetentionRule = Literal["treatment", "minors_examination", "radiotherapy"]


class DeletePatient(Call[Done]):
    """Erase a patient with all documents and shares. NotFound("patient"), Refused("retention", until, rule)."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token
    patient: Id
    reason: ErasureReason = "period_over"


class Patients(Struct):
    """Patients by name, and whether there are more than were asked for."""

    patients: list[Patient]
    more: bool


class FindPatients(Call[Patients]):
    """Find by the beginnings of names (words of `text`, any order, case and accents ignored) and birth date."""

    reply: ClassVar = Patients
    callers: ClassVar = _BY_PRACTICE

    session: Token
    text: OptionalName = ""
    birth_date: BirthDate | None = None
    after: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


# --- documents -------------------------------------------------------------------------------------------------


class Document(Struct):
    """A stored document, without its bytes."""

    document: Id
    patient: Id
    kind: DocumentKind
    title: str
    name: str
    media_type: MediaType
    length: int
    added_at: Seconds
    added_by: str


class PatientFile(Struct):
    """A patient with the documents, newest first."""

    patient: Patient
    documents: list[Document]


class ReadPatient(Call[PatientFile]):
    """Read a patient; documents of one kind if given. NotFound("patient")."""

    reply: ClassVar = PatientFile
    callers: ClassVar = _BY_PRACTICE

    session: Token
    patient: Id
    kind: DocumentKind | None = None


class AddedDocument(Struct):
    """The document is on disk, sealed, and its row synced. `repeated`: the idempotency key was known already."""

    document: Id
    patient: Id
    repeated: bool = False


class AddDocument(Call[AddedDocument]):
    """Store a document; its bytes follow as a stream (at most 512 MiB), answered when all is synced.

    The patient by `patient` (staff), or by `match` (device): number and birth date if both have a number, else names
    and birth date. NotFound("patient"), Invalid("patient_ambiguous"), Invalid("document_size"),
    Invalid("document_type") if the first bytes are not of the media type, Invalid("document_empty"),
    Unavailable("disk_full"), Invalid("idempotency_key") if the key was used for other bytes.
    """

    reply: ClassVar = AddedDocument
    callers: ClassVar = _BY_PRACTICE
    stream: ClassVar = "in"

    session: Token
    kind: DocumentKind
    title: Title
    name: FileName
    media_type: MediaType
    patient: Id | None = None
    match: Person | None = None
    idempotency_key: Annotated[str, msgspec.Meta(max_length=128)] = ""


class FindDocument(Call[Document]):
    """Describe one document. NotFound("document")."""

    reply: ClassVar = Document
    callers: ClassVar = _BY_PRACTICE

    session: Token
    document: Id


#: Where a search found its words: in the title (or the patient's name), the file name, or the text.
Place = Literal["title", "name", "text"]


class Passage(Struct):
    """A line of a document's text: the words that were found, and what stands around them."""

    before: str
    words: str
    after: str


class FoundDocument(Struct):
    """A document that a search found, whose it is, and why it was found."""

    document: Document
    person: Person
    place: Place
    passage: Passage | None = None


class FoundDocuments(Struct):
    """Documents, the last that came first. `older` is the next page's `before`, if there is one."""

    documents: list[FoundDocument]
    older: int | None = None


class SearchDocuments(Call[FoundDocuments]):
    """Find documents by the beginnings of words in title, file name and text; the patient's names count too.

    All words of `text` must be found, at least one of them in the document's own. A passage of text is a read:
    logged, and at most 1,000 documents in 10 minutes, then Unavailable("search_limit", wait_s).
    """

    reply: ClassVar = FoundDocuments
    callers: ClassVar = _BY_PRACTICE

    session: Token
    text: OptionalName = ""
    before: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=50)] = 20


class ReadDocument(Call[Done]):
    """Give a document's bytes as a stream, `first` to the end (offset in the content, for a resumed download)."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE
    stream: ClassVar = "out"

    session: Token
    document: Id
    first: Annotated[int, msgspec.Meta(ge=0)] = 0


class ReadPreview(Call[Done]):
    """Give a document's preview, a JPEG of at most 640 KiB, as a stream; counted and logged as reading the document.

    NotFound("preview") if it has none and will not have one, Unavailable("preview_pending") if it may.
    """

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE
    stream: ClassVar = "out"

    session: Token
    document: Id


class EraseDocument(Call[Done]):
    """Erase a document: shares that name it end, then the row, then the file; then its key turns into noise.

    NotFound("document"); Refused("retention", until, rule) while its period is not over and no other reason is given.
    """

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token
    document: Id
    reason: ErasureReason = "period_over"


class Retention(Struct):
    """Until when something must be kept, and by which rule; `over` says that it may be erased. 0: nothing to keep."""

    until: Seconds
    rule: RetentionRule
    over: bool


class ReadRetention(Call[Retention]):
    """Say how long a document, or all of a patient's, must be kept. Invalid, code `subject`, unless one is given."""

    reply: ClassVar = Retention
    callers: ClassVar = _BY_PRACTICE

    session: Token
    document: Id | None = None
    patient: Id | None = None


# --- shares ----------------------------------------------------------------------------------------------------


class NewLink(Struct):
    """The link to print, given once; records has forgotten it. The PIN comes from vault, never with the link."""

    share: Id
    link: str
    expires_at: Seconds


class CreateShare(Call[NewLink]):
    """Share documents of one patient. NotFound("document") if one is another's; Unavailable("share_limit")."""

    reply: ClassVar = NewLink
    callers: ClassVar = _BY_PRACTICE

    session: Token
    patient: Id
    documents: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=MAX_SHARE_DOCUMENTS)]
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 14


class Share(Struct):
    """A share as staff see it."""

    share: Id
    patient: Id
    patient_name: str
    titles: list[str]
    state: ShareState
    made_at: Seconds
    expires_at: Seconds
    tries_left: int
    opened: int
    last_opened_at: Seconds
    pin_printed: bool


class Shares(Struct):
    """A page of shares, newest first, and how many there are in all."""

    shares: list[Share]
    total: int


class ListShares(Call[Shares]):
    """List shares: of one patient, one share, only those that have ended or not, if given."""

    reply: ClassVar = Shares
    callers: ClassVar = _BY_PRACTICE

    session: Token
    patient: Id | None = None
    share: Id | None = None
    ended: bool | None = None
    after: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100


class RevokeShare(Call[Done]):
    """End a share: vault destroys its half of the key, then the spool entry goes. NotFound("share")."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token
    share: Id


class EarlierShare(Struct):
    """A share of the box that this one replaces: dead since, and not made anew yet. `share` is a new identifier."""

    share: Id
    patient: Id
    patient_name: str
    documents: list[Id]
    titles: list[str]
    expires_at: Seconds


class EarlierShares(Struct):
    """The shares that were open on the box before."""

    shares: list[EarlierShare]


class ListEarlierShares(Call[EarlierShares]):
    """List the shares that died with the box before, and were neither made anew nor dropped."""

    reply: ClassVar = EarlierShares
    callers: ClassVar = _BY_PRACTICE

    session: Token


class DropEarlierShares(Call[Done]):
    """Take shares off that list: they were made anew (CreateShare), or nobody needs them."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token
    shares: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=1000)]


class TakeRevoked(Call[Done]):
    """Take shares that vault has revoked out of the spool, and put them on that list, to be made anew; once each."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token
    shares: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=10_000)]


# --- history ---------------------------------------------------------------------------------------------------


class HistoryEntry(Struct):
    """An audit entry with the names that the pseudonyms still have here ("" for an erased patient)."""

    entry: Entry
    patient_name: str
    document_title: str


class History(Struct):
    """Entries, newest first."""

    entries: list[HistoryEntry]
    size: int


class ReadHistory(Call[History]):
    """Read the audit log in the practice's words."""

    reply: ClassVar = History
    callers: ClassVar = _BY_PRACTICE

    session: Token
    before: int | None = None
    patient: Id | None = None


RECORDS = Interface.of(
    "de.praxissafe.Records",
    __file__,
    CreatePatient,
    CorrectPatient,
    DeletePatient,
    FindPatients,
    ReadPatient,
    AddDocument,
    FindDocument,
    SearchDocuments,
    ReadDocument,
    ReadPreview,
    EraseDocument,
    ReadRetention,
    CreateShare,
    ListShares,
    RevokeShare,
    ListEarlierShares,
    DropEarlierShares,
    TakeRevoked,
    ReadHistory,
)
