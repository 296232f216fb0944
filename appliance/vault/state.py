"""What vault remembers. Pure; its bytes are in state_file.py, and store.py reads and writes them."""

from __future__ import annotations

import msgspec

from appliance.vault.kit import Kits
from appliance.vault.shares import Share
from appliance.vault.staff import Accounts


class BoxFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this box is; the contract's Box without what is computed."""

    box: str
    serial: str
    page_host: str
    page_port: int
    lan_host: str
    lan_port: int
    portal_address: str
    portal_name: str
    portal_ca: str
    provisioned: bool = False
    practice_name: str = ""
    telephone: str = ""
    #: Gone once the box is claimed.
    claim_verifier: bytes | None = None
    #: Of the code that is printed on the handover sheet: a part of the right to reset the box, for as long as it is.
    printed_code: bytes | None = None


class ComputerName(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the practice calls a computer, and since when it is paired."""

    label: str
    since: int


class PageKeyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A public key of the page (SubjectPublicKeyInfo, DER), and since when."""

    public_key: bytes
    since: int


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it. `seen_at` is the latest time that vault has seen."""

    box: BoxFacts
    seen_at: int = 0
    accounts: Accounts = Accounts()
    shares: dict[str, Share] = {}
    #: Somebody locked the box, and it stays locked over a start.
    locked: bool = False
    #: Names of paired computers; the spare code has none.
    computers: dict[str, ComputerName] = {}
    kits: Kits = Kits()
    #: The page's keys, the present one first.
    page_keys: tuple[PageKeyRecord, ...] = ()
