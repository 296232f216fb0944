"""Walk 4 without the container: the station, enrol's own routes over TLS, a real portal; only vault is simulated."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered, Unavailable
from provisioning.station import enrol as station_enrol
from provisioning.station.bench import bench_fingerprint
from provisioning.station.workbench import Workbench
from tests.enrol.simulated_bench import BOX, ORDER
from tests.portal.simulated_box import portal_in
from tests.simulators.attesting_tpm import AttestingTpm
from tests.station.technician import ROOT, SERIAL, Technician, practice_page, run_station, technician


async def test_a_box_gets_keys_a_record_and_a_sheet(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        sheet = await at_bench.enrol()
        await asyncio.wait_for(at_bench.bench.routes.ended, 5)
        assert at_bench.bench.vault.finished
        assert at_bench.portal.registry.box_of("praxis-abababab.localhost") == bytes.fromhex(BOX)
        assert sheet.claim_code == at_bench.bench.vault.claim_code
        assert sheet.patient_host == "praxis-abababab.localhost"
        assert sheet.practice_url == "https://praxis-abababab-lan.localhost:8443/"
        assert sheet.tpm == at_bench.progress.tpm == "IFX SLB9672"
        assert len(sheet.device_fingerprint.split()) == 16
        assert sheet.finished
        assert at_bench.files.read_sheet() == sheet
        assert at_bench.files.sheet.stat().st_mode & 0o777 == 0o600
        assert at_bench.told == ["bench_trusted", "keys", "register", "prove", "finish"]
        assert list(at_bench.progress.done) == ["closed", "registered", "sheet", "keys", "reached"]


async def test_the_box_is_told_exactly_what_the_technician_said(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        (order,) = at_bench.bench.vault.orders
        told = {name: getattr(order, name) for name in ORDER}
        assert told == {name: getattr(at_bench.order, name) for name in ORDER}


# --- interrupted, and run again: kills at every boundary are in test_kills.py


async def test_a_vault_that_cannot_finish_now_can_later(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.failure = Unavailable("storage")
        with pytest.raises(Unavailable, match="storage"):
            await at_bench.enrol()
        assert not at_bench.bench.routes.ended.done()
        unfinished = at_bench.files.read_sheet()
        assert unfinished is not None
        assert not unfinished.finished
        assert (await at_bench.enrol(1001)).claim_code == "CODE-2"


async def lose_the_last_answer(at_bench: Technician, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Finish the box, and let the station believe that nobody answered."""
    really_ask = station_enrol.ask_box

    async def ask(address: str, seen: bytes, path: str, *more: object) -> object:
        answer = await really_ask(address, seen, path, *more)  # type: ignore[arg-type]
        if path == "/finish":
            raise Unavailable("box_away")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(station_enrol, "ask_box", ask)
        with pytest.raises(Unavailable, match="box_away"):
            await at_bench.enrol(**changes)  # type: ignore[arg-type]
    assert at_bench.bench.vault.finished


@pytest.mark.parametrize("door", ["still open", "gone"])
async def test_a_lost_last_answer_loses_no_claim_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    async with technician(tmp_path) as at_bench, practice_page(tmp_path, "praxis-abababab-lan.localhost") as port:
        await lose_the_last_answer(at_bench, monkeypatch, lan_port=port)
        gone = {} if door == "still open" else {"bench_address": "127.0.0.1:1"}
        sheet = await at_bench.enrol(lan_port=port, **gone)
        assert sheet.finished
        assert sheet.claim_code == at_bench.bench.vault.claim_code == "CODE-1"
        assert at_bench.files.read_sheet() == sheet
        assert at_bench.told[-1] == "finished_before"


async def test_another_box_in_its_place_does_not_make_the_sheet_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with technician(tmp_path) as at_bench, practice_page(tmp_path, "praxis-cdcdcdcd-lan.localhost") as port:
        await lose_the_last_answer(at_bench, monkeypatch, lan_port=port)
        with pytest.raises(Refused, match="provisioned"):
            await at_bench.enrol(lan_port=port)
        with pytest.raises(Unavailable, match="box_away"):
            await at_bench.enrol(lan_port=port, bench_address="127.0.0.1:1")
        unfinished = at_bench.files.read_sheet()
        assert unfinished is not None
        assert not unfinished.finished


