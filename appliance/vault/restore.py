"""The old keys that vault holds for the time of a restore: in memory only, and no longer than it takes. Pure.

They come from two sheets of a kit that a member of staff typed after proving the password, and end with EndRestore,
after 12 hours, or with vault's process. What they open is given to records alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.core.errors import Refused
from appliance.formats.kit_key import KitSeed, OldKeys, open_bundle

LONGEST_S = 12 * 3600


@dataclass(frozen=True)
class _Held:
    seed: KitSeed = field(repr=False)
    since: int
    old: OldKeys | None = field(default=None, repr=False)


class Restore:
    """At most one restore at a time; a new beginning replaces it."""

    def __init__(self) -> None:
        self._held: _Held | None = None

    def begin(self, seed: KitSeed, now: int) -> None:
        """Hold what follows from a kit's seed."""
        self._held = _Held(seed, now)

    def end(self) -> bool:
        """Forget; say whether there was anything to forget."""
        held, self._held = self._held, None
        return held is not None

    def since(self, now: int) -> int:
        """Give when it began; 0 if there is none."""
        return self._held.since if self._held and now < self._held.since + LONGEST_S else 0

    def seed(self, now: int) -> KitSeed:
        """Give the kit's seed in its parts; Refused("no_restore")."""
        return self._live(now).seed

    def open(self, bundle: bytes, now: int) -> OldKeys:
        """Open a bundle and hold its keys."""
        held = self._live(now)
        old = open_bundle(held.seed, bundle)
        self._held = _Held(held.seed, held.since, old)
        return old

    def old(self, now: int) -> OldKeys:
        """Give the keys of the generation that was opened; Refused("no_restore")."""
        old = self._live(now).old
        if old is None:
            raise Refused("no_restore")
        return old

    def _live(self, now: int) -> _Held:
        if self._held is None or not self.since(now):
            self._held = None
            raise Refused("no_restore")
        return self._held
