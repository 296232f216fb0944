"""de.praxissafe.Vault: the keys, the tries, the staff. Operations, never keys (one exception: OpenDatabase)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from appliance.contracts.values import (
    MAX_SHARE_DOCUMENTS,
    Bytes32,
    HostName,
    Id,
    OptionalName,
    Password,
    PersonName,
    Pin,
    Seconds,
    ShareState,
    Token,
)
from appliance.core.varlink import Call, Done, Interface


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of this interface's values."""


# --- the box ---------------------------------------------------------------------------------------------------


class Box(Struct):
    """Who this box is. `box` is random, made once; hosts are where patients and staff reach it.

    `portal_address` is host:port to dial, `portal_name` the TLS name there, `portal_ca` the PEM of the only authority
    it may be signed by. `practice_name` and `telephone` are shown to patients; empty until claimed.
    """

    box: Id
    page_host: HostName
    page_port: int
    lan_host: HostName
    lan_port: int
    portal_address: str
    portal_name: HostName
    portal_ca: str
    provisioned: bool
    claimed: bool
    practice_name: str
    telephone: str


class Describe(Call[Box]):
    """Say who this box is; Unavailable("unprovisioned") before Provision."""

    reply: ClassVar = Box
    callers: ClassVar = frozenset({"records", "practice", "gateway", "tunnel", "enrol", "root"})


class NewBox(Struct):
    """What the technician's bench needs: the public device key (SubjectPublicKeyInfo DER) and the claim code.

    The claim code is given here and nowhere else; a repeated Provision makes a new one and voids the old.
    """

    box: Id
    device_key: bytes
    claim_code: str
    serial: str


class Provision(Call[NewBox]):
    """Make the keys, once; before FinishProvisioning it may be repeated and then keeps the keys.

    Host names may hold `{box}`, which stands for the first 8 digits of the box. Refused("provisioned") afterwards.
    """

    reply: ClassVar = NewBox
    callers: ClassVar = frozenset({"enrol"})

    page_host: Annotated[str, msgspec.Meta(max_length=253)]
    page_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    lan_host: Annotated[str, msgspec.Meta(max_length=253)]
    lan_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    portal_address: Annotated[str, msgspec.Meta(min_length=3, max_length=300)]
    portal_name: HostName
    portal_ca: Annotated[str, msgspec.Meta(min_length=1, max_length=16384)]
    serial: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9-]{4,32}$")]


class FinishProvisioning(Call[Done]):
    """Close enrolment for good (the portal knows the box now)."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"enrol"})


class DeviceProof(Struct):
    """ECDSA P-256 SHA-256 signature, DER, over the context that docs/formats/tunnel.md gives."""

    box: Id
    signature: bytes


class ProveDevice(Call[DeviceProof]):
    """Prove this device to its portal in this channel; signs nothing else."""

    reply: ClassVar = DeviceProof
    callers: ClassVar = frozenset({"tunnel"})

    nonce: Bytes32
    portal_certificate_sha256: Bytes32


# --- this TPM (docs/formats/attestation.md) ----------------------------------------------------------------------


class TpmIdentity(Struct):
    """Who the TPM says it is: its maker's certificate, what that leads through, and two keys (TPMT_PUBLIC)."""

    endorsement_certificate: bytes
    endorsement_chain: bytes
    attestation_key: bytes
    device_key: bytes


class IdentifyTpm(Call[TpmIdentity]):
    """Say who this TPM is, until FinishProvisioning; Refused("provisioned").

    NotFound("endorsement_certificate") for a TPM that its maker gave none.
    """

    reply: ClassVar = TpmIdentity
    callers: ClassVar = frozenset({"enrol"})


class TpmEvidence(Struct):
    """The credential's secret, and statements of the TPM (TPMS_ATTEST) with their signatures (TPMT_SIGNATURE)."""

    secret: Bytes32
    certification: bytes
    certification_signature: bytes
    quote: bytes
    quote_signature: bytes
    pcrs: list[Bytes32]