# --- who is refused ----------------------------------------------------------------------------------------------


async def test_an_enrolled_box_refuses_a_second_enrolment(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.finished = True
        with pytest.raises(Refused, match="provisioned"):
            await at_bench.enrol()


def of_another_folder(at_bench: Technician) -> Technician:
    """The same station, which has lost its folder, or another one that the portal lists."""
    station = replace(at_bench.station, workbench=Workbench(at_bench.folder / "other"))
    return replace(at_bench, station=station, told=[])


async def test_another_key_for_a_known_box_is_refused_by_the_portal(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        at_bench.bench.vault.finished = False
        at_bench.bench.vault.key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(Refused, match="box_taken"):
            await of_another_folder(at_bench).enrol(1001)
        assert not at_bench.bench.vault.finished


async def test_another_box_with_a_known_key_is_refused_by_the_portal(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        at_bench.bench.vault.finished = False
        at_bench.bench.vault.box = "cd" * 16
        with pytest.raises(Refused, match="device_key_taken"):
            await of_another_folder(at_bench).enrol(1001, serial="PS-0002")
        assert not at_bench.bench.vault.finished


@pytest.mark.parametrize("copied", ["key and id", "key", "id"])
async def test_a_copy_of_a_box_is_refused_under_another_serial_before_the_portal_hears_of_it(
    tmp_path: Path, copied: str
) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        heard = at_bench.portal.counts.devices_registered + at_bench.portal.counts.devices_refused
        at_bench.bench.vault.finished = False
        if copied == "key":
            at_bench.bench.vault.box = "cd" * 16
        elif copied == "id":
            at_bench.bench.vault.key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(Refused, match="key_enrolled") as raised:
            await at_bench.enrol(1001, serial="PS-0002")
        assert raised.value.details == {"serial": "PS-0001"}
        assert at_bench.portal.counts.devices_registered + at_bench.portal.counts.devices_refused == heard
        assert not at_bench.bench.vault.finished
        second = at_bench.workbench.files("PS-0002")
        assert second.read_sheet() is None
        progress = second.read_progress()
        assert progress is not None
        assert not progress.box


@pytest.mark.parametrize("other", ["key", "id"])
async def test_another_box_under_a_serial_that_was_begun_is_refused(tmp_path: Path, other: str) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.failure = Unavailable("storage")
        with pytest.raises(Unavailable, match="storage"):
            await at_bench.enrol()
        kept = at_bench.files.read_sheet()
        if other == "id":
            at_bench.bench.vault.box = "cd" * 16
        else:
            at_bench.bench.vault.key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(Refused, match="serial_taken"):
            await at_bench.enrol(1001)
        assert not at_bench.bench.vault.finished
        assert at_bench.files.read_sheet() == kept


async def test_a_new_box_under_a_serial_that_is_enrolled_is_refused(tmp_path: Path) -> None:
    """The technician typed the last serial again: the new box must not pass for the old one."""
    async with technician(tmp_path) as at_bench:
        sheet = await at_bench.enrol()
        assert await at_bench.enrol(1001) == sheet  # the same box: nothing is left to do
        at_bench.bench.vault.finished = False
        with pytest.raises(Refused, match="serial_used"):
            await at_bench.enrol(1002)
        assert at_bench.files.read_sheet() == sheet


async def test_a_box_of_another_serial_is_no_answer(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.serial = "PS-0099"
        with pytest.raises(Unavailable, match="box_answer"):
            await at_bench.enrol()


async def test_other_names_on_a_second_run_make_a_later_record(tmp_path: Path) -> None:
    """Even within a second: the portal takes no record as old as the one it has."""
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.failure = Unavailable("storage")
        with pytest.raises(Unavailable, match="storage"):
            await at_bench.enrol()
        await at_bench.enrol(page_host="other-{box}.localhost")
        assert at_bench.portal.registry.box_of("other-abababab.localhost") == bytes.fromhex(BOX)


async def test_two_runs_do_not_work_on_one_box(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        with at_bench.workbench.hold(SERIAL), pytest.raises(Unavailable, match="busy"):
            await at_bench.enrol()
        await at_bench.enrol()


async def test_a_station_that_is_not_listed_cannot_register_a_box(tmp_path: Path) -> None:
    async with technician(tmp_path, listed=False) as at_bench:
        with pytest.raises(Refused, match="station"):
            await at_bench.enrol()
        assert not at_bench.bench.vault.finished


async def test_an_order_that_somebody_overtook_is_not_finished(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        really_register = station_enrol.register

        async def register(*arguments: str | bytes) -> None:
            await really_register(*arguments)  # type: ignore[arg-type]
            await at_bench.bench.ask("POST", "/enrol", json=ORDER | {"portal_name": "stranger.example"})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(station_enrol, "register", register)
            with pytest.raises(Refused, match="ticket"):
                await at_bench.enrol()
        assert not at_bench.bench.vault.finished


async def test_a_pinned_bench_certificate_is_held_to(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        seen = await asyncio.to_thread(bench_fingerprint, at_bench.bench.address)
        assert seen == at_bench.bench.context.certificate_sha256
        with pytest.raises(Tampered, match="bench_certificate"):
            await at_bench.enrol(bench_sha256=bytes(32))
        with pytest.MonkeyPatch.context() as patch:  # it changes between the first connection and the next
            patch.setattr(station_enrol, "bench_fingerprint", lambda _: bytes(32))
            with pytest.raises(Tampered, match="bench_certificate"):
                await at_bench.enrol()
        assert not at_bench.bench.vault.orders
        await at_bench.enrol(bench_sha256=seen)
        assert at_bench.told[0] == "bench_pinned"


async def test_a_portal_of_another_authority_gets_no_record(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with technician(tmp_path) as at_bench, portal_in(other) as stranger:
        with pytest.raises(Tampered, match="portal_certificate"):
            await at_bench.enrol(portal_address=f"127.0.0.1:{stranger.port}")
        with pytest.raises(Unavailable, match="portal_away"):  # it hangs up on a name that is not its own
            await at_bench.enrol(portal_name="another.example")
        assert not at_bench.bench.vault.finished


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"serial": "ps 1"}, Invalid("serial")),
        ({"bench_address": "127.0.0.1"}, Invalid("address")),
        ({"bench_address": "127.0.0.1:99999"}, Invalid("address")),
        ({"bench_address": "::1:8443"}, Invalid("address")),
        ({"bench_address": "127.0.0.1:1"}, Unavailable("box_away")),
        ({"portal_address": "127.0.0.1:1"}, Unavailable("portal_away")),
        ({"page_host": "Praxis"}, Invalid("device_record")),
        ({"serial": "../PS"}, Invalid("serial")),
        ({"portal_name": "Not A Name"}, Invalid("portal_name")),
    ],
)
async def test_wrong_input_is_named_and_closes_nothing(
    tmp_path: Path, changes: dict[str, object], failure: PraxisError
) -> None:
    async with technician(tmp_path) as at_bench:
        with pytest.raises(type(failure)) as raised:
            await at_bench.enrol(**changes)  # type: ignore[arg-type]
        assert raised.value.code == failure.code
        assert not at_bench.bench.vault.finished


async def test_the_sheet_of_another_box_is_not_written_over(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        kept = at_bench.files.sheet.read_bytes()
        at_bench.bench.vault.finished = False
        other = at_bench.workbench.files("PS-0002")
        other.folder.mkdir()
        for content, failure in ((kept, Refused("sheet_taken")), (b"a letter", Invalid("sheet"))):
            other.sheet.write_bytes(content)
            with pytest.raises(type(failure), match=failure.code):
                await at_bench.enrol(serial="PS-0002")
            assert other.sheet.read_bytes() == content


# --- the command -------------------------------------------------------------------------------------------------


async def test_the_command_enrols_and_prints_the_sheet(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        pin = f"--enrol-sha256={at_bench.bench.context.certificate_sha256.hex(':')}"
        status, said, complained = await run_station(*at_bench.words("--json", pin))
        assert status == 0, complained
        sheet = json.loads(said)
        assert sheet == json.loads(at_bench.files.sheet.read_bytes())
        assert sheet["claim_code"] == at_bench.bench.vault.claim_code
        assert "claim" not in complained
        assert sheet["claim_code"] not in complained


async def test_the_command_draws_the_sheet_and_says_whom_it_trusted(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        status, said, complained = await run_station(*at_bench.words("--paper=de"))
        assert status == 0, complained
        assert said == f"Drucken: {at_bench.files.paper} / Print: {at_bench.files.paper}\n"
        assert at_bench.files.paper.read_bytes().startswith(b"%PDF")
        assert at_bench.files.paper.stat().st_mode & 0o777 == 0o600
        assert at_bench.bench.context.certificate_sha256.hex() in complained
        assert "trusted" in complained
        assert at_bench.progress.has("printed")


async def test_a_failure_is_the_status_of_the_process(tmp_path: Path) -> None:
    """Every failure has its own line in test_failures.py; here as a shell sees it."""
    async with technician(tmp_path, listed=False) as at_bench:
        status, said, complained = await run_station(*at_bench.words())
        assert (status, said) == (4, "")
        assert "Have the public key" in complained
        assert (await run_station(*at_bench.words(), f"--enrol-sha256={'00' * 32}"))[0] == 5


async def test_the_station_key_is_made_once_and_shown_again(tmp_path: Path) -> None:
    key = f"--key={tmp_path / 'key'}"
    status, public, _ = await run_station("new-key", key)
    assert status == 0
    assert len(base64.urlsafe_b64decode(public.strip() + "=")) == 32
    assert (await run_station("public-key", key))[:2] == (0, public)
    status, _, complained = await run_station("new-key", key)
    assert status == 4
    assert "stays as it is" in complained
    assert (await run_station("public-key", key))[:2] == (0, public)


async def test_the_station_needs_nothing_of_a_box(tmp_path: Path) -> None:
    """It runs where systemd, the TPM libraries and the box's code are not."""
    program = "import sys, provisioning.station.__main__\nprint(*sorted(sys.modules))"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    loaded = set(said.decode().split())
    assert "provisioning.station.enrol" in loaded
    of_a_box = {name for name in loaded if name.startswith("appliance.") and not name.startswith("appliance.formats")}
    assert of_a_box == {"appliance.core", "appliance.core.errors"}
    assert not loaded & {"fpdf", "segno"}  # loaded with the first paper
    assert not loaded & {"systemd", "tpm2_pytss", "sqlcipher3", "prometheus_client"}


async def test_a_box_that_was_reset_is_enrolled_again_once_the_old_one_is_revoked(tmp_path: Path) -> None:
    """The same chip under the same serial, with a new id and a new key."""
    async with technician(tmp_path) as at_bench:
        old = await at_bench.enrol()
        status, said, complained = await run_station("revoke", f"--settings={at_bench.write_settings()}", SERIAL)
        assert status == 0, complained
        assert SERIAL in said
        assert at_bench.portal.registry.box_of(old.patient_host) is None
        assert at_bench.workbench.serials() == []
        aside = tmp_path / f"boxes/{SERIAL}.revoked-{old.box[:8]}"
        assert {path.name for path in aside.iterdir()} == {"state.json", "lock"}
        vault = at_bench.bench.vault
        vault.finished, vault.box = False, "cd" * 16
        vault.tpm = AttestingTpm(endorsement=vault.tpm.endorsement)
        new = await at_bench.enrol(2000)
        assert new.box == "cd" * 16
        assert at_bench.portal.registry.box_of(new.patient_host) == bytes.fromhex(new.box)
