"""The database: encrypted whole, one thread, nothing acknowledged that is not synced, migrations in order."""

import asyncio
import base64
import os

import pytest

from appliance.contracts.records import CreateShare, DeletePatient
from appliance.core.errors import Invalid, Tampered
from appliance.records import database as database_module
from appliance.records.database import Database
from tests.records.bench import PDF, records_process

KEY = bytes(range(32))


async def test_database_file_holds_no_name(tmp_path, vault):
    """Canary: no name, title, file name, number or key in any file of the state folder, in any common spelling."""
    canaries = {place: f"Kanarie{place}{os.urandom(6).hex()}" for place in ("family", "given", "title", "name")}
    async with records_process(tmp_path, vault.peer, vault.log_in("staff", "Kanarienstaff")) as bench:
        patient = await bench.add_patient(canaries["family"], canaries["given"], number="KanarieNummer99")
        added = await bench.add(
            PDF + b"x" * 99, patient=patient, title=canaries["title"], name=canaries["name"] + ".pdf"
        )
        await bench.ask(CreateShare, patient=patient, documents=[added.document])
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.name == "records.db-wal" for path in files)
        raw = {path: path.read_bytes() for path in files}
    raw |= {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    texts = [*canaries.values(), "KanarieNummer99", "Kanarienstaff", "1980-02-29", vault.database_key.hex()]
    for text in texts:
        for encoded in (
            text.encode(),
            text.lower().encode(),
            text.encode("utf-16-le"),
            text.encode().hex().encode(),
            base64.b64encode(text.encode())[:-4],
        ):
            assert [path for path, content in raw.items() if encoded in content] == []
    assert all(vault.database_key not in content for content in raw.values())


async def test_another_key_opens_nothing(tmp_path):
    database = await Database.open(tmp_path / "records.db", KEY)
    database.close()
    with pytest.raises(Tampered, match="database"):
        await Database.open(tmp_path / "records.db", bytes(32))


async def test_a_changed_page_is_tampered(tmp_path):
    path = tmp_path / "records.db"
    database = await Database.open(path, KEY)
    database.close()
    raw = bytearray(path.read_bytes())
    for page in range(1, len(raw) // 4096):
        raw[page * 4096 + 2000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Tampered, match="database"):
        database = await Database.open(path, KEY)
        try:
            await database.run(lambda rows: rows.all("SELECT * FROM patients JOIN documents USING (patient)"))
        finally:
            database.close()


async def test_work_that_fails_changes_nothing(tmp_path):
    database = await Database.open(tmp_path / "records.db", KEY)

    def work(rows):
        rows.change("INSERT INTO patients VALUES ('p', 'f', 'g', '1980-01-01', '', 'm', 1)")
        raise Invalid("never_mind")

    with pytest.raises(Invalid, match="never_mind"):
        await database.run(work)
    assert await database.run(lambda rows: rows.all("SELECT * FROM patients")) == []
    database.close()


async def test_work_at_the_same_time_is_done_one_after_the_other(tmp_path):
    database = await Database.open(tmp_path / "records.db", KEY)

    def insert(number):
        def work(rows):
            (count,) = rows.one("SELECT count(*) FROM patients")
            rows.change("INSERT INTO patients VALUES (?, 'f', 'g', '1980-01-01', ?, 'm', 1)", str(number), str(count))

        return work

    await asyncio.gather(*(database.run(insert(number)) for number in range(20)))
    rows = await database.run(lambda rows: rows.all("SELECT number FROM patients"))
    assert sorted(int(row[0]) for row in rows) == list(range(20))
    database.close()


async def test_settings_of_the_connection_are_what_the_promises_need(tmp_path):
    database = await Database.open(tmp_path / "records.db", KEY)
    for pragma, value in [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("temp_store", 2),
        ("locking_mode", "exclusive"),
        ("cipher_use_hmac", "1"),
    ]:
        (got,) = await database.run(lambda rows, name=pragma: rows.one(f"PRAGMA {name}"))
        assert got == value, pragma
    database.close()


async def test_migrations_are_done_once_and_a_later_release_is_not_touched(tmp_path, monkeypatch):
    path = tmp_path / "records.db"
    (await Database.open(path, KEY)).close()
    steps = (*database_module.MIGRATIONS, ("CREATE TABLE more (one TEXT) STRICT",))
    monkeypatch.setattr(database_module, "MIGRATIONS", steps)
    for _ in range(2):
        database = await Database.open(path, KEY)
        assert await database.run(lambda rows: rows.all("SELECT * FROM more")) == []
        database.close()
    monkeypatch.setattr(database_module, "MIGRATIONS", steps[:1])
    with pytest.raises(Invalid, match="database_version"):
        await Database.open(path, KEY)


async def test_a_migration_that_fails_leaves_the_step_before(tmp_path, monkeypatch):
    path = tmp_path / "records.db"
    (await Database.open(path, KEY)).close()
    steps = (*database_module.MIGRATIONS, ("CREATE TABLE more (one TEXT) STRICT", "NONSENSE"))
    with monkeypatch.context() as patched:
        patched.setattr(database_module, "MIGRATIONS", steps)
        with pytest.raises(Exception, match="NONSENSE"):
            await Database.open(path, KEY)
    database = await Database.open(path, KEY)
    assert await database.run(lambda rows: rows.one("SELECT 1 FROM sqlite_schema WHERE name = 'more'")) is None
    database.close()


async def test_deleted_names_are_in_no_page(tmp_path, vault):
    """Not even whoever holds the key finds a deleted patient in the free pages or the log."""
    async with records_process(tmp_path, vault.peer, vault.log_in()) as bench:
        patient = await bench.add_patient("Kanarienvogel")
        for number in range(30):
            await bench.add_patient(f"Anders{number}")
        await bench.ask(DeletePatient, patient=patient, reason="no_record")
        assert (bench.state / "records.db-wal").stat().st_size == 0

        def pages(rows):
            rows._connection.execute("COMMIT")
            rows._connection.execute(f"ATTACH DATABASE '{tmp_path}/plain.db' AS plain KEY ''")
            rows._connection.execute("SELECT sqlcipher_export('plain')")
            rows._connection.execute("DETACH DATABASE plain")
            rows._connection.execute("BEGIN")

        await bench.archive.database.run(pages)
    raw = (tmp_path / "plain.db").read_bytes().lower()
    assert b"anders7" in raw
    assert b"kanarienvogel" not in raw
