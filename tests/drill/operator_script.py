"""What the person does who sets up a replacement box, as steps with the time they take: printed beside the report.

Times are by the keystroke-level model (Card, Moran, Newell: The Psychology of Human-Computer Interaction, 1983, table
8.1): an average typist's key 0.28 s, pointing 1.1 s, pressing the button 0.1 s, hands from keyboard to mouse 0.4 s,
thinking 1.35 s. Reading a word off the paper is a thought for every four words. Waiting for the box is not among them:
the report measures that.
"""

from __future__ import annotations

from dataclasses import dataclass

KEY_S, POINT_S, CLICK_S, HOME_S, THINK_S = 0.28, 1.1, 0.1, 0.4, 1.35
LETTERS_OF_A_WORD = 4
WORDS_AT_A_GLANCE = 4
GOAL_S = 180.0


@dataclass(frozen=True)
class Step:
    """What to do, and for how long hands and eyes are at it."""

    text: str
    took_s: float


def typed(text: str) -> float:
    """Type one field: point to it, think, type."""
    return THINK_S + POINT_S + CLICK_S + HOME_S + len(text) * KEY_S + HOME_S


def sheet(words: list[str]) -> float:
    """Type a sheet by the first letters of its words."""
    keys = sum(min(LETTERS_OF_A_WORD, len(word)) for word in words)
    return THINK_S * len(words) / WORDS_AT_A_GLANCE + POINT_S + CLICK_S + 2 * HOME_S + keys * KEY_S


def pressed() -> float:
    """Press a button or choose one."""
    return THINK_S + POINT_S + CLICK_S


def script(sheets: list[list[str]], place: str, password: str, old_box: str, shares: int) -> list[Step]:
    """Give the steps, in their order, of a box that is enrolled, claimed and logged in at."""
    steps = [
        Step("Plug the disk with the copies into the new box.", 10.0),
        Step("Open Backup, then \u201creplacement box\u201d.", 2 * pressed()),
        *(
            Step(
                f"Type sheet {number}: the first four letters of each word, with nothing between them.", sheet(words)
            )
            for number, words in enumerate(sheets, start=1)
        ),
        Step("Type your password; go on.", typed(password) + pressed()),
        Step("Choose USB disk, type its name; go on.", pressed() + typed(place) + pressed()),
        Step("The newest copy is chosen already; start.", pressed()),
        Step(f"Tell the vendor that the box {old_box[:8]} is to be revoked.", 20.0),
    ]
    if shares:
        steps.append(Step(f"Make the {shares} open shares anew.", 2 * pressed()))
    return steps


def as_text(steps: list[Step]) -> str:
    """Give the script as it is printed."""
    lines = [f"{number:2}. {step.took_s:6.1f} s  {step.text}" for number, step in enumerate(steps, start=1)]
    return "\n".join([*lines, f"    {sum(step.took_s for step in steps):6.1f} s  in all (goal: under {GOAL_S:g} s)"])
