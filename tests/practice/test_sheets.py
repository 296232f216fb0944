"""The two papers: what stands on them, and what never does."""

import re
import shutil
import subprocess

import pytest

from appliance.practice.sheets import LinkSheet, PinSlip, draw_link_sheet, draw_pin_slip
from appliance.practice.texts import read_texts

LINK = "https://praxis-0123abcd.example:8444/#AQ" + "x" * 42
PRACTICE = "Praxis Dr. Şahin & Łukasz Ψ Иванов"
TEXTS = read_texts()


def words(pdf: bytes) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    done = subprocess.run(["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("language", ["de", "en"])
def test_link_sheet_holds_link_practice_and_steps_on_one_page(language):
    sheet = LinkSheet(PRACTICE, "030 1234567", LINK, "praxis-0123abcd.example", "09.12.2026")
    pdf = draw_link_sheet(sheet, TEXTS[language])
    text = words(pdf)
    assert text.count("\f") == 1
    assert PRACTICE in text
    assert "".join(text.split()).count(LINK) == 1
    for step in ("scan", "pin", "read"):
        assert TEXTS[language](f"sheet.step_{step}") in text
    assert "x" * 42 not in repr(sheet)


@pytest.mark.parametrize("language", ["de", "en"])
def test_link_sheet_asks_for_a_private_window_on_a_device_that_is_not_ones_own(language):
    sheet = LinkSheet(PRACTICE, "030 1234567", LINK, "praxis-0123abcd.example", "09.12.2026")
    text = " ".join(words(draw_link_sheet(sheet, TEXTS[language])).split())
    assert TEXTS[language]("sheet.private") in text
    assert {"de": "privates Fenster", "en": "private window"}[language] in text


@pytest.mark.parametrize("language", ["de", "en"])
def test_link_sheet_gives_the_keys_fingerprint_in_words_and_digits_in_one_place(language):
    key = {"key_words": "ocean lamp river stone brick cloud apple tiger", "key_digits": "1a2b 3c4d 5e6f 7081 92a3 b4"}
    sheet = LinkSheet(PRACTICE, "030 1234567", LINK, "praxis-0123abcd.example", "09.12.2026", **key)
    text = " ".join(words(draw_link_sheet(sheet, TEXTS[language])).split())
    assert key["key_words"] in text
    assert key["key_digits"] in text
    assert TEXTS[language]("sheet.key", words="", digits="")[:20] not in words(
        draw_link_sheet(LinkSheet(PRACTICE, "030 1234567", LINK, "x.example", "09.12.2026"), TEXTS[language])
    )


@pytest.mark.parametrize("language", ["de", "en"])
def test_pin_slip_holds_the_pin_and_no_link(language):
    slip = PinSlip(PRACTICE, "030 1234567", "271828")
    text = words(draw_pin_slip(slip, TEXTS[language]))
    assert text.count("\f") == 1
    assert "271 828" in text
    assert "http" not in text
    assert TEXTS[language]("slip.apart") in text
    assert "271828" not in repr(slip)


def test_longest_names_still_fit_on_the_page():
    sheet = LinkSheet(
        "Gemeinschaftspraxis " * 6, "0" * 40, LINK, "x" * 60 + ".example", "09.12.2026", "umbrella " * 8, "1a2b " * 6
    )
    slip = PinSlip("Gemeinschaftspraxis " * 6, "0" * 40, "27182818")
    for pdf in (draw_link_sheet(sheet, TEXTS["de"]), draw_pin_slip(slip, TEXTS["de"])):
        words(pdf)
        done = subprocess.run(["pdftotext", "-bbox", "-", "-"], input=pdf, capture_output=True, check=True)
        (height,) = re.findall(rb'<page width="[0-9.]+" height="([0-9.]+)"', done.stdout)
        lowest = max(float(y) for y in re.findall(rb'yMax="([0-9.]+)"', done.stdout))
        assert lowest < float(height) - 20
