"""The journal: what a process may say, as event codes and numbers.

Rule (docs/threats.md, A27): no free text, no name, no identifier of a patient, document, share or session.
An event is a code written in the source; its fields are integers or codes. Anything else is a bug and ends the
process, because a log that may hold anything will.
"""

from __future__ import annotations

import re
import sys

from systemd import journal

CODE = re.compile(r"[a-z][a-z0-9_]{0,47}\Z")
PRIORITIES = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3, "alert": 1}


def say(event: str, *, priority: str = "info", **fields: int | str) -> None:
    """Write one event to the journal.

    `event` and every text field must be a snake_case code of at most 48 characters; numbers are integers.
    Raises ValueError for anything else. Source: systemd.journal-fields(7).
    """
    parts = [event]
    for name, value in fields.items():
        if not isinstance(value, int) and not CODE.match(value):
            raise ValueError("a journal field must be a number or a code")
        parts.append(f"{name}={int(value) if isinstance(value, int) else value}")
    if not CODE.match(event):
        raise ValueError("a journal event must be a code")
    line = " ".join(parts)
    try:
        journal.send(line, PRIORITY=str(PRIORITIES[priority]), PRAXIS_EVENT=event)
    except OSError:  # no journal here (a unit test): standard error is the same stream on a box
        print(line, file=sys.stderr)
