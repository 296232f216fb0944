"""The pure parts: what is typed, what a document is, names in headers, languages, links that wait, metrics."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import Invalid, NotFound, Unavailable
from appliance.practice import fields
from appliance.practice.disposition import content_disposition, header_text
from appliance.practice.language import choose
from appliance.practice.media_types import recognise, text_charset
from appliance.practice.metrics_words import Sample, read_samples
from appliance.practice.pending_links import KEPT_S, MAX_LINKS, PendingLinks
from appliance.practice.qr_code import qr_squares

TODAY = datetime.date(2026, 11, 25)


@pytest.mark.parametrize(
    "typed",
    ["5.3.1962", "05.03.1962", " 5. 3. 1962 ", "5/3/1962", "05-03-1962", "05031962", "1962-03-05", "5 3 1962"],
)
def test_birth_date_is_read_as_people_write_it(typed):
    assert fields.birth_date({"birth_date": typed}, TODAY) == "1962-03-05"


@pytest.mark.parametrize("typed", ["", "31.2.1990", "5.3.62", "26.11.2026", "1.1.1879", "x", "1990", "٥.٣.١٩٦٢x"])
def test_what_is_no_birth_date_is_refused(typed):
    with pytest.raises(Invalid) as failure:
        fields.birth_date({"birth_date": typed}, TODAY)
    assert failure.value.details == {"field": "birth_date"}


@given(st.text(max_size=300))
def test_cleaned_text_has_no_control_characters_and_is_stable(text):
    try:
        cleaned = fields.clean(text)
    except Invalid:
        return
    assert fields.clean(cleaned) == cleaned
    assert all(letter.isprintable() or letter in fields.JOINERS for letter in cleaned if letter != " ") or cleaned


def test_same_name_typed_on_two_systems_is_the_same():
    assert fields.clean("Mu\u0308ller\t \u202eX") == "Müller X"


@given(st.text(max_size=400))
def test_file_name_never_leads_to_a_folder(text):
    try:
        name = fields.file_name(text)
    except Invalid:
        return
    assert len(name) <= fields.MAX_FILE_NAME_CHARACTERS
    assert not set(name) & set("/\\\0\r\n")


def test_long_file_name_keeps_its_ending():
    assert fields.file_name("x" * 400 + ".pdf").endswith("x.pdf")


@given(st.text(max_size=200))
def test_header_text_reads_what_was_encoded(text):
    from urllib.parse import quote

    try:
        encoded = quote(text, safe="")
    except UnicodeEncodeError:
        return
    if len(encoded) <= 2000:
        assert header_text(encoded, "X") == text
        assert header_text(f"UTF-8''{encoded}", "X") == text


@given(st.text(min_size=1, max_size=255))
def test_disposition_is_one_ascii_line(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    line = content_disposition("attachment", text)
    assert line.isascii()
    assert line.isprintable()


def test_documents_are_known_by_their_first_bytes():
    for first, name, media_type in (
        (b"%PDF-1.7", "x.png", "application/pdf"),
        (b"\xff\xd8\xff\xe0", "x", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "x.txt", "image/png"),
        ("Grüße\n".encode(), "LABOR.TXT", "text/plain"),
        ("Grüße\n".encode("cp1252"), "labor.txt", "text/plain"),
    ):
        assert recognise(first, name) == media_type
    for first, name in ((b"MZ\x90\0", "a.txt"), (b"<html>", "a.html"), (b"GIF89a", "a.gif"), (b"text", "a")):
        with pytest.raises(Invalid, match="document_type"):
            recognise(first, name)
    with pytest.raises(Invalid, match="document_empty"):
        recognise(b"", "a.pdf")


def test_text_is_shown_in_its_own_letters():
    assert text_charset("Grüße".encode()) == "utf-8"
    assert text_charset("Grüße".encode()[:-3]) == "utf-8"  # cut in the middle of a letter
    assert text_charset("Grüße".encode("cp1252")) == "windows-1252"


def test_language_follows_the_cookie_then_the_browser_then_german():
    assert choose("en", "de") == "en"
    assert choose("fr", "en;q=0.5, de;q=0.4") == "en"
    assert choose(None, "fr, it") == "de"
    assert choose(None, "en-US,en;q=0.9,de;q=0.8") == "en"
    assert choose(None, "de;q=0.9;en, \0;;q=") == "de"


def test_link_waits_for_its_session_only_and_not_longer_than_an_hour():
    links = PendingLinks()
    links.keep("session", "share", "https://a/#S", "patient", 5, now=1000)
    assert links.show("session", "share", 1000 + KEPT_S - 1).link == "https://a/#S"
    assert "#S" not in repr(links.show("session", "share", 1000))
    with pytest.raises(NotFound):
        links.show("other", "share", 1000)
    with pytest.raises(NotFound):
        links.show("session", "share", 1000 + KEPT_S)
    assert not links._links


def test_waiting_links_are_capped():
    links = PendingLinks()
    for number in range(MAX_LINKS):
        links.keep("session", str(number), "l", "p", 5, now=0)
    with pytest.raises(Unavailable, match="links_waiting"):
        links.keep("session", "more", "l", "p", 5, now=0)
    links.keep("session", "later", "l", "p", 5, now=KEPT_S)


def test_metrics_of_others_are_read_by_shape():
    text = '# HELP x y\npraxis_calls_total{outcome="answered"} 12.0\npraxis_calls_created 1.7e9\npraxis_open 3.0\nother 1\n'
    assert list(read_samples(text)) == [Sample("calls_total", "answered", 12), Sample("open", "", 3)]


def test_code_squares_are_those_of_the_library():
    import segno

    link = "https://praxis-0123abcd.example/#" + "A" * 44
    squares = qr_squares(link)
    matrix = segno.make_qr(link, error="m", boost_error=False).matrix
    dark = {(x + step, y) for x, y, width in squares.runs for step in range(width)}
    assert dark == {(x, y) for y, row in enumerate(matrix) for x, value in enumerate(row) if value}
