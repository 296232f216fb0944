"""A8, A16, A18: guessing ids, reading denials, guessing PINs. Against the running box, through the portal."""

import asyncio
import math
import secrets
import statistics
import time
from contextlib import AsyncExitStack

import pytest

from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient, base64url
from tests.simulators.staff import Staff, other_pin

TRIES = 5
SAME = {"Content-Length", "Content-Type"}


async def share_of(staff: Staff, name: str) -> tuple[str, str, str]:
    patient = await staff.create_patient(name)
    await staff.upload(patient, b"geheim " * 100)
    return (*await staff.share(patient), patient)


def seen(answer):
    """What an outsider can tell answers apart by, but for the time."""
    headers = {name: value for name, value in answer.headers.items() if name != "Date"}
    return answer.status, answer.body, tuple(sorted(headers.items()))


# --- A8 --------------------------------------------------------------------------------------------------------


async def test_locators_and_file_names_are_random_and_at_least_128_bits_long(box: DemoBox, staff: Staff):
    links = [await share_of(staff, f"Zufall{number}") for number in range(3)]
    spool = box.state / "box/records/spool"
    names = [path.name for path in spool.rglob("*") if path.name != "manifest"]
    for link, _, _ in links:
        async with Patient(link, box.portal_ca) as holder:
            assert holder.keys.locator in names
    assert len(set(names)) == len(names)
    assert all(len(bytes.fromhex(name)) >= 16 for name in names)
    bits = "".join(f"{byte:08b}" for name in names for byte in bytes.fromhex(name))
    ones = bits.count("1") / len(bits)
    assert abs(ones - 0.5) < 5 * math.sqrt(0.25 / len(bits)), "five standard deviations of fair coins"


async def test_an_absent_a_foreign_and_a_malformed_proof_get_one_answer(box: DemoBox, staff: Staff):
    link, _, _ = await share_of(staff, "Gleich")
    async with Patient(link, box.portal_ca) as holder:
        answers = [
            seen(await holder.state(proof))
            for proof in (secrets.token_bytes(32), bytes(32), holder.keys.wrap_key, holder.keys.proof[::-1])
        ]
        answers += [seen(await holder.offer("123456", secrets.token_bytes(32))) for _ in range(2)]
        for body in (b"", b"{}", b"[]", b'{"proof":1}', b'{"proof":"x","pin":"1"}', b"\xff", b"{" * 400):
            for path in ("/api/state", "/api/open"):
                headers = {"Content-Type": "application/json"}
                answers.append(seen(await holder.ask("POST", path, data=body, headers=headers)))
    assert len(set(answers)) == 1
    assert answers[0][:2] == (404, b'{"state":"unknown"}')


async def test_absent_revoked_and_foreign_files_get_one_answer(box: DemoBox, staff: Staff):
    revoked, pin, patient = await share_of(staff, "Widerrufen")
    live, live_pin, _ = await share_of(staff, "Lebendig")
    async with Patient(revoked, box.portal_ca) as gone, Patient(live, box.portal_ca) as holder:
        ((document, _),) = await gone.open_documents(pin)
        ((own, _),) = await holder.open_documents(live_pin)
        await staff.revoke(patient)
        answers = {
            seen(await gone.manifest()),
            seen(await gone.sealed(document.file)),
            seen(await holder.manifest("0" * 32)),
            seen(await holder.sealed("0" * 32)),
            seen(await holder.sealed(document.file)),
            seen(await gone.sealed(own.file)),
            seen(await holder.sealed("../" + own.file)),
            seen(await holder.sealed("manifest")),
            seen(await holder.manifest(".")),
        }
        assert len(answers) == 1
        assert (await holder.sealed(own.file)).status == 200


async def test_time_does_not_tell_a_known_proof_from_an_unknown_one(box: DemoBox, staff: Staff):
    """Two samples of answering times, taken in turn; a permutation test must not tell them apart.

    The link is closed, so that both kinds of question may be asked without end.
    """
    link, pin, _ = await share_of(staff, "Zeit")
    known, unknown = [], []
    async with Patient(link, box.portal_ca) as holder:
        for _ in range(TRIES):
            await holder.offer(other_pin(pin))
        for _ in range(30):
            for sample, proof in ((known, holder.keys.proof), (unknown, secrets.token_bytes(32))):
                begun = time.perf_counter()
                await holder.offer("123456", proof)
                sample.append(time.perf_counter() - begun)
    assert min(known + unknown) > 0.24, "every answer waits for the grid"
    difference = abs(statistics.median(known) - statistics.median(unknown))
    both = known + unknown
    generator = secrets.SystemRandom()
    larger = 0
    for _ in range(2000):
        generator.shuffle(both)
        larger += abs(statistics.median(both[:30]) - statistics.median(both[30:])) >= difference
    assert larger / 2000 > 0.001, (
        f"medians differ by {difference * 1000:.2f} ms: chance would do so in under 1 of 1000"
    )