class ProveTpm(Call[TpmEvidence]):
    """Prove to this box's portal that the device key lives in this TPM, until FinishProvisioning.

    Refused("provisioned"), Tampered("credential") for a question that was made for another TPM.
    """

    reply: ClassVar = TpmEvidence
    callers: ClassVar = frozenset({"enrol"})

    credential: Annotated[bytes, msgspec.Meta(min_length=1, max_length=256)]
    encrypted_seed: Annotated[bytes, msgspec.Meta(min_length=1, max_length=256)]
    nonce: Bytes32


# --- this boot and the keys ------------------------------------------------------------------------------------


class Opening(Struct):
    """Whether the keys are open. `why` is the code of what keeps vault shut (docs/formats/boot-policy.md), or "".

    "locked": vault waits for somebody, and `why` is for what: "password", "pin" (and a paired computer), "computer".
    """

    state: Literal["unprovisioned", "open", "shut", "locked"]
    why: Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{0,40}$")]


class DescribeOpening(Call[Opening]):
    """Say whether the keys are open, and if not, why; always answered."""

    reply: ClassVar = Opening
    callers: ClassVar = frozenset({"practice", "root"})


class SealForSecureBoot(Call[Done]):
    """Seal the root key for PCR 7 as it is and for these values that it may have after a change of the firmware.

    Replaces what was foreseen before.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"root"})

    coming: Annotated[list[Bytes32], msgspec.Meta(max_length=7)]


class Floor(Struct):
    """The lowest security epoch of a release that opens this box."""

    epoch: int


class RaiseFloor(Call[Floor]):
    """Shut this box, for good, for releases of an earlier security epoch than the present one's."""

    reply: ClassVar = Floor
    callers: ClassVar = frozenset({"root"})


# --- locking, and how the box is opened ------------------------------------------------------------------------

UnlockWay = Literal["itself", "pin", "computer"]
#: What a paired computer keeps, or the spare code on paper.
ComputerSecret = Annotated[str, msgspec.Meta(min_length=20, max_length=64)]


class WatchOpening(Call[Opening]):
    """Say it as DescribeOpening does, as soon as it is no longer `state`, or after a while although it still is."""

    reply: ClassVar = Opening
    callers: ClassVar = frozenset({"certificate", "records", "practice", "gateway", "backup"})

    state: Literal["unprovisioned", "open", "shut", "locked"]


class Lock(Call[Done]):
    """Forget the keys now: whoever watches ends its work, sessions end, and vault's process with its memory."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token


class UnlockByPassword(Call[Done]):
    """Open a locked box that opens by itself otherwise. Refused("login"), Unavailable("slow_down", wait_s).

    Refused("unlocked") if it is open or waits for something else.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    name: PersonName
    password: Password


