"""What is done and what is missing, for every box: a table for people, a list for programs. Pure.

A failure that the last run ended with is said with its advice below the table. No claim code is ever shown here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from provisioning.station.progress import STEPS, Progress, next_step, state_of
from provisioning.station.texts import Texts

COMMANDS = {"printed": "sheet", "handed_over": "hand_over"}


@dataclass(frozen=True)
class Row:
    """One serial: `progress` is None if its state file cannot be read."""

    serial: str
    progress: Progress | None


def command_for(progress: Progress) -> str:
    """Give the word for what to do next with a box."""
    step = next_step(progress)
    if step is None:
        return "nothing"
    return COMMANDS.get(step, "resume" if progress.done else "enrol")


def json_of(rows: Sequence[Row]) -> str:
    """Give the list for programs: docs/formats/station-state.md."""
    return msgspec.json.encode([_plain(row) for row in rows]).decode()


def table_of(rows: Sequence[Row], t: Texts) -> str:
    """Give the table for people, with the advice for each failure below."""
    if not rows:
        return t("table.nobody")
    head = [t(f"table.{name}") for name in ("serial", "box", *STEPS, "tpm", "next")]
    lines = [head, *(_cells(row, t) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    table = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([*table, *_advice(rows, t)])


def _cells(row: Row, t: Texts) -> list[str]:
    progress = row.progress
    if progress is None:
        return [row.serial, "", *("?" for _ in STEPS), "?", t("table.damaged")]
    states = [t(f"table.{state_of(progress, step)}") for step in STEPS]
    return [
        row.serial,
        progress.box[:8],
        *states,
        progress.tpm or t("table.missing"),
        t(f"table.next_{command_for(progress)}"),
    ]


def _advice(rows: Sequence[Row], t: Texts) -> list[str]:
    lines: list[str] = []
    for row in rows:
        failure = row.progress.failure if row.progress else None
        if row.progress is None:
            found = t.advice("state", {"serial": row.serial})
        elif failure is not None:
            found = t.advice(failure.code, dict(failure.facts))
        else:
            continue
        lines += ["", f"{row.serial}: {found.what} {found.todo}"]
    return lines


def _plain(row: Row) -> dict[str, object]:
    progress = row.progress
    if progress is None:
        return {"serial": row.serial, "damaged": True}
    failure = progress.failure
    return {
        "serial": row.serial,
        "damaged": False,
        "box": progress.box,
        "device_fingerprint": progress.device_fingerprint,
        "endorsement_fingerprint": progress.endorsement_fingerprint,
        "tpm": progress.tpm,
        "steps": [{"step": step, "state": state_of(progress, step), "at": progress.done.get(step)} for step in STEPS],
        "failure": None if failure is None else msgspec.to_builtins(failure),
        "next": command_for(progress),
    }
