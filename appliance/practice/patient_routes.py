"""Patients: search, create, correct, delete, and the page with a patient's documents."""

from __future__ import annotations

from aiohttp import web
from multidict import MultiDict

from appliance.contracts.records import (
    CorrectPatient,
    CreatePatient,
    DeletePatient,
    FindPatients,
    ListShares,
    PatientFile,
    ReadPatient,
)
from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.erase_page import erase_page, reason_of
from appliance.practice.search_routes import first_found
from appliance.practice.uploads import Outcome
from appliance.practice.visit import Visit, see_other

PAGE_COUNT = 50
MAX_AFTER = 1_000_000


class PatientRoutes:
    """Pages about patients."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._records = desk.peers.records

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get("/patients", staff(self.find)),
            web.get("/patients/new", staff(self.show_new)),
            web.post("/patients/new", staff(self.create)),
            web.get("/patients/{patient}", staff(self.show)),
            web.get("/patients/{patient}/edit", staff(self.show_edit)),
            web.post("/patients/{patient}/edit", staff(self.correct)),
            web.get("/patients/{patient}/delete", staff(self.show_delete)),
            web.post("/patients/{patient}/delete", staff(self.delete)),
        ]

    async def find(self, visit: Visit) -> web.StreamResponse:
        """Search by the beginnings of names and by birth date; without one, in documents too."""
        visit.form = visit.request.query
        try:
            text, birth_date = fields.search(visit.form, self._desk.today())
        except Invalid as error:
            return self._desk.pages.show(
                visit,
                "patients.html",
                error=error,
                patients=[],
                more_after=0,
                after=0,
                searched=False,
                documents=[],
                more_documents=False,
                too_many=None,
            )
        after = min(fields.position(visit.form, "after") or 0, MAX_AFTER)
        found = await self._records.ask(
            FindPatients(session=visit.token, text=text, birth_date=birth_date, after=after, count=PAGE_COUNT)
        )
        documents, too_many = await first_found(self._desk, visit, text if birth_date is None and not after else "")
        return self._desk.pages.show(
            visit,
            "patients.html",
            patients=found.patients,
            more_after=after + len(found.patients) if found.more else 0,
            after=after,
            searched=bool(text or birth_date),
            documents=documents.documents,
            more_documents=documents.older is not None,
            too_many=visit.texts.error(too_many) if too_many else None,
        )

    async def show_new(self, visit: Visit) -> web.StreamResponse:
        """Show the form for a new patient, with what was searched for."""
        visit.form = visit.request.query
        return self._desk.pages.show(visit, "patient_form.html", patient=None, same="")

    async def create(self, visit: Visit) -> web.StreamResponse:
        """Store a patient; asks first if there is one of the same names and birth date."""
        try:
            person = fields.person(visit.form, self._desk.today())
            made = await self._records.ask(
                CreatePatient(session=visit.token, person=person, same_name=visit.form.get("same_name") == "yes")
            )
        except PraxisError as error:
            same = str(error.details.get("patient", "")) if error.code == "patient_exists" else ""
            return self._desk.pages.show(visit, "patient_form.html", error=error, patient=None, same=same)
        return see_other(f"/patients/{made.patient}?done=patient_made")

    async def show(self, visit: Visit) -> web.StreamResponse:
        """Show a patient's documents, of one kind if asked, and live links."""
        return await patient_page(self._desk, visit, fields.identifier(visit.part("patient"), "patient"))

    async def show_edit(self, visit: Visit) -> web.StreamResponse:
        """Show the form with the patient's data."""
        file = await self._read(visit)
        person = file.patient.person
        visit.form = MultiDict(
            family_name=person.family_name,
            given_name=person.given_name,
            birth_date=visit.texts.date(person.birth_date),
            number=person.number,
        )
        return self._desk.pages.show(visit, "patient_form.html", patient=file.patient, same="")

    async def correct(self, visit: Visit) -> web.StreamResponse:
        """Replace the patient's data."""
        file = await self._read(visit)
        try:
            person = fields.person(visit.form, self._desk.today())
            await self._records.ask(CorrectPatient(session=visit.token, patient=file.patient.patient, person=person))
        except PraxisError as error:
            return self._desk.pages.show(visit, "patient_form.html", error=error, patient=file.patient, same="")
        return see_other(f"/patients/{file.patient.patient}?done=patient_corrected")

    async def show_delete(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        """Ask before a patient is erased."""
        file, t = await self._read(visit), visit.texts
        patient = file.patient
        return await erase_page(
            self._desk,
            visit,
            patient=patient.patient,
            error=error,
            title=t("patient.delete.title"),
            subject=f"{patient.person.family_name}, {patient.person.given_name}",
            facts=[
                t("patient.born", date=t.date(patient.person.birth_date)),
                t.count("documents", patient.documents),
            ],
            warning=t("patient.delete.warning"),
            action=f"/patients/{patient.patient}/delete",
            button=t("patient.delete.button"),
            back=f"/patients/{patient.patient}",
        )

    async def delete(self, visit: Visit) -> web.StreamResponse:
        """Erase a patient with all documents and links; asks again if they must be kept and no reason is stated."""
        patient, reason = fields.identifier(visit.part("patient"), "patient"), reason_of(visit.form)
        try:
            await self._records.ask(DeletePatient(session=visit.token, patient=patient, reason=reason))
        except Refused as error:
            if error.code != "retention":
                raise
            return await self.show_delete(visit, error)
        return see_other("/patients?done=patient_deleted")

    async def _read(self, visit: Visit) -> PatientFile:
        patient = fields.identifier(visit.part("patient"), "patient")
        return await self._records.ask(ReadPatient(session=visit.token, patient=patient))


async def patient_page(
    desk: Desk,
    visit: Visit,
    patient: str,
    *,
    error: PraxisError | None = None,
    outcomes: list[Outcome] | None = None,
) -> web.StreamResponse:
    """Make the patient's page; `error` and `outcomes` tell of an upload or share that did not succeed."""
    records = desk.peers.records
    file = await records.ask(ReadPatient(session=visit.token, patient=patient))
    shares = await records.ask(ListShares(session=visit.token, patient=patient, ended=False))
    wanted = visit.request.query.get("kind", "")
    counts = {kind: sum(document.kind == kind for document in file.documents) for kind in fields.KINDS}
    shown = [document for document in file.documents if wanted not in fields.KINDS or document.kind == wanted]
    return desk.pages.show(
        visit,
        "patient.html",
        status=422 if outcomes else 200,
        error=error,
        patient=file.patient,
        groups=[(kind, [document for document in shown if document.kind == kind]) for kind in fields.KINDS],
        counts=counts,
        kind=wanted if wanted in fields.KINDS else "",
        shares=shares.shares,
        outcomes=[
            (outcome, visit.texts.error(outcome.error) if outcome.error else None) for outcome in outcomes or []
        ],
    )
