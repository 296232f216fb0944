"""The handover sheet on paper, its words, and what is left at the station once it is handed over."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from appliance.core.errors import Invalid, Refused
from appliance.formats.fingerprint_words import SHORT_DIGITS, short_digits, short_words, words_of
from appliance.formats.wordlist.english import WORDS
from provisioning.station.__main__ import main
from provisioning.station.paper import draw_handover
from provisioning.station.progress import STEPS, Progress, with_failure, with_step
from provisioning.station.sheet import Sheet, fingerprint
from provisioning.station.status import Row, command_for, json_of, table_of
from provisioning.station.texts import texts_in
from tests.browser.paper import picture_of, read_qr_code
from tests.station.technician import SERIAL, technician

SHEET = Sheet(
    serial="PS-0001",
    box="ab" * 16,
    claim_code="7K3QF-0M4ZT-9X2VB-HW8R6",
    practice_url="https://praxis-abababab-lan.example:8443/",
    patient_host="praxis-abababab.example",
    device_fingerprint=fingerprint(b"key"),
    tpm="IFX SLB9672",
    finished=True,
)
THANKS = "legal winner thank year wave sausage worth useful "


# --- the words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("digits", "words"),
    [  # BIP-39, "Test vectors": trezor/python-mnemonic, vectors.json
        ("00" * 32, "abandon " * 23 + "art"),
        ("7f" * 32, THANKS * 2 + "legal winner thank year wave sausage worth title"),
        (
            "80" * 32,
            "letter advice cage absurd amount doctor acoustic avoid " * 2
            + "letter advice cage absurd amount doctor acoustic bless",
        ),
        ("ff" * 32, "zoo " * 23 + "vote"),
        (
            "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
            "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis "
            "maple dilemma loan word shrug inflict delay length",
        ),
    ],
)
def test_the_words_are_those_of_the_standard(digits: str, words: str) -> None:
    assert " ".join(words_of(bytes.fromhex(digits))) == words


def test_the_list_is_the_published_one() -> None:
    assert (
        hashlib.sha256("".join(f"{word}\n" for word in WORDS).encode()).hexdigest()
        == "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    )
    assert len({word[:4] for word in WORDS}) == 2048  # four letters name a word


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_fingerprint_of_another_length_has_no_words(length: int) -> None:
    with pytest.raises(Invalid, match="fingerprint"):
        words_of(bytes(length))


def test_the_short_words_and_the_short_digits_are_the_same_bits() -> None:
    fingerprint = hashlib.sha256(b"key").digest()
    first = int(short_digits(fingerprint).replace(" ", ""), 16)
    places = [first >> 11 * place & 2047 for place in reversed(range(8))]
    assert short_words(fingerprint) == " ".join(WORDS[place] for place in places)
    assert len(short_digits(fingerprint).replace(" ", "")) == SHORT_DIGITS == 22


async def test_the_words_of_the_portals_record_are_those_on_the_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with technician(tmp_path) as at_bench:
        sheet = await at_bench.enrol()
        (record,) = (tmp_path / "portal/registry").glob("*.json")
        assert main(["words", str(record)]) == 0
        assert tuple(capsys.readouterr().out.split()) == words_of(
            bytes.fromhex(sheet.device_fingerprint.replace(" ", ""))
        )


# --- the paper ---------------------------------------------------------------------------------------------------


def pages_of(pdf: bytes, *options: str) -> list[str]:
    text = subprocess.run(
        ["pdftotext", *options, "-", "-"], input=pdf, capture_output=True, check=True
    ).stdout.decode()
    return text.split("\f")[:-1]


def test_every_language_has_a_page_with_everything_on_it() -> None:
    german, english = pages_of(draw_handover(SHEET, ("de", "en")))
    assert "Übergabeblatt" in german
    assert "Handover sheet" in english
    for page in (german, english):
        for value in (SHEET.serial, SHEET.box, SHEET.claim_code, SHEET.practice_url, SHEET.patient_host):
            assert value in page
        found = Counter(page.split())
        for word in words_of(hashlib.sha256(b"key").digest()):
            assert found[word]
        for group in SHEET.device_fingerprint.split():
            assert group in page
    assert "IFX SLB9672: echt, der Schlüssel liegt in ihm" in german
    assert "IFX SLB9672: genuine, the key is inside it" in english
    assert len(pages_of(draw_handover(SHEET, ("en",)))) == 1


def test_the_printed_qr_code_reads_as_the_practices_address_and_no_secret() -> None:
    page = picture_of(draw_handover(SHEET, ("de",)))
    corner = (
        page.width * 2 // 3,
        page.height * 29 // 100,
        page.width,
        page.height * 45 // 100,
    )  # without large letters
    assert read_qr_code(page.crop(corner)) == SHEET.practice_url


def test_the_paper_is_dark_on_light_and_nothing_in_between(tmp_path: Path) -> None:
    """A copier knows black and white only: but for the edges of letters, no pixel is a middle grey or a colour."""
    (tmp_path / "sheet.pdf").write_bytes(draw_handover(SHEET, ("de",)))
    subprocess.run(["pdftoppm", "-r", "150", tmp_path / "sheet.pdf", tmp_path / "sheet"], check=True)
    (image,) = tmp_path.glob("sheet*.ppm")
    pixels = image.read_bytes().split(b"\n", 3)[3]
    channels = (pixels[0::3], pixels[1::3], pixels[2::3])
    middle = sum(64 < green < 192 for green in channels[1])
    assert middle / len(channels[1]) < 0.03
    assert all(max(colours) - min(colours) < 32 for colours in set(zip(*channels, strict=True)))


def test_the_longest_names_stay_on_the_page() -> None:
    label = "p" * 60
    host = ".".join([label] * 4)
    sheet = Sheet(
        **{name: getattr(SHEET, name) for name in SHEET.__struct_fields__}
        | {"practice_url": f"https://{host}:65535/", "patient_host": host, "serial": "P" * 32}
    )
    pdf = draw_handover(sheet, ("de",))
    page = subprocess.run(
        ["pdftotext", "-bbox", "-", "-"], input=pdf, capture_output=True, check=True
    ).stdout.decode()
    edges = [
        tuple(float(part.split('"')[1]) for part in line.split()[1:5])
        for line in page.splitlines()
        if "<word" in line
    ]
    assert len(edges) > 60
    for left, top, right, bottom in edges:
        assert left >= 0
        assert top >= 0
        assert right <= 595.3
        assert bottom <= 841.9
    signature = min(top for _, top, _, _ in edges if top > 770)
    assert all(bottom <= signature for _, top, _, bottom in edges if top < signature)


# --- status, and handing over ------------------------------------------------------------------------------------


def test_the_table_says_what_is_done_and_what_is_missing_in_words() -> None:
    begun = with_step(with_step(Progress(serial="PS-0001"), "reached", 5), "keys", 6, box="ab" * 16)
    registered = with_step(Progress(serial="PS-0005"), "registered", 8, tpm="IFX SLB9672")
    failed = with_failure(Progress(serial="PS-0002"), Refused("key_enrolled", serial="PS-0001"), 7)
    rows = [
        Row("PS-0001", begun),
        Row("PS-0002", failed),
        Row("PS-0003", None),
        Row("PS-0004", Progress(serial="PS-0004")),
        Row("PS-0005", registered),
    ]
    german = table_of(rows, texts_in("de")).splitlines()
    assert german[0].split() == [
        "Seriennummer",
        "Gerät",
        "erreicht",
        "Schlüssel",
        "Blatt",
        "Portal",
        "geschlossen",
        "gedruckt",
        "übergeben",
        "Sicherheitschip",
        "Als",
        "Nächstes",
    ]
    assert german[1].split() == ["PS-0001", "abababab", "ja", "ja", "–", "–", "–", "–", "–", "–", "resume"]
    assert german[2].split() == ["PS-0002", "FEHLER", "–", "–", "–", "–", "–", "–", "–", "enrol"]
    assert german[4].split() == ["PS-0004", "–", "–", "–", "–", "–", "–", "–", "–", "enrol"]
    assert "IFX SLB9672" in german[5]
    assert "PS-0002: ALARM: Dieses Gerät oder sein Schlüssel ist schon unter PS-0001 eingerichtet." in german[7]
    english = table_of(rows, texts_in("en"))
    assert "PS-0002: ALARM: This box or its key is enrolled already as PS-0001." in english
    assert "PS-0003: The file state.json of PS-0003 is damaged" in english
    said = json.loads(json_of(rows))
    assert [row["serial"] for row in said] == ["PS-0001", "PS-0002", "PS-0003", "PS-0004", "PS-0005"]
    assert [row.get("tpm") for row in said] == ["", "", None, "", "IFX SLB9672"]
    assert said[0]["steps"][:3] == [
        {"step": "reached", "state": "done", "at": 5},
        {"step": "keys", "state": "done", "at": 6},
        {"step": "sheet", "state": "missing", "at": None},
    ]
    assert said[1]["failure"] == {
        "step": "reached",
        "family": "Refused",
        "code": "key_enrolled",
        "facts": {"serial": "PS-0001"},
        "at": 7,
    }
    assert said[2] == {"serial": "PS-0003", "damaged": True}


def test_what_comes_next_is_a_command() -> None:
    progress = Progress(serial="PS-0001")
    said = []
    for step in STEPS:
        said.append(command_for(progress))
        progress = with_step(progress, step, 1)
    assert [*said, command_for(progress)] == ["enrol", *["resume"] * 4, "sheet", "hand_over", "nothing"]


async def test_after_handing_over_the_claim_code_is_nowhere_at_the_station(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with technician(tmp_path) as at_bench:
        boxes = tmp_path / "boxes"
        folder = f"--folder={boxes}"
        code = (await at_bench.enrol()).claim_code
        assert main(["hand-over", folder, SERIAL]) == 4  # nothing was printed yet
        assert at_bench.files.sheet.exists()
        assert await asyncio.to_thread(main, ["sheet", folder, SERIAL, "--paper=en"]) == 0
        assert code in pages_of(at_bench.files.paper.read_bytes())[0]
        at_bench.files.sheet.with_name("sheet.json.draft").write_text(code)  # left by a power cut
        assert main(["hand-over", folder, SERIAL]) == 0
        assert {path.name for path in at_bench.files.folder.iterdir()} == {"state.json", "lock"}
        assert not any(code.encode() in path.read_bytes() for path in boxes.rglob("*") if path.is_file())
        assert main(["hand-over", folder, SERIAL]) == 0  # again, as after an interruption
        assert set(at_bench.progress.done) == set(STEPS)
        capsys.readouterr()
        assert main(["status", folder]) == 0
        assert "nichts" in capsys.readouterr().out


async def test_status_shows_the_boxes_of_a_list_that_were_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boxes.txt").write_text("PS-0002 a:1\nPS-0001 a:2\n")
    assert main(["status", f"--folder={tmp_path / 'none'}"]) == 0
    assert "Noch kein Gerät begonnen." in capsys.readouterr().out
    assert main(["status", f"--folder={tmp_path / 'none'}", f"--boxes={tmp_path / 'boxes.txt'}", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["serial"], row["next"]) for row in rows] == [("PS-0001", "enrol"), ("PS-0002", "enrol")]
