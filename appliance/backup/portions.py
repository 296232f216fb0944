"""The 256 folders of sealed files in sixteen portions: what is fetched at a time, and tested in a night. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.contracts.snapshots import FOLDERS

PORTIONS = 16


def portion_of(number: int) -> list[str]:
    """Give one sixteenth of the 256 folders."""
    return list(FOLDERS)[number % PORTIONS :: PORTIONS]


def in_portions(folders: Sequence[str]) -> list[list[str]]:
    """Give the folders in at most sixteen portions of like size."""
    ordered = sorted(folders)
    return [portion for number in range(PORTIONS) if (portion := ordered[number::PORTIONS])]
