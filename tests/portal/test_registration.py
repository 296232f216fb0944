"""How a box comes into the register: only with a TPM that proves itself now, and nothing twice."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import nacl.signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.core.errors import PraxisError
from appliance.formats import tpm_structures as tpm
from appliance.formats.attestation import DEVICE_ATTRIBUTES, QUOTED_PCRS, Evidence
from appliance.formats.device_record import sign_record
from appliance.formats.registration import Asked, Proof
from provisioning.portal import registration
from provisioning.portal.counts import Counts
from provisioning.portal.makers import Makers
from provisioning.portal.registration import QUESTION_LIFETIME_S, Registration
from provisioning.portal.registry import Registry
from tests.portal.simulated_box import PORTAL_NAME, STATION, SimulatedBox, portal_in
from tests.simulators.attesting_tpm import MAKER, PCRS, AttestingTpm, signature
from tests.simulators.tpm_maker import HandMaker

STRANGER = nacl.signing.SigningKey(b"x" * 32)
IMAGE = PCRS[QUOTED_PCRS.index(11)]


class Fixture:
    """A registration without its door, and a clock set by hand."""

    def __init__(self, folder: Path, images: frozenset[bytes] = frozenset()) -> None:
        self.folder = folder
        self.counts = Counts()
        self.at = 1_800_000_000.0
        self.registry = Registry(folder / "registry", PORTAL_NAME, frozenset({bytes(STATION.verify_key)}))
        makers = Makers([MAKER.root, MAKER.intermediate])
        self.registration = Registration(self.registry, makers, PORTAL_NAME, images, self.counts, lambda: self.at)

    def box(self, **facts: Any) -> SimulatedBox:
        """A box whose TPM is as told."""
        box = SimulatedBox(self.folder)
        box.tpm = AttestingTpm(**facts)
        box.key = box.tpm.device
        return box

    def ask(self, box: SimulatedBox, **changes: object) -> Asked:
        asked = self.registration.apply(box.application(**changes))
        assert asked is not None
        return asked

    def register(self, box: SimulatedBox, **changes: object) -> None:
        self.registration.prove(box.answer(self.ask(box, **changes)))

    def refused(self, step: Callable[[], object]) -> str:
        """Give the code of the refusal; nothing is registered by it."""
        registered = self.counts.devices_registered
        with pytest.raises(PraxisError) as raised:
            step()
        assert self.counts.devices_registered == registered
        return raised.value.code


@pytest.fixture
def at(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def test_a_box_whose_tpm_has_proven_itself_is_registered(at: Fixture) -> None:
    box = at.box()
    at.register(box)
    assert at.registry.device_point(box.box) == box.record().device_point
    assert at.registration.apply(box.application()) is None  # the same record again needs no proof
    assert (at.counts.devices_registered, at.counts.devices_refused) == (1, 0)


def test_nothing_is_registered_before_the_answer(at: Fixture) -> None:
    box = at.box()
    at.ask(box)
    assert at.registry.device_point(box.box) is None


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"maker": HandMaker("Stranger")}, "endorsement_certificate"),
        ({"attestation_attributes": DEVICE_ATTRIBUTES}, "tpm_key"),  # not restricted: it signs what it is given
        ({"device_attributes": DEVICE_ATTRIBUTES & ~tpm.FIXED_TPM}, "tpm_key"),
        ({"device_attributes": DEVICE_ATTRIBUTES & ~tpm.FIXED_PARENT}, "tpm_key"),
        ({"device_attributes": DEVICE_ATTRIBUTES & ~tpm.SENSITIVE_DATA_ORIGIN}, "tpm_key"),
        ({"device_attributes": DEVICE_ATTRIBUTES | tpm.DECRYPT}, "tpm_key"),
    ],
)
def test_a_tpm_or_a_key_that_is_not_as_it_must_be_gets_no_question(
    at: Fixture, facts: dict[str, Any], code: str
) -> None:
    box = at.box(**facts)
    assert at.refused(lambda: at.ask(box)) == code


def test_a_record_of_another_key_or_tpm_than_the_identity_gets_no_question(at: Fixture) -> None:
    box, other = at.box(), at.box()
    assert at.refused(lambda: at.ask(box, endorsement=other.endorsement)) == "device_record"
    assert at.refused(lambda: at.ask(box, device_key=other.public_key_info)) == "device_record"


def test_a_station_that_is_not_listed_gets_no_question(at: Fixture) -> None:
    application = at.box().application()
    stranger = msgspec.structs.replace(application, record=sign_record(application.record, STRANGER))
    assert at.refused(lambda: at.registration.apply(stranger)) == "station"


def test_a_key_in_software_under_a_genuine_certificate_is_refused(at: Fixture) -> None:
    """Who has seen a certificate, and has every key but the endorsement key, cannot answer."""
    genuine = at.box()
    forged = at.box(certificate=genuine.tpm.certificate)
    assert at.refused(lambda: at.register(forged)) == "credential"  # its own TPM cannot open it
    asked = at.ask(forged)
    qualifying = b"q" * 32
    guess = Evidence(
        secret=bytes(32),
        **{  # type: ignore[arg-type]
            name: value
            for name, value in msgspec.structs.asdict(_with_secret(forged.tpm, qualifying)).items()
            if name != "secret"
        },
    )
    assert (
        at.refused(lambda: at.registration.prove(Proof(challenge=asked.challenge, evidence=guess))) == "attestation"
    )


def _with_secret(chip: AttestingTpm, qualifying: bytes) -> Evidence:
    certification, certification_signature = chip.state(
        tpm.Certified(chip.device_area.name, chip.device_area.name), qualifying
    )
    return Evidence(
        secret=b"s" * 32,
        certification=certification,
        certification_signature=certification_signature,
        quote=certification,
        quote_signature=certification_signature,
        pcrs=PCRS,
    )


def restated(statement: Callable[[SimulatedBox], tpm.Certified | tpm.Quoted], name: str) -> Callable[..., Evidence]:
    """Give a change of an evidence: another statement, well signed."""

    def change(evidence: Evidence, box: SimulatedBox) -> Evidence:
        qualifying = tpm.read_attestation(evidence.quote).qualifying
        data, signed = box.tpm.state(statement(box), qualifying)
        return msgspec.structs.replace(evidence, **{name: data, f"{name}_signature": signed})

    return change


def unsigned(name: str) -> Callable[..., Evidence]:
    """Give a change: signed by another key than the attestation key."""

    def change(evidence: Evidence, _: SimulatedBox) -> Evidence:
        other = signature(ec.generate_private_key(ec.SECP256R1()), getattr(evidence, name))
        return msgspec.structs.replace(evidence, **{f"{name}_signature": other})

    return change


def rebooted(evidence: Evidence, box: SimulatedBox) -> Evidence:
    chip = replace(box.tpm, clock=tpm.Clock(5, box.tpm.clock.reset_count + 1, 0, safe=True))
    quoted = tpm.read_attestation(evidence.quote)
    data, signed = chip.state(quoted.statement, quoted.qualifying)
    return msgspec.structs.replace(evidence, quote=data, quote_signature=signed)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda evidence, _: msgspec.structs.replace(evidence, secret=bytes(32)), id="no secret"),
        pytest.param(unsigned("certification"), id="certification by another key"),
        pytest.param(unsigned("quote"), id="quote by another key"),
        pytest.param(
            restated(lambda box: tpm.Certified(box.tpm.attestation_area.name, bytes(34)), "certification"),
            id="another key certified",
        ),
        pytest.param(restated(lambda _: tpm.Quoted((7,), bytes(32)), "quote"), id="other PCRs quoted"),
        pytest.param(restated(lambda _: tpm.Quoted(QUOTED_PCRS, bytes(32)), "quote"), id="other values quoted"),
        pytest.param(
            lambda evidence, _: msgspec.structs.replace(evidence, pcrs=[PCRS[0], PCRS[0], PCRS[2]]),
            id="other values told",
        ),
        pytest.param(
            lambda evidence, _: msgspec.structs.replace(
                evidence, quote=evidence.certification, quote_signature=evidence.certification_signature
            ),
            id="a certification for a quote",
        ),
        pytest.param(rebooted, id="a boot in between"),
    ],
)
def test_an_answer_that_is_wrong_in_one_place_is_refused(at: Fixture, change: Callable[..., Evidence]) -> None:
    box = at.box()
    proof = box.answer(at.ask(box))
    wrong = msgspec.structs.replace(proof, evidence=change(proof.evidence, box))
    assert at.refused(lambda: at.registration.prove(wrong)) == "attestation"
    at.register(box)  # and the right one is taken afterwards


def test_an_answer_counts_once_in_its_time_and_for_its_question(at: Fixture) -> None:
    box, other = at.box(), at.box()
    first = box.answer(at.ask(box))
    second = box.answer(at.ask(box))  # of a box there is one open question
    assert at.refused(lambda: at.registration.prove(first)) == "challenge"
    replayed = msgspec.structs.replace(second, challenge=at.ask(box).challenge)
    assert at.refused(lambda: at.registration.prove(second)) == "challenge"
    assert at.refused(lambda: at.registration.prove(replayed)) == "attestation"
    assert at.refused(lambda: at.registration.prove(replayed)) == "challenge"
    crossed = msgspec.structs.replace(other.answer(at.ask(other)), challenge=at.ask(box).challenge)
    assert at.refused(lambda: at.registration.prove(crossed)) == "attestation"
    late = box.answer(at.ask(box))
    at.at += QUESTION_LIFETIME_S
    assert at.refused(lambda: at.registration.prove(late)) == "challenge"
    at.register(box)


def test_an_answer_for_another_portal_is_refused(at: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portal that is a stranger's cannot have a box prove itself for it at ours."""
    box = at.box()
    asked = at.ask(box)
    monkeypatch.setattr("tests.portal.simulated_box.PORTAL_NAME", "stranger.example")
    answer = box.answer(asked)
    assert at.refused(lambda: at.registration.prove(answer)) == "attestation"