class UnlockByComputer(Call[Done]):
    """Open the box with the secret of a paired computer, or the spare code, and the PIN if it is the way.

    Refused("computer") for any other secret, before the TPM hears of it; Refused("unlock_pin", tries_left);
    Unavailable("pin_lockout", wait_s); Refused("unlocked").
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    secret: ComputerSecret
    pin: Pin | None = None


class Tries(Struct):
    """PINs that the TPM still takes, and how long until it gives one back; 0 where none is missing."""

    left: int
    wait_s: int


class ReadTries(Call[Tries]):
    """Say how many PINs the TPM still takes."""

    reply: ClassVar = Tries
    callers: ClassVar = frozenset({"practice"})


class Computer(Struct):
    """A paired computer, or the spare code on paper (no label)."""

    computer: Id
    label: OptionalName
    since: Seconds


class Unlocking(Struct):
    """How the box is opened after a start."""

    way: UnlockWay
    computers: list[Computer]


class DescribeUnlocking(Call[Unlocking]):
    """Say how the box is opened."""

    reply: ClassVar = Unlocking
    callers: ClassVar = frozenset({"practice"})

    session: Token


class NewUnlocking(Struct):
    """The spare code, given here and nowhere else; "" under "itself"."""

    spare: str


class ChooseUnlocking(Call[NewUnlocking]):
    """Choose how the box is opened; other ways than "itself" count once AcceptUnlocking has heard the code's end.

    `pin` for "pin" alone. Another choice, an hour, or a restart of vault ends one that was not accepted.
    Refused("login"), Invalid("pin").
    """

    reply: ClassVar = NewUnlocking
    callers: ClassVar = frozenset({"practice"})

    session: Token
    password: Password
    way: UnlockWay
    label: PersonName
    pin: Pin | None = None


class PairedComputer(Struct):
    """The secret for the browser that asked."""

    secret: str


class AcceptUnlocking(Call[PairedComputer]):
    """Say the last five characters of the spare code on paper: the choice counts, and the asking browser is paired.

    The root key stays, its parts are new; older key files are dead, and computers that were paired before are
    forgotten. NotFound("unlocking_choice") if none waits, Refused("spare_code").
    """

    reply: ClassVar = PairedComputer
    callers: ClassVar = frozenset({"practice"})

    session: Token
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class PairComputer(Call[PairedComputer]):
    """Pair one more. Invalid("unlocking") under "itself", Unavailable("computers_full"), Refused("login")."""

    reply: ClassVar = PairedComputer
    callers: ClassVar = frozenset({"practice"})

    session: Token
    password: Password
    label: PersonName


class RemoveComputer(Call[Done]):
    """End a pairing; what the others share is new. NotFound("computer"), Invalid("last_computer")."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token
    computer: Id


# --- factory reset (docs/decisions/factory-reset.md) ------------------------------------------------------------


class NotePresence(Call[Done]):
    """Say that somebody held the box's own button just now; vault remembers it for two minutes."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"presence"})


class BegunReset(Struct):
    """What FinishReset takes for the right that was proven; good for 15 minutes, and for this process of vault."""

    ticket: Token


#: The words of a sheet of the kit, as typed; "" where the code is given.
ResetSheet = Annotated[str, msgspec.Meta(max_length=1024)]


class BeginReset(Call[BegunReset]):
    """Prove the right to reset: the code of the handover sheet, or any two sheets of the kit in use. Changes nothing.

    Answered whether the box is open, locked or shut, without a session. Refused("reset_code"), Refused("reset_kit"),
    Refused("reset_nothing") where there is no box yet, Unavailable("slow_down", wait_s); of the words what
    BeginRestore says. Invalid("reset_right") unless it is the code or the two sheets.
    """

    reply: ClassVar = BegunReset
    callers: ClassVar = frozenset({"practice"})

    code: Annotated[str, msgspec.Meta(max_length=64)] = ""
    first: ResetSheet = ""
    second: ResetSheet = ""


class FinishReset(Call[Done]):
    """Destroy the box's keys and data, for good. Once this is answered no power cut ends it.

    Refused("reset_ticket"), Refused("reset_presence") unless the button was held within the last two minutes,
    Refused("clear_disabled"), Refused("clear_unauthorised") where the TPM cannot be cleared.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    ticket: Token


# --- the records' keys -----------------------------------------------------------------------------------------


class DatabaseKey(Struct):
    """The raw SQLCipher key, the one key that leaves vault (SQLCipher needs it in memory)."""

    key: Bytes32


class OpenDatabase(Call[DatabaseKey]):
    """Give records the key of its database."""

    reply: ClassVar = DatabaseKey
    callers: ClassVar = frozenset({"records"})


#: AES-256-GCM: nonce ‖ ciphertext ‖ tag.
Wrapped = Annotated[bytes, msgspec.Meta(min_length=60, max_length=60)]
Generation = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class WrappedKey(Struct):
    """A document key under an erasure key, bound to its document. The erasure key turns: `generation` says which."""

    wrapped: Wrapped
    generation: Generation


class WrapDocumentKey(Call[WrappedKey]):
    """Wrap a new document key: AES-256-GCM, nonce ‖ ciphertext ‖ tag, associated data the document."""

    reply: ClassVar = WrappedKey
    callers: ClassVar = frozenset({"records"})

    document: Id
    key: Bytes32


