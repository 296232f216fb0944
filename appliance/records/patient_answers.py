"""What records answers about patients."""

from __future__ import annotations

import asyncio
import os

from appliance.contracts.records import (
    CorrectPatient,
    CreatePatient,
    DeletePatient,
    FindPatients,
    PatientFile,
    PatientId,
    Patients,
    ReadPatient,
)
from appliance.contracts.vault import ListShares, RevokeShare
from appliance.core.errors import Unavailable
from appliance.core.varlink import Answers, Caller, Done
from appliance.records import documents, patients, previews, retention, shares
from appliance.records.archive import Archive
from appliance.records.database import Rows
from appliance.records.names import clean_person
from appliance.records.retention import ERASED
from appliance.records.threads import on_thread


class PatientAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {
            CreatePatient: self.answer_create_patient,
            CorrectPatient: self.answer_correct_patient,
            DeletePatient: self.answer_delete_patient,
            FindPatients: self.answer_find_patients,
            ReadPatient: self.answer_read_patient,
        }

    async def answer_create_patient(self, call: CreatePatient, _: Caller) -> PatientId:
        """Store a patient."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session)
        person, patient = clean_person(call.person), os.urandom(16).hex()

        def refuse_same(rows: Rows) -> None:
            if not call.same_name:
                patients.refuse_same(rows, person)

        def create(rows: Rows) -> None:
            refuse_same(rows)
            patients.create(rows, patient, person, archive.now)

        await archive.database.run(refuse_same)
        await archive.log(session, "patient_made", patient=patient)
        await archive.database.run(create)
        return PatientId(patient=patient)

    async def answer_correct_patient(self, call: CorrectPatient, _: Caller) -> Done:
        """Replace a patient's data."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session)
        person = clean_person(call.person)
        await archive.database.run(lambda rows: patients.read(rows, call.patient))
        await archive.log(session, "patient_corrected", patient=call.patient)
        await archive.database.run(lambda rows: patients.correct(rows, call.patient, person, archive.now))
        return Done()

    async def answer_find_patients(self, call: FindPatients, _: Caller) -> Patients:
        """Find patients."""
        await self._archive.sessions.check_staff(call.session, touch=False)
        found, more = await self._archive.database.run(
            lambda rows: patients.find(rows, call.text, call.birth_date, call.after, call.count)
        )
        return Patients(patients=found, more=more)

    async def answer_read_patient(self, call: ReadPatient, _: Caller) -> PatientFile:
        """Give a patient with the documents."""
        await self._archive.sessions.check_staff(call.session, touch=False)
        return await self._archive.database.run(
            lambda rows: PatientFile(
                patient=patients.read(rows, call.patient),
                documents=documents.of_patient(rows, call.patient, call.kind),
            )
        )

    async def answer_delete_patient(self, call: DeletePatient, _: Caller) -> Done:
        """End the shares, then erase rows, then files. Unavailable("patient_changed") if a document just came."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session)
        async with archive.erasing():
            await archive.database.run(lambda rows: patients.read(rows, call.patient))
            await archive.database.run(
                lambda rows: retention.check(rows, retention.of_patient(rows, call.patient), call.reason)
            )
            live = ListShares(session=call.session, patient=call.patient, ended=False)
            while listed := (await archive.vault.ask(live)).shares:
                for share in listed:
                    await archive.vault.ask(RevokeShare(session=call.session, share=share.share))
            await archive.withdraw(await archive.database.run(lambda rows: shares.of_patient(rows, call.patient)))
            files = await archive.database.run(lambda rows: documents.files_of_patient(rows, call.patient))
            await asyncio.gather(
                *(archive.log(session, ERASED[call.reason], patient=call.patient, document=name) for name in files)
            )
            await archive.log(session, "patient_deleted", patient=call.patient)

            def erase(rows: Rows) -> list[str]:
                if documents.files_of_patient(rows, call.patient) != files:
                    raise Unavailable("patient_changed")
                pictures = [file for document in files for file in previews.file_of(rows, document)]
                for document in files:
                    documents.remove(rows, call.patient, document, archive.now)
                patients.remove(rows, call.patient, archive.now)
                return pictures

            pictures = await archive.database.run(erase)
            await on_thread(archive.file_threads, archive.files.remove, [*files.values(), *pictures])
            await archive.database.forget()
        return Done()
