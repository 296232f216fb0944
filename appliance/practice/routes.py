"""What people and practice software may ask, the whole table. docs/formats/practice-http.md lists it."""

from __future__ import annotations

from aiohttp import web

from appliance.practice.account_routes import AccountRoutes
from appliance.practice.backup_routes import BackupRoutes
from appliance.practice.box_routes import BoxRoutes
from appliance.practice.desk import Desk
from appliance.practice.document_routes import DocumentRoutes
from appliance.practice.earlier_routes import EarlierRoutes
from appliance.practice.entry_routes import EntryRoutes
from appliance.practice.guard import MAX_FORM_BYTES, MAX_FORM_FIELDS, add_headers
from appliance.practice.intake import Intake
from appliance.practice.internet_routes import InternetRoutes
from appliance.practice.kit_routes import KitRoutes
from appliance.practice.lock_routes import LockRoutes
from appliance.practice.page_key_routes import PageKeyRoutes
from appliance.practice.patient_routes import PatientRoutes
from appliance.practice.reset_page import ResetPages
from appliance.practice.restore_routes import RestoreRoutes
from appliance.practice.search_routes import SearchRoutes
from appliance.practice.share_routes import ShareRoutes
from appliance.practice.uploads import Uploads


def make_application(desk: Desk) -> web.Application:
    """Make the application: every route behind the guard, every answer with its headers."""
    settings = desk.settings
    uploads = Uploads(desk.peers.records, max_uploads=settings.max_uploads, stall_timeout_s=settings.stall_timeout_s)
    application = web.Application(
        middlewares=[desk.guard.watch], client_max_size=MAX_FORM_BYTES, client_max_fields=MAX_FORM_FIELDS
    )
    for part in (
        EntryRoutes(desk),
        PatientRoutes(desk),
        SearchRoutes(desk),
        DocumentRoutes(desk, uploads),
        EarlierRoutes(desk),
        ShareRoutes(desk),
        AccountRoutes(desk),
        LockRoutes(desk),
        BoxRoutes(desk),
        InternetRoutes(desk),
        PageKeyRoutes(desk),
        KitRoutes(desk),
        BackupRoutes(desk),
        RestoreRoutes(desk),
        ResetPages(desk.peers.vault, desk.pages.texts),
        Intake(desk, uploads),
    ):
        application.add_routes(part.table())
    application.on_response_prepare.append(add_headers)
    return application