class DocumentKey(Struct):
    """A document key in the clear."""

    key: Bytes32


class UnwrapDocumentKey(Call[DocumentKey]):
    """Unwrap; Tampered("document_key") if it is not the key of this document or was erased.

    Unavailable("key_turned") if the erasure key has turned since: the row holds another wrapping by now.
    """

    reply: ClassVar = DocumentKey
    callers: ClassVar = frozenset({"records"})

    document: Id
    wrapped: Wrapped
    generation: Generation


# --- the erasure key turns -------------------------------------------------------------------------------------

MAX_TURNED_KEYS = 4000


class ErasureGenerations(Struct):
    """The generations of the erasure key that the box has: one, or two while it turns."""

    oldest: Generation
    newest: Generation


class NameErasureGenerations(Call[ErasureGenerations]):
    """Name the generations, for records to see whether its database is of today, and whether a turn is under way."""

    reply: ClassVar = ErasureGenerations
    callers: ClassVar = frozenset({"records"})


class BeginTurn(Call[Done]):
    """Make the erasure key of the next generation, beside the present one; new keys are wrapped under it from now.

    Asked again it changes nothing. Invalid, code `generation`, for any but the newest or the next.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"records"})

    generation: Generation


class TurningKey(Struct):
    """A document's key as its row has it, under the generation before the newest."""

    document: Id
    wrapped: Wrapped


class TurnedKeys(Struct):
    """The same keys under the newest generation, in the same order; None for what does not open."""

    wrapped: list[Wrapped | None]


class TurnDocumentKeys(Call[TurnedKeys]):
    """Wrap document keys anew; none is seen in the clear outside vault. Invalid, code `generation`, if none turns."""

    reply: ClassVar = TurnedKeys
    callers: ClassVar = frozenset({"records"})

    documents: Annotated[list[TurningKey], msgspec.Meta(min_length=1, max_length=MAX_TURNED_KEYS)]


class FinishTurn(Call[Done]):
    """Every row is synced under this generation: destroy the erasure key before it, once the state is wrapped anew.

    Asked again it changes nothing. Unavailable("storage"); Invalid, code `generation`, for any but the newest.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"records"})

    generation: Generation


# --- shares ----------------------------------------------------------------------------------------------------


class NewShare(Struct):
    """The half of the manifest's key that vault keeps. The PIN is not here: see ReadPin."""

    share: Id
    r: Bytes32
    expires_at: Seconds


class MakeShare(Call[NewShare]):
    """Begin a share: makes `r` and a PIN. It opens nothing until PublishShare.

    `patient` and `documents` are pseudonyms for the audit log and for RevokeSharesOf.
    """

    reply: ClassVar = NewShare
    callers: ClassVar = frozenset({"records"})

    session: Token
    proof_verifier: Bytes32
    patient: Id
    documents: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=MAX_SHARE_DOCUMENTS)]
    valid_s: Annotated[int, msgspec.Meta(ge=60, le=90 * 86400)]
    pin_digits: Annotated[int, msgspec.Meta(ge=6, le=8)] = 6


class PublishShare(Call[Done]):
    """Say that the sealed share lies in the spool; from now on it can be opened."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"records"})

    session: Token
    share: Id


class SharePin(Struct):
    """The PIN to print."""

    pin: Pin


class ReadPin(Call[SharePin]):
    """Give the PIN until ConfirmPin; then Refused("pin_printed"). Only to a session of the staff that made it."""

    reply: ClassVar = SharePin
    callers: ClassVar = frozenset({"practice"})

    session: Token
    share: Id


class ConfirmPin(Call[Done]):
    """The slip is printed: forget the PIN, keep only its verifier."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token
    share: Id


class ShareStatus(Struct):
    """What staff see of a share."""

    share: Id
    patient: Id
    documents: list[Id]
    state: ShareState
    made_at: Seconds
    expires_at: Seconds
    tries_left: int
    opened: int
    last_opened_at: Seconds
    pin_printed: bool