# --- A16 -------------------------------------------------------------------------------------------------------


async def test_a_denial_has_one_constant_body_on_every_path_of_the_gateway(box: DemoBox):
    async with Patient(box.patient_link, box.portal_ca) as stranger:
        answers = set()
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            for path in ("/patients", "/share/list", "/share", "/api", "/api/open/1", "/documents/1", "/.git", "//"):
                answers.add(seen(await stranger.ask(method, path)))
        assert len(answers) == 1
        assert next(iter(answers))[1] == b'{"state":"unknown"}'


async def test_a_stranger_s_request_to_the_practice_holds_nothing_of_what_is_there(box: DemoBox, staff: Staff):
    """Not logged in, an existing and an absent patient or document are the same answer."""
    from appliance.demo.browser import open_browser

    patient = await staff.create_patient("Niemandgehtsan")
    await staff.upload(patient, b"geheim")
    (document,) = await staff.documents(patient)
    absent = secrets.token_hex(16)
    async with open_browser(box.practice_ca) as browser:
        stranger = Staff(browser, box.practice_url)
        for there, not_there in (
            (patient, f"/patients/{absent}"),
            (f"/documents/{document}/open", f"/documents/{absent}/open"),
            (f"/documents/{document}/download", f"/documents/{absent}/download"),
        ):
            first, second = await stranger.open(there), await stranger.open(not_there)
            assert "Niemandgehtsan" not in first.text
            assert first.status == second.status
            assert first.text.replace(there, "") == second.text.replace(not_there, "")


async def test_a_refused_pin_carries_only_state_tries_and_whom_to_call(box: DemoBox, staff: Staff):
    link, pin, _ = await share_of(staff, "Abgelehnt")
    async with Patient(link, box.portal_ca) as holder:
        answer = (await holder.offer(other_pin(pin))).json()
    assert set(answer) == {"state", "tries_left", "telephone", "practice"}


# --- A18 -------------------------------------------------------------------------------------------------------


async def test_two_hundred_parallel_pins_are_five_tries(box: DemoBox, staff: Staff):
    """From four lines, fifty each: one line has fewer connections than two hundred."""
    link, pin, _ = await share_of(staff, "Parallel")
    async with AsyncExitStack() as stack:
        lines = [f"127.0.0.{number}" for number in range(2, 6)]
        holders = [await stack.enter_async_context(Patient(link, box.portal_ca, line=line)) for line in lines]
        offers = [holder.offer(other_pin(pin)) for holder in holders for _ in range(50)]
        answers = [answer.json() for answer in await asyncio.gather(*offers)]
        counted = [answer["tries_left"] for answer in answers if answer["state"] == "open"]
        assert sorted(counted) == [1, 2, 3, 4], "each counted wrong try is told once"
        assert sum(answer["state"] == "closed" for answer in answers) == 196
        assert (await holders[0].offer(pin)).json()["state"] == "closed", "and the right one comes too late"


async def test_who_knows_no_proof_cannot_lock_a_patient_out(box: DemoBox, staff: Staff):
    link, pin, _ = await share_of(staff, "Ausgesperrt")
    async with Patient(link, box.portal_ca) as holder:
        for _ in range(8):
            await holder.offer("000000", secrets.token_bytes(32))
            await holder.ask("GET", "/share/manifest", headers={"Praxis-Locator": holder.keys.locator})
        assert (await holder.state()).json()["tries_left"] == TRIES
        assert await holder.open(pin)


async def test_killing_vault_gives_no_try_back(box: DemoBox, staff: Staff):
    """Two tries are gone; vault and gateway are killed while more are on their way: none comes back."""
    import os
    import signal

    link, pin, _ = await share_of(staff, "Gekillt")
    async with Patient(link, box.portal_ca) as holder:
        for _ in range(2):
            await holder.offer(other_pin(pin))
        offers = asyncio.gather(*(holder.offer(other_pin(pin)) for _ in range(2)), return_exceptions=True)
        await asyncio.sleep(0)
        os.kill(box.pid("vault"), signal.SIGKILL)
        await offers
        for _ in range(100):
            answer = await holder.state()
            if answer.status == 200:
                break
            await asyncio.sleep(0.1)
        assert answer.json()["tries_left"] <= TRIES - 2
    await staff.log_in(box.said["staff"], box.said["password"])


@pytest.mark.parametrize("pin", ["", "12345", "123456789", "abcdef", "１２３４５６", " 123456", 123456, None])
async def test_what_is_no_pin_costs_no_try(box: DemoBox, staff: Staff, pin):
    link = box.patient_link
    async with Patient(link, box.portal_ca) as holder:
        before = (await holder.state()).json()["tries_left"]
        proof = base64url(holder.keys.proof)
        answer = await holder.ask("POST", "/api/open", json={"proof": proof, "pin": pin})
        assert answer.status == 404
        assert (await holder.state()).json()["tries_left"] == before
