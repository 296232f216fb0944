"""Which requests are measured for which route of the practice's table, and which routes are left out, and why.

The table is the application's own: a route that stands in neither list fails a test, so that no page is forgotten.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_plus

from appliance.contracts.vault import Box
from appliance.practice.desk import Desk
from appliance.practice.guard import Guard, Host
from appliance.practice.pages import Pages
from appliance.practice.peers import Peers
from appliance.practice.pending_kits import PendingKits
from appliance.practice.pending_links import PendingLinks
from appliance.practice.routes import make_application
from appliance.practice.settings import PracticeSettings
from tests.scale.practice import RARE

Route = tuple[str, str]

NOT_MEASURED: dict[Route, str] = {
    ("POST", "/claim"): "once in a box's life; Argon2id is slow on purpose",
    ("POST", "/login"): "Argon2id is slow on purpose",
    ("POST", "/invitation"): "once for each member of staff; Argon2id is slow on purpose",
    ("POST", "/password"): "Argon2id is slow on purpose",
    ("POST", "/logout"): "ends the session that measures; touches nothing that grows",
    ("POST", "/staff/invite"): "touches nothing that grows with patients or documents",
    ("POST", "/staff/{principal}/remove"): "touches nothing that grows with patients or documents",
    ("POST", "/devices/new"): "touches nothing that grows with patients or documents",
    ("POST", "/devices/{principal}/revoke"): "touches nothing that grows with patients or documents",
    ("POST", "/lock"): "ends the box's work that measures; touches nothing that grows",
    ("POST", "/unlocking"): "Argon2id and the TPM are slow on purpose",
    ("POST", "/unlocking/accept"): "the TPM is slow on purpose",
    ("POST", "/unlocking/pair"): "Argon2id and the TPM are slow on purpose",
    ("GET", "/unlocking/{computer}/remove"): "touches nothing that grows; a box that opens by itself has no computer",
    ("POST", "/unlocking/{computer}/remove"): "touches nothing that grows with patients or documents",
    ("POST", "/kit/new"): "once in a kit's life; Argon2id is slow on purpose",
    ("GET", "/kit/check"): "needs a kit; touches nothing that grows with patients or documents",
    ("POST", "/kit/check"): "touches nothing that grows with patients or documents",
    ("GET", "/kit/{kit}/print"): "while a kit is made; touches nothing that grows with patients or documents",
    ("POST", "/kit/{kit}/print"): "while a kit is made; touches nothing that grows with patients or documents",
    ("GET", "/kit/{kit}/sheet.pdf"): "while a kit is made; touches nothing that grows with patients or documents",
    ("GET", "/backup/progress"): "the page of /backup, loaded by itself",
    ("POST", "/backup/start"): "answers at once; the copy is made by another process",
    ("GET", "/backup/store"): "touches nothing that grows with patients or documents",
    ("POST", "/backup/store"): "waits for a place at another site",
    ("GET", "/backup/forget"): "needs a place; touches nothing that grows with patients or documents",
    ("POST", "/backup/forget"): "touches nothing that grows with patients or documents",
    ("GET", "/restore/progress"): "the page of /restore, loaded by itself",
    ("POST", "/restore/sheets"): "once in a box's life; Argon2id is slow on purpose",
    ("GET", "/restore/store"): "on an empty box",
    ("POST", "/restore/store"): "on an empty box; waits for a place at another site",
    ("POST", "/restore/generations"): "on an empty box; waits for a place at another site",
    ("POST", "/restore/start"): "once in a box's life, when it is empty",
    ("GET", "/restore/abandon"): "a question; touches nothing that grows",
    ("POST", "/restore/abandon"): "once in a box's life, before anybody uses it",
    ("POST", "/shares/earlier"): "after a restore only; as POST /patients/{patient}/shares, at most 50 times",
    ("POST", "/shares/earlier/drop"): "after a restore only",
    ("GET", "/status/internet"): "touches nothing that grows with patients or documents",
    ("POST", "/status/internet"): "waits for a proxy and for the portal behind it",
    ("GET", "/status/internet/remove"): "needs a proxy; touches nothing that grows with patients or documents",
    ("POST", "/status/internet/remove"): "touches nothing that grows with patients or documents",
    ("GET", "/status/page-key"): "touches nothing that grows with patients or documents",
    (
        "POST",
        "/status/page-key/replace",
    ): "once in a blue moon; Argon2id is slow on purpose, and each share ends with an entry",
    ("POST", "/status/page-key/acknowledge"): "touches nothing that grows with patients or documents",
    ("GET", "/reset"): "for everybody, without a question to anybody",
    ("POST", "/reset"): "touches nothing that grows with patients or documents",
    ("POST", "/reset/finish"): "ends the box that measures",
    ("PUT", "/intake/v1/documents"): "no page: practice software's way in",
    ("PUT", "/intake/v1/documents/{key}"): "no page: practice software's way in",
}


@dataclass
class Known:
    """What exists in the practice, to ask for."""

    patients: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    shares: list[str] = field(default_factory=list)
    long_file: str = ""
    no_file: str = ""
    principal: str = ""
    device: str = ""
    #: A share whose link waits to be printed, and one whose PIN does.
    link_waits: str = ""
    pin_waits: str = ""
    last_patients: int = 0
    last_live: int = 0
    last_ended: int = 0
    entries: int = 0


def pages(known: Known) -> dict[Route, dict[str, list[str]]]:
    """Give route -> what is asked -> paths, asked in turn."""
    patients, words = "/patients", "/documents?text="

    def search(*texts: str) -> list[str]:
        return [f"{patients}?text={quote_plus(text)}" for text in texts]

    def in_documents(*texts: str) -> list[str]:
        return [words + quote_plus(text) for text in texts]

    def each(path: str, ids: list[str]) -> list[str]:
        return [path.format(one) for one in ids]

    return {
        ("GET", "/"): {"start": ["/"]},
        ("GET", "/claim"): {"claim": ["/claim"]},
        ("GET", "/login"): {"log in": ["/login"]},
        ("GET", "/invitation"): {"invitation": ["/invitation"]},
        ("GET", "/locked"): {"locked": ["/locked"]},
        ("GET", "/language/{language}"): {"language": ["/language/de", "/language/en"]},
        ("GET", "/lan-ca.crt"): {"authority": ["/lan-ca.crt"]},
        ("GET", "/favicon.ico"): {"icon": ["/favicon.ico"]},
        ("GET", "/static/{name}"): {"style": ["/static/style.css"]},
        ("GET", "/patients"): {
            "patients, first page": [patients],
            "patients, middle page": [f"{patients}?after={known.last_patients // 100 * 50}"],
            "patients, last page": [f"{patients}?after={known.last_patients}"],
            "search, common name": search("müller", "mueller", "schmidt anna"),
            "search, one letter": search("m", "s", "a"),
            "search, common name, last page": [f"{patients}?text=m&after=1900"],
            "search, rare word": search(RARE.lower(), "rasumowsk"),
            "search, common word": search("befund", "befund knie", "arztbrief"),
            "search, common word of texts": search("meniskus", "größe", "patientin kontrolle"),
            "search, name and word": search("müller röntgenbild", "schmidt meniskus"),
            "search, nothing found": search("qqqq", "befund qqqq"),
            "search, birth date": [f"{patients}?text=12.03.1962", f"{patients}?birth_date=1.1.1970"],
        },
        ("GET", "/documents"): {
            "documents, no word": ["/documents"],
            "documents, common word": in_documents("befund", "laborbericht knie"),
            "documents, common word of texts": in_documents("meniskus", "der und die", "größe"),
            "documents, common word, middle page": [f"{words}befund&before=50000", f"{words}meniskus&before=50000"],
            "documents, common word, last page": [f"{words}befund&before=60", f"{words}meniskus&before=60"],
            "documents, rare word": in_documents(RARE.lower()),
            "documents, short beginnings": in_documents("be", "me kn", "a"),
            "documents, nothing found": in_documents("qqqq", "befund qqqq"),
        },
        ("GET", "/patients/new"): {"new patient": ["/patients/new"]},
        ("GET", "/patients/{patient}"): {
            "patient": each("/patients/{}", known.patients),
            "patient, 300 documents": [f"/patients/{known.long_file}"],
            "patient, no document": [f"/patients/{known.no_file}"],
            "patient, one kind": [f"/patients/{known.long_file}?kind=lab"],
        },
        ("GET", "/patients/{patient}/edit"): {"edit patient": each("/patients/{}/edit", known.patients)},
        ("GET", "/patients/{patient}/delete"): {
            "delete patient?": each("/patients/{}/delete", [*known.patients[:10], known.long_file])
        },
        ("GET", "/documents/{document}/open"): {"open document": each("/documents/{}/open", known.documents)},
        ("GET", "/documents/{document}/download"): {
            "download document": each("/documents/{}/download", known.documents)
        },
        ("GET", "/documents/{document}/delete"): {"delete document?": each("/documents/{}/delete", known.documents)},
        ("GET", "/shares"): {
            "shares, first page": ["/shares"],
            "shares, last page": [f"/shares?after={known.last_live}"],
            "shares, ended": ["/shares?ended=yes"],
            "shares, ended, last page": [f"/shares?ended=yes&after={known.last_ended}"],
        },
        ("GET", "/shares/earlier"): {"shares of the box before": ["/shares/earlier"]},
        ("GET", "/shares/earlier/print"): {"shares made anew, to print": ["/shares/earlier/print"]},
        ("GET", "/shares/{share}/link"): {"link": [f"/shares/{known.link_waits}/link"]},
        ("GET", "/shares/{share}/link-sheet.pdf"): {"link sheet": [f"/shares/{known.link_waits}/link-sheet.pdf"]},
        ("GET", "/shares/{share}/pin"): {"PIN": [f"/shares/{known.pin_waits}/pin"]},
        ("GET", "/shares/{share}/pin-slip.pdf"): {"PIN slip": [f"/shares/{known.pin_waits}/pin-slip.pdf"]},
        ("GET", "/shares/{share}/revoke"): {"revoke share?": each("/shares/{}/revoke", known.shares)},
        ("GET", "/staff"): {"staff": ["/staff"]},
        ("GET", "/staff/{principal}/remove"): {"remove staff?": [f"/staff/{known.principal}/remove"]},
        ("GET", "/backup"): {"backup": ["/backup"]},
        ("GET", "/restore"): {"restore": ["/restore"]},
        ("GET", "/kit"): {"emergency sheets": ["/kit"]},
        ("GET", "/devices"): {"devices": ["/devices"]},
        ("GET", "/devices/{principal}/revoke"): {"revoke device?": [f"/devices/{known.device}/revoke"]},
        ("GET", "/password"): {"password": ["/password"]},
        ("GET", "/lock"): {"lock?": ["/lock"]},
        ("GET", "/unlocking"): {"unlocking": ["/unlocking"]},
        ("GET", "/history"): {
            "history, first page": ["/history"],
            "history, middle page": [f"/history?before={known.entries // 2}"],
            "history, last page": ["/history?before=40"],
            "history, one patient": each("/history?patient={}", [*known.patients, known.long_file]),
        },
        ("GET", "/status"): {"status": ["/status"]},
    }


#: What changes something that grows; measured one after the other, each on what the one before made.
ACTIONS: tuple[Route, ...] = (
    ("POST", "/patients/new"),
    ("POST", "/patients/{patient}/edit"),
    ("POST", "/patients/{patient}/documents"),
    ("POST", "/patients/{patient}/shares"),
    ("POST", "/shares/{share}/link-printed"),
    ("POST", "/shares/{share}/pin-printed"),
    ("POST", "/shares/{share}/revoke"),
    ("POST", "/documents/{document}/delete"),
    ("POST", "/patients/{patient}/delete"),
)


async def table() -> set[Route]:
    """Give the practice's routes, as the application has them."""
    box = Box(
        box="0" * 32,
        page_host="a.example",
        page_port=443,
        lan_host="b.example",
        lan_port=443,
        portal_address="c.example:443",
        portal_name="c.example",
        portal_ca="",
        provisioned=True,
        claimed=True,
        practice_name="",
        telephone="",
    )
    peers, own, links = Peers(folder=Path("/nonexistent")), Pages(box), PendingLinks()
    kits = PendingKits()
    guard = Guard(Host(box), peers, own, links, kits)
    desk = Desk(PracticeSettings(), cast("Any", None), peers, own, links, kits, guard, time.time)
    application = make_application(desk)
    routes = {
        (route.method, route.resource.canonical)
        for route in application.router.routes()
        if route.resource is not None
    }
    return {route for route in routes if route[0] != "HEAD"}


def forgotten(routes: set[Route]) -> set[Route]:
    """Give the routes that are neither measured nor left out."""
    return routes - set(pages(Known())) - set(ACTIONS) - set(NOT_MEASURED)