class Shares(Struct):
    """A page of shares, newest first, and how many there are in all (ended ones are kept 90 days)."""

    shares: list[ShareStatus]
    total: int


class ListShares(Call[Shares]):
    """List shares, newest first: of one patient, one share, only those that have ended or not, if given."""

    reply: ClassVar = Shares
    callers: ClassVar = frozenset({"records"})

    session: Token
    patient: Id | None = None
    share: Id | None = None
    ended: bool | None = None
    after: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100


class LiveShares(Struct):
    """The shares that can be opened, or will be when they are published."""

    shares: list[Id]


class NameLiveShares(Call[LiveShares]):
    """Name what may lie in the spool, for records' sweep: no session, and nothing but identifiers."""

    reply: ClassVar = LiveShares
    callers: ClassVar = frozenset({"records"})


class RevokeShare(Call[Done]):
    """Destroy `r` of a share; the state stays as a tombstone. NotFound("share")."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"records"})

    session: Token
    share: Id


class RevokedShares(Struct):
    """The shares that were ended."""

    shares: list[Id]


class RevokeSharesOf(Call[RevokedShares]):
    """Destroy `r` of every share that names the document (it is being erased)."""

    reply: ClassVar = RevokedShares
    callers: ClassVar = frozenset({"records"})

    session: Token
    document: Id


class RevokeRequestedSince(Call[RevokedShares]):
    """Destroy `r` of every share that was tried or opened since then, or with `every` of every one that is open.

    The member proves the password again: Refused("login"), Unavailable("slow_down"). What was revoked since then is
    named again, so a call that broke off can be repeated. Unavailable("audit_away"): the shares have ended all the
    same.
    """

    reply: ClassVar = RevokedShares
    callers: ClassVar = frozenset({"practice"})

    session: Token
    password: Password
    since: Seconds
    every: bool = False


class PatientView(Struct):
    """What the holder of a link may know: its state, the tries left, whom to call. `r` only after a right PIN."""

    state: ShareState
    tries_left: int
    practice_name: str
    telephone: str
    box: Id
    expires_at: Seconds
    r: Bytes32 | None = None


class ShowShare(Call[PatientView]):
    """Tell the holder of the link its state; changes nothing. NotFound("share") without a valid proof."""

    reply: ClassVar = PatientView
    callers: ClassVar = frozenset({"gateway"})

    proof: Bytes32


class OpenShare(Call[PatientView]):
    """Take the try (state synced), compare, write the audit entry, then give `r`.

    Expiry is enforced first. NotFound("share") without a valid proof, and no try is counted then.
    """

    reply: ClassVar = PatientView
    callers: ClassVar = frozenset({"gateway"})

    proof: Bytes32
    pin: Pin


# --- staff and devices -----------------------------------------------------------------------------------------


class Session(Struct):
    """Who a token speaks for. `principal` is random per member of staff or device; the CSRF secret is per session."""

    kind: Literal["staff", "device"]
    principal: Id
    name: str
    idle_s_left: int
    csrf: str = ""


class NewSession(Struct):
    """A session's bearer token; it lives in vault's memory only."""

    session: Token
    idle_timeout_s: int


class Claim(Call[NewSession]):
    """Claim the box with the printed code: the first member of staff. Refused("claim_code"/"claimed").

    Password: Invalid("password_short") under 12 characters. Wrong codes are slowed down, not counted out.
    """

    reply: ClassVar = NewSession
    callers: ClassVar = frozenset({"practice"})

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    name: PersonName
    password: Password
    practice_name: PersonName
    telephone: Annotated[str, msgspec.Meta(min_length=3, max_length=40)]


class LogIn(Call[NewSession]):
    """Check name and password (Argon2id). Refused("login") for any mismatch; Unavailable("slow_down", wait_s)."""

    reply: ClassVar = NewSession
    callers: ClassVar = frozenset({"practice"})

    name: PersonName
    password: Password


class CheckSession(Call[Session]):
    """Say who a token speaks for; Refused("session") if ended, locked by idling, or unknown.

    `touch` counts as activity: set for what a person did, not for polling.
    """

    reply: ClassVar = Session
    callers: ClassVar = frozenset({"practice", "records", "backup"})

    session: Token
    touch: bool = True


class LogOut(Call[Done]):
    """End a session."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token


