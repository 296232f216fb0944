"""The audit log's lines: one spelling, one chain, and a mark that survives a torn write."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import Invalid, Tampered
from appliance.formats.audit_log import (
    MARK_SLOT_OFFSETS,
    MAX_LINE_BYTES,
    Chain,
    LogEntry,
    Mark,
    decode_entry,
    decode_marks,
    encode_entry,
    encode_header,
    encode_mark,
)

HEADER = encode_header(bytes(range(16)))
pseudonyms = st.one_of(st.just(""), st.binary(min_size=16, max_size=16).map(bytes.hex))
entries = st.fixed_dictionaries(
    {
        "at": st.integers(0, 1 << 40),
        "process": st.sampled_from(["vault", "records"]),
        "action": st.sampled_from(["document_added", "share_opened"]),
        "actor": pseudonyms,
        "patient": pseudonyms,
        "document": pseudonyms,
        "share": pseudonyms,
    }
)


def lines_of(values):
    chain = Chain(HEADER)
    return [chain.continue_with(**value) for value in values]


def follows(lines):
    chain = Chain(HEADER)
    for line in lines:
        chain.follow(line)
    return chain


@given(st.lists(entries, max_size=8))
def test_what_was_written_follows(values):
    lines = lines_of(values)
    chain = follows(lines)
    assert chain.entries == len(values)
    assert chain.head == hashlib.sha256(lines[-1] if lines else HEADER).digest()
    assert all(len(line) <= MAX_LINE_BYTES for line in lines)


@given(st.lists(entries, min_size=2, max_size=8), st.data())
@settings(max_examples=300)
def test_any_edit_delete_or_reorder_before_the_head_is_found(values, data):
    lines = lines_of(values)
    head = follows(lines).head
    place = data.draw(st.integers(0, len(lines) - 2), "place")
    change = data.draw(st.sampled_from(["edit", "delete", "swap", "repeat", "rewrite"]), "change")
    changed = list(lines)
    if change == "edit":
        line = bytearray(lines[place])
        line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
        changed[place] = bytes(line)
    elif change == "delete":
        del changed[place]
    elif change == "swap":
        other = data.draw(st.integers(place + 1, len(lines) - 1))
        changed[place], changed[other] = changed[other], changed[place]
    elif change == "repeat":
        changed.insert(place, lines[place])
    else:  # a well-formed line in its place, with the right index and predecessor
        entry = decode_entry(lines[place])
        changed[place] = encode_entry(
            LogEntry(
                index=entry.index,
                at=entry.at,
                process=entry.process,
                action="share_closed",
                previous=entry.previous,
            )
        )
    try:
        found = follows(changed).head != head
    except Tampered:
        found = True
    assert found


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        b"\xff\n",
        b'{"index": 0}\n',
        lines_of([{"at": 1, "process": "vault", "action": "box_claimed"}])[0][:-1],
        lines_of([{"at": 1, "process": "vault", "action": "box_claimed"}])[0].replace(b'"at":1', b'"at": 1'),
        lines_of([{"at": 1, "process": "vault", "action": "box_claimed"}])[0].replace(b'"at":1', b'"at":1,"note":""'),
    ],
)
def test_another_spelling_is_tampered(line):
    with pytest.raises(Tampered):
        decode_entry(line)


@pytest.mark.parametrize("text", ["Anna Schmidt", "x" * 49, "Ä", "a\n", ""])
def test_no_free_text_gets_into_an_entry(text):
    with pytest.raises(Invalid):
        Chain(HEADER).continue_with(at=1, process="records", action=text)
    if text:
        with pytest.raises(Invalid):
            Chain(HEADER).continue_with(at=1, process="records", action="patient_made", patient=text)


def test_time_never_falls_behind_the_entry_before():
    chain = Chain(HEADER)
    chain.continue_with(at=100, process="vault", action="box_claimed")
    line = chain.continue_with(at=50, process="vault", action="staff_logged_in")
    assert decode_entry(line).at == 100


@pytest.mark.parametrize(
    "header", [b"", b"{}\n", HEADER[:-1], HEADER.replace(b" 1", b" 2"), HEADER.replace(b":", b": ")]
)
def test_a_log_without_its_header_is_tampered(header):
    with pytest.raises(Tampered):
        Chain(header)


def test_a_torn_mark_leaves_the_other_one():
    old, new = Mark(3, 900, bytes(32)), Mark(4, 1200, bytes([1] * 32))
    file = bytearray(MARK_SLOT_OFFSETS[1] + len(encode_mark(new)))
    file[: len(encode_mark(old))] = encode_mark(old)
    file[MARK_SLOT_OFFSETS[1] :] = encode_mark(new)
    assert decode_marks(bytes(file)) == new
    file[MARK_SLOT_OFFSETS[1] + 20] ^= 1
    assert decode_marks(bytes(file)) == old
    file[5] ^= 1
    with pytest.raises(Tampered):
        decode_marks(bytes(file))
