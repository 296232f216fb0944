"""The button on a demo's box: writes the kernel's input events (linux/input.h) into the pipe that stands for it."""

from __future__ import annotations

from pathlib import Path

from appliance.demo.processes import leader
from appliance.demo.tree import BUTTON
from appliance.presence.button import EV_KEY, EVENT, HOLD_S, KEY_POWER


def hold_button(state: Path, *, held_s: float = HOLD_S) -> None:
    """Hold the button of the box on `state`, by the events' own times; waits for who reads it."""
    path = Path(f"/proc/{leader(state)}/root") / BUTTON.lstrip("/")
    events = [(1000.0, 1), (1000.0 + held_s, 0)]
    path.write_bytes(
        b"".join(EVENT.pack(int(at_s), round(at_s % 1 * 1e6), EV_KEY, KEY_POWER, value) for at_s, value in events)
    )