class ChangePassword(Call[Done]):
    """Change the own password; ends the member's other sessions. Refused("login"), Invalid("password_short")."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token
    old_password: Password
    new_password: Password


class Invitation(Struct):
    """A one-time code, 7 days valid, given on paper or in person."""

    code: str
    expires_at: Seconds


class InviteStaff(Call[Invitation]):
    """Invite a member of staff by name. Invalid("name_taken")."""

    reply: ClassVar = Invitation
    callers: ClassVar = frozenset({"practice"})

    session: Token
    name: PersonName


class AcceptInvitation(Call[NewSession]):
    """Become a member of staff. Refused("invitation"), Invalid("password_short")."""

    reply: ClassVar = NewSession
    callers: ClassVar = frozenset({"practice"})

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    password: Password


class StaffMember(Struct):
    """A member of staff, or an invitation that nobody accepted yet."""

    principal: Id
    name: str
    since: Seconds
    invited: bool


class Device(Struct):
    """A practice software's token: what it is called and when it was last used."""

    principal: Id
    label: str
    since: Seconds
    last_used_at: Seconds


class Accounts(Struct):
    """Who may use the box."""

    staff: list[StaffMember]
    devices: list[Device]


class ListAccounts(Call[Accounts]):
    """List staff, invitations and devices."""

    reply: ClassVar = Accounts
    callers: ClassVar = frozenset({"practice"})

    session: Token


class RemoveStaff(Call[Done]):
    """Remove a member or an invitation; ends the sessions. Invalid("last_member") for the last one."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token
    principal: Id


class NewDevice(Struct):
    """The token of a practice software, given here and nowhere else."""

    principal: Id
    token: Token


class CreateDeviceToken(Call[NewDevice]):
    """Make a token that may add documents and read none."""

    reply: ClassVar = NewDevice
    callers: ClassVar = frozenset({"practice"})

    session: Token
    label: PersonName


class RevokeDeviceToken(Call[Done]):
    """End a device token. NotFound("device")."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token
    principal: Id


# --- the recovery kit ------------------------------------------------------------------------------------------

#: One of the three sheets.
SheetNumber = Annotated[int, msgspec.Meta(ge=1, le=3)]
#: A word as typed: whole, or its first four letters.
TypedWord = Annotated[str, msgspec.Meta(max_length=64)]
#: The words of a sheet as typed or scanned.
TypedSheet = Annotated[str, msgspec.Meta(max_length=4096)]
#: The number of a backup generation; a later one has a higher number.
GenerationNumber = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
SealedBundle = Annotated[bytes, msgspec.Meta(min_length=1, max_length=2048)]


class NewKit(Struct):
    """A kit that nobody has accepted yet: the words of its three sheets, given here and nowhere else.

    `asked` are the numbers of the words that AcceptKitSheet asks back, `checked` those of each later check.
    """

    kit: Id
    name: str
    sheets: list[str]
    asked: list[int]
    checked: list[int]


class MakeKit(Call[NewKit]):
    """Make a recovery kit; it counts once AcceptKitSheet has heard words of each sheet. Refused("login"), slow_down.

    The member proves the password again. vault forgets the words with this answer; making another one, an hour, or a
    restart of vault ends a kit that was not accepted.
    """

    reply: ClassVar = NewKit
    callers: ClassVar = frozenset({"practice"})

    session: Token
    password: Password


class KitAcceptance(Struct):
    """The sheets whose words are still to be said; none: the kit is in use."""

    sheets_left: list[int]


