"""The audit log as people read it: one line for what one person did at once. Pure.

The log has an entry for each document of a share, so that none can be left out; on the page they are one line with
all titles. Nothing else is put together, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from appliance.contracts.records import HistoryEntry

#: What is written once for each document of one act.
PER_DOCUMENT = frozenset({"share_made"})


@dataclass(frozen=True)
class HistoryLine:
    """One line of the page: its newest entry's facts, and the titles of all its documents."""

    newest: HistoryEntry
    titles: list[str]
    #: Documents that are erased: they have no title any more.
    erased: int


def lines(entries: Iterable[HistoryEntry]) -> list[HistoryLine]:
    """Put neighbours of one share together; the order stays."""
    found: list[list[HistoryEntry]] = []
    for entry in entries:
        if found and _belong_together(found[-1][-1], entry):
            found[-1].append(entry)
        else:
            found.append([entry])
    return [_line(group) for group in found]


def _belong_together(one: HistoryEntry, other: HistoryEntry) -> bool:
    if one.entry.action not in PER_DOCUMENT or not one.entry.share:
        return False
    return (one.entry.action, one.entry.share, one.entry.actor) == (
        other.entry.action,
        other.entry.share,
        other.entry.actor,
    )


def _line(group: list[HistoryEntry]) -> HistoryLine:
    with_document = [item for item in group if item.entry.document]
    titles = [item.document_title for item in reversed(with_document) if item.document_title]
    return HistoryLine(group[0], titles, len(with_document) - len(titles))
