"""What every answer stands on: the opened keys, the state, the clock, the audit log, the live sessions.

Before Provision there are no keys and no state: every use of them is Unavailable("unprovisioned"). A vault that could
not open them is shut: every use is Unavailable("shut"), and `shut_because` is the reason.
One that waits for somebody to open it is locked: every use is Unavailable("locked"), and `waits_for` says for what.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from appliance.core.journal import say
from appliance.vault import shares, staff
from appliance.vault.audit_log import AuditLog
from appliance.vault.boot_files import check_secure_boot, read_boot_policy, read_holders
from appliance.vault.clock import Clock
from appliance.vault.erasure_slots import ErasureKey
from appliance.vault.files import write_synced
from appliance.vault.hierarchy import KEY_BYTES, ErasureKeys, Keys
from appliance.vault.keys import (
    NeedsUnlocking,
    OpenedKeys,
    Unlocked,
    change_unlocking,
    make_keys,
    open_keys,
    read_key_file,
    seal_for,
    unlock_keys,
    write_key_file,
)
from appliance.vault.kit_publication import publish_kit
from appliance.vault.passwords import Passwords
from appliance.vault.reset import (
    BEGUN_MARK,
    CLEARED_MARK,
    RESETTING,
    ResetRight,
    read_reset_right,
    reset_right,
    write_reset_right,
)
from appliance.vault.sessions import Sessions, StaffSession
from appliance.vault.settings import VaultSettings
from appliance.vault.slow_down import SlowDown
from appliance.vault.state import State
from appliance.vault.store import Change, Store
from appliance.vault.tpm import Tpm
from appliance.vault.unlock import Unlock

PROVISIONED_MARK = "provisioned"
#: Tells a start not even to open the keys. Taking it away opens nothing: the state says it too.
LOCKED_MARK = "locked"
HOUSEKEEPING_INTERVAL_S = 60.0
#: How old the latest time in the state may be on a quiet box.
CLOCK_KEEPING_S = 3600
#: How long after its time a share's secrets are destroyed at the latest; until then its time alone keeps it shut. All
#: that ended within it costs one step of the TPM's counter.
SETTLING_S = 3600


class Vault:
    """One vault; `open_vault` makes it."""

    def __init__(self, settings: VaultSettings, tpm: Tpm, storage_root: bytes, audit: AuditLog, clock: Clock) -> None:
        self.tpm = tpm
        self.storage_root = storage_root
        #: The code of what kept it from opening; "" where nothing did.
        self.shut_because = ""
        #: What it waits for: "password", "pin" or "computer"; "" where it waits for nothing.
        self.waits_for = ""
        #: Set when somebody locked the box: the process ends then, and its memory with it.
        self.ends = asyncio.Event()
        self.audit = audit
        self.sessions = Sessions()
        self.passwords = Passwords()
        self.slow_down = SlowDown()
        self.clock = clock
        #: When each device was last used, until housekeeping puts it into the state.
        self.devices_used_at: dict[str, int] = {}
        self._settings = settings
        self._folder = Path(settings.state)
        self._opened: OpenedKeys | None = None
        self._store: Store | None = None
        self._settled_at = 0
        self._opening_changed = asyncio.Event()
        self._unlocking = asyncio.Lock()
        self._reset_right: ResetRight | None = None
        self._turning = asyncio.Lock()

    @property
    def is_made(self) -> bool:
        """True once there are keys."""
        return self._store is not None

    @property
    def keys(self) -> OpenedKeys:
        """The keys."""
        if self._opened is None:
            raise self._not_open()
        return self._opened

    @property
    def store(self) -> Store:
        """The state's store."""
        if self._store is None:
            raise self._not_open()
        return self._store

    @property
    def state(self) -> State:
        """The latest state."""
        return self.store.state

    def now(self) -> int:
        """Give the time."""
        return self.clock.now()

    async def change(self, change: Change) -> State:
        """Change the state, synced (Store.change)."""
        changed = await self.store.change(change)
        self._keep_reset_right(changed)
        return changed

    def check_change(self, change: Callable[[State, int], object]) -> None:
        """Raise what the change would raise now; used before the audit entry that must come first."""
        change(self.state, self.now())

    def staff_session(self, token: str) -> StaffSession:
        """Give the live session of a member of staff; Refused("session"), also for a device."""
        session = self.sessions.check(token, self.now(), touch=False)
        if session.principal not in self.state.accounts.members:
            raise Refused("session")
        return session

    def _not_open(self) -> Unavailable:
        if self.shut_because:
            return Unavailable("shut")
        return Unavailable("locked" if self.waits_for else "unprovisioned")

    async def open(self) -> None:
        """Open keys and state, if this box has been made; where they do not open, be shut."""
        try:
            await self._open()
        except NeedsUnlocking as error:
            self.waits_for = error.way
        except Tampered as error:
            self._be_shut(error)

    async def _open(self) -> None:
        if (self._folder / BEGUN_MARK).exists() or (self._folder / CLEARED_MARK).exists():
            await self._go_on_with_reset()
            return
        if (self._folder / LOCKED_MARK).exists():
            file = read_key_file(self._folder)
            if file is not None and file.unlock.way == "itself":  # not even opened: nothing of it comes into memory
                self.waits_for = "password"
                return
        opened = await self._open_keys(None)
        if opened is None:
            if (self._folder / PROVISIONED_MARK).exists():
                raise Tampered("key_file")
            return
        if (await Store.look(self._folder, opened.keys, self.tpm)).locked:  # somebody took the mark away
            await self._forget()
            self.waits_for = "password"
            return
        await self._begin_with(opened)

    async def _go_on_with_reset(self) -> None:
        """Clear the TPM, then leave the data to praxissafe-reset.service, which waits for the second mark."""
        if not (self._folder / CLEARED_MARK).exists():
            await self.tpm.clear()
            write_synced(self._folder / CLEARED_MARK, b"")
            say("tpm_cleared", priority="notice")
        self.shut_because = RESETTING

    def reset_right(self) -> ResetRight:
        """Give who may reset: by the state where it is open, else as it was last written down."""
        if self._store is not None:
            return reset_right(self.state)
        return read_reset_right(self._folder)

    def _keep_reset_right(self, state: State) -> None:
        """Write down for a locked or shut box who may reset it; without room the older word stays until a start."""
        right = reset_right(state)
        if right == self._reset_right:
            return
        try:
            write_reset_right(self._folder, right)
        except Unavailable:
            say("reset_right_not_written", priority="warning")
            return
        self._reset_right = right

    async def check_resettable(self) -> None:
        """Refused("clear_disabled"), ("clear_unauthorised") where the TPM cannot be cleared.

        Refused("reset_ticket") if a reset goes on.
        """
        if self.shut_because == RESETTING:
            raise Refused("reset_ticket")
        try:
            await self.tpm.check_clear()
        except Tampered as error:
            raise Refused(error.code) from error

    async def begin_reset(self) -> None:
        """Put the mark from which there is no way back, forget the keys, and end: the next start goes on.

        Unavailable("storage") before anything happened.
        """
        write_synced(self._folder / BEGUN_MARK, b"")
        self.shut_because = RESETTING
        self._opened = self._store = None
        self._note_opening("")
        self.ends.set()
        await self._forget()

    async def _open_keys(self, unlocked: Unlocked | None) -> OpenedKeys | None:
        policy = read_boot_policy(self._settings.boot_policy)
        return await open_keys(self.tpm, self.storage_root, self._folder, policy, unlocked)

    async def _begin_with(self, opened: OpenedKeys) -> None:
        self._store = await Store.open(self._folder, opened.keys, self.clock, self.tpm)
        self._opened = opened
        try:
            await self.tpm.keep_clearable(opened.keys.lockout_authorisation)
        except Tampered as error:  # no reason to keep a practice from its documents
            say(error.code, priority="warning")
        await self.keep_house(starting=True)
        if self.state.box.provisioned:
            self.mark_provisioned()

    def _be_shut(self, error: Tampered) -> None:
        self._opened = self._store = None
        self.shut_because = error.code
        say(error.code, priority="alert")
        self._note_opening("")

    def _note_opening(self, waits_for: str) -> None:
        self.waits_for = waits_for
        self._opening_changed.set()
        self._opening_changed = asyncio.Event()

    async def wait_for_change(self, timeout_s: float) -> None:
        """Wait until vault opens, is locked or shut, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._opening_changed.wait()

    async def _forget(self) -> None:
        self._opened = self._store = None
        self.sessions, self.devices_used_at = Sessions(), {}
        await self.tpm.forget()

    async def lock(self) -> None:
        """Forget the keys, whatever the disk says to it; under "itself" the lock outlives a start."""
        way = self.keys.way
        try:
            if way == "itself":
                await self.change(lambda state, _: replace(state, locked=True))
                write_synced(self._folder / LOCKED_MARK, b"")
        finally:
            self._opened = self._store = None
            self._note_opening("password" if way == "itself" else way)
            self.ends.set()
            await self._forget()

    async def unlock_by_password(self, prove: Callable[[State], Awaitable[str]]) -> None:
        """Open a box that somebody locked; `prove` raises, or gives the member whose password it was."""
        async with self._unlocking:
            self._check_waits_for("password")
            async with self._trying():
                opened = await self._open_keys(None)
                if opened is None:
                    raise Tampered("key_file")
                member = await prove(await Store.look(self._folder, opened.keys, self.tpm))
                await self._unlock(opened, member)

    async def unlock_by_computer(self, secret: str, pin: str | None) -> None:
        """Open a box that waits for a paired computer, and the PIN if it is the way (keys.unlock_keys)."""
        async with self._unlocking:
            self._check_waits_for("pin", "computer")
            async with self._trying():
                opened = await self._open_keys(await unlock_keys(self.tpm, self._folder, secret, pin))
                if opened is None:
                    raise Tampered("key_file")
                if opened.way == "pin":
                    await self.tpm.forgive_tries(opened.keys.lockout_authorisation)
                await self._unlock(opened, None)

    @contextlib.asynccontextmanager
    async def _trying(self) -> AsyncIterator[None]:
        """Forget what a failed try has opened."""
        try:
            yield
        except Tampered as error:
            await self._forget()
            self._be_shut(error)
            raise Unavailable("shut") from error
        except BaseException:
            await self._forget()
            raise

    def _check_waits_for(self, *ways: str) -> None:
        if self.waits_for not in ways:
            raise Refused("unlocked")

    async def _unlock(self, opened: OpenedKeys, member: str | None) -> None:
        await self.audit.append("box_unlocked", actor=member)
        await self._begin_with(opened)
        await self.change(lambda state, _: replace(state, locked=False) if state.locked else state)
        (self._folder / LOCKED_MARK).unlink(missing_ok=True)
        self._note_opening("")

    async def change_unlocking(self, new: Unlocked, how: Unlock) -> None:
        """Change how the box is opened; the root key stays (keys.change_unlocking)."""
        opened = self.keys
        policy = read_boot_policy(self._settings.boot_policy)
        await change_unlocking(self.tpm, self._folder, policy, opened.unlocked, new, how)
        self._opened = dataclasses.replace(opened, unlocked=new, way=how.way)

    def unlocking(self) -> Unlock:
        """Give how the box is opened, from the key file."""
        file = read_key_file(self._folder)
        if file is None:
            raise self._not_open()
        return file.unlock

    async def begin(self, state: State) -> None:
        """Begin the box with fresh keys: first the state, then the key file, then the TPM is ours.

        Refused("secure_boot") without it; what make_keys raises.
        """
        if self.shut_because or self.waits_for:
            raise self._not_open()
        check_secure_boot(self._settings.firmware_variables)
        policy, holders = read_boot_policy(self._settings.boot_policy), read_holders(self._settings.release_keys)
        made = await make_keys(self.tpm, self.storage_root, policy, holders)
        store = await Store.make(self._folder, made.opened.keys, self.clock, self.tpm, state)
        write_key_file(self._folder, made.file)
        await self.tpm.own(made.opened.keys.owner_authorisation)
        self._opened, self._store = made.opened, store
        self._keep_reset_right(state)
        self._note_opening("")

    async def begin_turn(self, generation: int) -> None:
        """Make the erasure key of the next generation; the present one stays until `finish_turn`.

        Nothing happens if it was made before. Invalid("generation") for any other than the newest or the next.
        """
        async with self._turning:
            keys = self.keys.keys
            if generation == keys.newest.generation:
                return
            if len(keys.erasure) > 1 or generation != keys.newest.generation + 1:
                raise Invalid("generation")
            made = ErasureKey(generation, secrets.token_bytes(KEY_BYTES))
            await self.tpm.write_erasure_key(made, keys.erasure_authorisation)
            await self._use(dataclasses.replace(keys, erasure=(*keys.erasure, ErasureKeys.of(made))))

    async def finish_turn(self, generation: int) -> None:
        """Wrap the state anew, then destroy the erasure key before this one: records has nothing under it any more.

        Nothing happens if it was destroyed before. Invalid("generation"), Unavailable("storage").
        """
        async with self._turning:
            keys = self.keys.keys
            if generation != keys.newest.generation:
                raise Invalid("generation")
            if len(keys.erasure) > 1:
                await self.store.rewrap()
                await self.tpm.destroy_erasure_key(keys.erasure[0].generation, keys.erasure_authorisation)
                await self._use(dataclasses.replace(keys, erasure=keys.erasure[1:]))

    async def _use(self, keys: Keys) -> None:
        self._opened = dataclasses.replace(self.keys, keys=keys)
        await self.store.use(keys)

    async def seal_for(self, coming: list[bytes]) -> None:
        """Seal the root key for PCR 7 as it is and as it may become, and for the holders of this release."""
        policy, holders = read_boot_policy(self._settings.boot_policy), read_holders(self._settings.release_keys)
        await seal_for(self.tpm, self._folder, policy, holders, coming)

    async def raise_floor(self) -> int:
        """Shut this box for releases before the present one's security epoch, for good; give the epoch."""
        epoch = read_boot_policy(self._settings.boot_policy).epoch
        await self.tpm.raise_floor(self.keys.keys.floor_authorisation, epoch)
        return epoch

    def mark_provisioned(self) -> None:
        """Put the mark that starts the rest of the box (systemd/praxis-provisioned.path)."""
        mark = self._folder / PROVISIONED_MARK
        if not mark.exists():
            write_synced(mark, b"", mode=0o644)

    async def keep_house(self, *, starting: bool = False) -> None:
        """Do what time does: expire and forget, and keep when devices were used and how late it is."""
        used_at, self.devices_used_at = self.devices_used_at, {}
        settles = starting or self.now() - self._settled_at >= SETTLING_S

        def settle(state: State, now: int) -> State:
            accounts = staff.settle(staff.note_use(state.accounts, used_at), now)
            kept = shares.settle(state.shares, now, starting=starting) if settles else state.shares
            late = now - state.seen_at >= CLOCK_KEEPING_S
            if accounts is state.accounts and kept is state.shares and not late:
                return state
            return replace(state, accounts=accounts, shares=dict(kept))

        self.sessions.settle(self.now())
        await self.change(settle)
        if settles:
            self._settled_at = self.now()
        self.publish_kit()

    def publish_kit(self) -> None:
        """Say outside which recovery kit is in use."""
        publish_kit(self._folder, self.state)

    async def keep_house_for_ever(self) -> None:
        """Keep house once a minute; a full disk is no reason to end."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            if self.is_made:
                try:
                    await self.keep_house()
                except Unavailable:
                    continue


@asynccontextmanager
async def open_vault(settings: VaultSettings, audit: AuditLog, clock: Clock) -> AsyncIterator[Vault]:
    """Connect to the TPM and open the vault; closes both."""
    tpm = Tpm(settings.tcti)
    try:
        storage_root = await tpm.open()
        vault = Vault(settings, tpm, storage_root, audit, clock)
        await vault.open()
        yield vault
    finally:
        await tpm.close()