class AcceptKitSheet(Call[KitAcceptance]):
    """Say the asked words of a printed sheet. Refused("kit_words"), NotFound("kit") if it is not waiting any more."""

    reply: ClassVar = KitAcceptance
    callers: ClassVar = frozenset({"practice"})

    session: Token
    kit: Id
    sheet: SheetNumber
    words: Annotated[list[TypedWord], msgspec.Meta(min_length=2, max_length=2)]


class SealedGeneration(Struct):
    """A generation and when its keys were sealed."""

    generation: int
    sealed_at: Seconds


class OldKit(Struct):
    """A kit that was replaced, and the generations that it still opens."""

    name: str
    made_at: Seconds
    replaced_at: Seconds
    generations: list[SealedGeneration]


class KitState(Struct):
    """The kit in use ("" and 0 if there is none): when each sheet was last checked, whether a check is due."""

    name: str
    made_at: Seconds
    checked_at: list[Seconds]
    due: bool
    checked: list[int]
    generations: list[SealedGeneration]
    old: list[OldKit]
    #: Since when old keys are held for a restore; 0: no restore is under way.
    restoring_since: Seconds


class DescribeKit(Call[KitState]):
    """Say how it stands with the recovery kit."""

    reply: ClassVar = KitState
    callers: ClassVar = frozenset({"practice"})

    session: Token


class CheckKitSheet(Call[Done]):
    """Check three words of a sheet, always the same. Refused: kit_words, kit_other_sheet, kit_replaced, no_kit."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    session: Token
    sheet: SheetNumber
    words: Annotated[list[TypedWord], msgspec.Meta(min_length=3, max_length=3)]


class GenerationKeys(Struct):
    """The bundle to keep with a generation. `keys` changes with the keys that wrap document keys."""

    bundle: SealedBundle
    kit: Id
    sealed_at: Seconds
    keys: Id


class SealGeneration(Call[GenerationKeys]):
    """Seal the keys as they are now to the kit. Refused("no_kit"), Refused("generation_used").

    If `keys` is not what it was before the snapshot (ReadKeysMark), the snapshot spans a change: take it again.
    """

    reply: ClassVar = GenerationKeys
    callers: ClassVar = frozenset({"backup"})

    generation: GenerationNumber


class KeysMark(Struct):
    """What changes when the keys that wrap document keys change; says nothing else of them."""

    keys: Id


class ReadKeysMark(Call[KeysMark]):
    """Say which keys wrap document keys now."""

    reply: ClassVar = KeysMark
    callers: ClassVar = frozenset({"backup"})


class KeepGenerations(Call[Done]):
    """Say which generations still exist in any repository; vault forgets the others."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"backup"})

    existing: Annotated[list[GenerationNumber], msgspec.Meta(max_length=10_000)]


class RepositoryPassword(Struct):
    """The password of the backup's repository, which opens sealed generations only; it follows from the kit.

    `earlier`: those of the kits before, newest first. A repository that one of them opens gets the new one too.
    """

    kit: Id
    password: str
    earlier: list[str] = []


class ReadRepositoryPassword(Call[RepositoryPassword]):
    """Give the repository's password: of the kit in use, or, with `old`, of the kit whose sheets began a restore.

    Refused("no_kit"), Refused("no_restore").
    """

    reply: ClassVar = RepositoryPassword
    callers: ClassVar = frozenset({"backup"})

    old: bool = False


class ErasedListProof(Struct):
    """HMAC-SHA256 of a list of what was erased, under the kit in use; "" of 0 bytes without a kit."""

    proof: Annotated[bytes, msgspec.Meta(max_length=32)]


class ProveErasedList(Call[ErasedListProof]):
    """Prove that this box wrote a list of what was erased: whoever holds two sheets of its kit can check it."""

    reply: ClassVar = ErasedListProof
    callers: ClassVar = frozenset({"records"})

    digest: Bytes32


