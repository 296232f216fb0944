"""One line for one act: a share of many documents is one thing that somebody did."""

from appliance.contracts.audit import Entry
from appliance.contracts.records import HistoryEntry
from appliance.practice.history import lines


def entry(
    index: int, action: str, share: str = "", document: str = "", title: str = "", actor: str = "a"
) -> HistoryEntry:
    return HistoryEntry(Entry(index, 1000 + index, "vault", action, actor, "p", document, share), "Muster", title)


def test_the_documents_of_one_share_are_one_line_in_the_order_they_were_ticked():
    newest_first = [entry(3, "share_made", "s", "d3", "Drei"), entry(2, "share_made", "s", "d2", "Zwei")]
    newest_first += [entry(1, "share_made", "s", "d1", ""), entry(0, "patient_made")]
    one, other = lines(newest_first)
    assert (one.newest.entry.index, one.titles, one.erased) == (3, ["Zwei", "Drei"], 1)
    assert (other.newest.entry.index, other.titles, other.erased) == (0, [], 0)


def test_other_acts_shares_and_people_keep_lines_of_their_own():
    apart = [
        entry(6, "share_made", "s", "d1"),
        entry(5, "share_made", "t", "d1"),
        entry(4, "share_made", "t", "d2", actor="b"),
        entry(3, "share_pin_wrong", "t"),
        entry(2, "share_pin_wrong", "t"),
        entry(1, "document_read", "", "d1"),
        entry(0, "document_read", "", "d1"),
    ]
    assert [line.newest for line in lines(apart)] == apart


def test_no_entries_are_no_lines():
    assert lines([]) == []