@pytest.mark.parametrize(
    ("pcrs", "code"),
    [
        ([PCRS[0], bytes(32), bytes(32)], "quoted_nothing"),
        ([PCRS[0], PCRS[1], PCRS[0]], "quoted_parameters"),
        ([PCRS[0], PCRS[0], bytes(32)], "quoted_image"),
    ],
)
def test_a_boot_that_is_not_a_releases_is_refused(tmp_path: Path, pcrs: list[bytes], code: str) -> None:
    at = Fixture(tmp_path, frozenset({IMAGE}))
    box = at.box(pcrs=pcrs)
    assert at.refused(lambda: at.register(box)) == code
    at.register(at.box())


def test_questions_are_bounded(at: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "MAX_QUESTIONS", 2)
    boxes = [at.box() for _ in range(3)]
    for box in boxes[:2]:
        at.ask(box)
    assert at.refused(lambda: at.ask(boxes[2])) == "portal_busy"
    at.at += QUESTION_LIFETIME_S
    at.register(boxes[2])


def test_of_two_boxes_with_one_tpm_that_are_asked_at_once_one_is_registered(at: Fixture) -> None:
    box = at.box()
    clone = at.box(endorsement=box.tpm.endorsement, certificate=box.tpm.certificate)
    answers = [each.answer(at.ask(each)) for each in (box, clone)]
    at.registration.prove(answers[0])
    assert at.refused(lambda: at.registration.prove(answers[1])) == "endorsement_taken"