class CheckErasedList(Call[Done]):
    """Check such a proof by the kit whose sheets began a restore. Tampered("erased_list"), Refused("no_restore")."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"records"})

    digest: Bytes32
    proof: Bytes32


class BegunRestore(Struct):
    """The kit whose sheets were read."""

    kit: Id
    name: str


class BeginRestore(Call[BegunRestore]):
    """Read two sheets of a kit and hold what follows from them until EndRestore, 12 hours, or vault's end.

    The member proves the password again. Invalid: kit_word_count, kit_word_unknown, kit_word_wrong (sheet, word),
    kit_words_wrong, kit_sheet_foreign, kit_same_sheet, kit_sheets_differ, kit_sheets_wrong.
    """

    reply: ClassVar = BegunRestore
    callers: ClassVar = frozenset({"practice"})

    session: Token
    password: Password
    first: TypedSheet
    second: TypedSheet


class OpenedGeneration(Struct):
    """Whose generation it is. `box` is what the old box was called: its documents are bound to it."""

    box: Id
    generation: int
    sealed_at: Seconds


class OpenGeneration(Call[OpenedGeneration]):
    """Open a bundle; its keys are held with the restore, in place of an earlier one's.

    Refused("no_restore"), Refused("bundle_of_other_kit"), Tampered("bundle"), Invalid("bundle_version").
    """

    reply: ClassVar = OpenedGeneration
    callers: ClassVar = frozenset({"records"})

    bundle: SealedBundle


class OpenOldDatabase(Call[DatabaseKey]):
    """Give records the key of the database that is being restored. Refused("no_restore")."""

    reply: ClassVar = DatabaseKey
    callers: ClassVar = frozenset({"records"})


class OldDocumentKey(Struct):
    """A document key as the old box wrapped it."""

    document: Id
    wrapped: Wrapped


class RewrappedKeys(Struct):
    """The same keys under this box's newest erasure key, in the same order; None for one that does not open."""

    wrapped: list[Wrapped | None]
    generation: Generation


class RewrapOldDocumentKeys(Call[RewrappedKeys]):
    """Wrap the old box's document keys for this box; none is given in the clear.

    Refused("no_restore"). A key that was lost on the old box already costs its document and no other.
    """

    reply: ClassVar = RewrappedKeys
    callers: ClassVar = frozenset({"records"})

    documents: Annotated[list[OldDocumentKey], msgspec.Meta(max_length=2000)]


class EndRestore(Call[Done]):
    """Forget the old keys; a second time changes nothing."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"records", "practice"})


VAULT = Interface.of(
    "de.praxissafe.Vault",
    __file__,
    Describe,
    Provision,
    FinishProvisioning,
    ProveDevice,
    IdentifyTpm,
    ProveTpm,
    OpenDatabase,
    WrapDocumentKey,
    UnwrapDocumentKey,
    NameErasureGenerations,
    BeginTurn,
    TurnDocumentKeys,
    FinishTurn,
    MakeShare,
    PublishShare,
    ReadPin,
    ConfirmPin,
    ListShares,
    NameLiveShares,
    RevokeShare,
    RevokeSharesOf,
    RevokeRequestedSince,
    ShowShare,
    OpenShare,
    Claim,
    LogIn,
    CheckSession,
    LogOut,
    ChangePassword,
    InviteStaff,
    AcceptInvitation,
    ListAccounts,
    RemoveStaff,
    CreateDeviceToken,
    RevokeDeviceToken,
    DescribeOpening,
    SealForSecureBoot,
    RaiseFloor,
    WatchOpening,
    Lock,
    UnlockByPassword,
    UnlockByComputer,
    ReadTries,
    NotePresence,
    BeginReset,
    FinishReset,
    DescribeUnlocking,
    ChooseUnlocking,
    AcceptUnlocking,
    PairComputer,
    RemoveComputer,
    MakeKit,
    AcceptKitSheet,
    DescribeKit,
    CheckKitSheet,
    SealGeneration,
    ReadKeysMark,
    KeepGenerations,
    ReadRepositoryPassword,
    ProveErasedList,
    CheckErasedList,
    BeginRestore,
    OpenGeneration,
    OpenOldDatabase,
    RewrapOldDocumentKeys,
    EndRestore,
)
