"""A box of its own processes and a hostile portal that it trusts, for what is said on a control connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.formats import tunnel_control as control
from tests.attacks.conversation import Conversation
from tests.attacks.malicious_portal import MaliciousPortal, Talk, behave, malicious_portal
from tests.simulators.outer_box import QUICK, OuterBox, outer_box

SEED = 20260512
FUZZED = 50
#: More than a flood may leave in a process: its buffers are a few hundred kilobytes, the rest is the allocator's.
GROWTH_KIB = 24 * 1024
SETTINGS = {**QUICK, "dial_timeout_s": 1.0, "max_connections": 32}


@dataclass
class Scene:
    portal: MaliciousPortal
    box: OuterBox

    async def attack(self, talk: Talk, *, proofs: int, ends: bool = True) -> None:
        """Have the next conversation go this way; `proofs`: how many the box may give in it."""
        work, sessions, proved = len(self.portal.work), len(self.portal.sessions), len(self.box.vault.proofs)
        self.portal.talk = talk
        if sessions:
            self.portal.sessions[-1].line.close()
        attacked = await self.portal.session(sessions)
        self.portal.talk = behave
        await self.portal.until(attacked.ended.is_set)
        failures, self.portal.failures = self.portal.failures, []
        assert not failures, failures
        assert len(self.box.vault.proofs) - proved <= proofs + (len(self.portal.sessions) - sessions - 1)
        assert len(self.portal.work) == work, "a work connection was opened"
        await self.stands()

    async def stands(self) -> None:
        """The box lives, and is connected again."""
        await self.portal.until(
            lambda: self.portal.sessions[-1].accepted and not self.portal.sessions[-1].ended.is_set()
        )
        await self.box.until("connected")
        self.box.assert_alive()


@asynccontextmanager
async def control_scene(folder: Path) -> AsyncIterator[Scene]:
    """Run both, connected."""
    async with (
        malicious_portal(folder / "portal") as portal,
        outer_box(folder / "box", portal.port, portal.authority_path, tunnel=SETTINGS) as box,
    ):
        await box.until("connected")
        yield Scene(portal, box)


def reach(when: str, then: Callable[[Conversation], object]) -> Talk:
    """A conversation that is good up to this point."""

    async def talk(conversation: Conversation) -> None:
        await conversation.opened()
        if when != "before the proof":
            await conversation.ask_for_proof()
        if when == "accepted":
            await conversation.say(control.Accepted())
        await then(conversation)  # type: ignore[misc]
        assert await conversation.gone()

    return talk


def saying(*frames: bytes) -> Callable[[Conversation], object]:
    return lambda conversation: conversation.say(*frames)