def test_of_a_thousand_boxes_every_duplicate_is_refused_and_said(
    at: Fixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Duplicates of a key, of a TPM, and of a box in another TPM, thrown in among a thousand (seed 14)."""
    chance = random.Random(14)
    boxes: list[SimulatedBox] = []
    expected: list[tuple[str, str]] = []
    for number in range(1000):
        box = at.box()
        if number and chance.random() < 0.1:
            known, kind = chance.choice(boxes), chance.choice(("device_key_taken", "endorsement_taken", "box_taken"))
            if kind == "device_key_taken":
                box.tpm = AttestingTpm(device=known.tpm.device)
                box.key = known.key
            elif kind == "endorsement_taken":
                box.tpm = AttestingTpm(endorsement=known.tpm.endorsement, certificate=known.tpm.certificate)
                box.key = box.tpm.device
            else:
                box.box = known.box
            assert at.refused(lambda box=box: at.register(box, issued_at=1_900_000_000)) == kind  # type: ignore[misc]
            expected.append((kind, known.box.hex()[:8]))
        else:
            at.register(box)
            boxes.append(box)
    assert len(expected) > 60
    assert at.counts.devices_registered == len(boxes) == 1000 - len(expected)
    assert at.counts.duplicates_refused == len(expected)
    alarms = [line for line in capsys.readouterr().err.splitlines() if "alarm" in line]
    assert [(line.split()[1].removeprefix("alarm="), line[-8:]) for line in alarms] == expected
    assert all(line.startswith("<1>portal alarm=") for line in alarms)
    again = Registry(at.folder / "registry", PORTAL_NAME, frozenset({bytes(STATION.verify_key)}))
    assert again.unusable == 0


# --- over HTTPS ---------------------------------------------------------------------------------------------------


async def post(port: int, authority: Path, path: str, body: bytes) -> tuple[int, Any]:
    context = ssl.create_default_context(cafile=str(authority))
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"https://127.0.0.1:{port}{path}", data=body, ssl=context, server_hostname=PORTAL_NAME
        ) as answer,
    ):
        assert answer.headers["Server"] == "praxissafe-portal"
        return answer.status, await answer.json() if answer.content_type == "application/json" else None


async def test_a_station_registers_a_box_over_https(tmp_path: Path) -> None:
    box, clone = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:

        async def send(path: str, body: object) -> tuple[int, Any]:
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
            return await post(portal.port, portal.authority_path, path, data)

        status, asked = await send("/devices", box.application())
        assert status == 202
        proof = box.answer(msgspec.convert(asked, Asked))
        assert await send("/proofs", proof) == (201, {"registered": True})
        assert await send("/proofs", proof) == (410, {"error": "challenge"})
        assert await send("/devices", box.application()) == (200, {"registered": True})
        taken = await send("/devices", clone.application(device_key=box.public_key_info))
        assert taken == (409, {"error": "device_key_taken"})
        application = clone.application()
        for record in (
            sign_record(application.record, STRANGER),
            msgspec.structs.replace(application.record, host_name="other.example"),
            clone.record(portal_name="other.example"),
        ):
            refused = await send("/devices", msgspec.structs.replace(application, record=record))
            assert refused == (403, {"error": "station"})
        clone.tpm = replace(clone.tpm, maker=HandMaker("Stranger"), certificate=b"")
        assert await send("/devices", clone.application()) == (422, {"error": "endorsement_certificate"})
        for path, code in (("/devices", "device_record"), ("/proofs", "proof")):
            assert await send(path, b"{}") == (400, {"error": code})
        extra = json.loads(msgspec.json.encode(application)) | {"more": 1}
        assert await send("/devices", extra) == (400, {"error": "device_record"})
        assert (await send("/devices", b"x" * 50_000))[0] == 413
        assert portal.registry.device_point(clone.box) is None
        assert (portal.counts.devices_registered, portal.counts.duplicates_refused) == (1, 1)


def test_a_failure_of_the_disk_is_no_registration(at: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    box = at.box()
    answer = box.answer(at.ask(box))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr("provisioning.portal.registry.replace_file", full)
    with pytest.raises((OSError, PraxisError)):
        at.registration.prove(answer)
    assert at.registry.device_point(box.box) is None
