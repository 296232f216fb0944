"""`python -m appliance.certificate`: wires certificate together; no logic here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from appliance.certificate.answers import make_answers
from appliance.certificate.keeper import Keeper
from appliance.certificate.order import Ordering
from appliance.certificate.settings import CertificateSettings
from appliance.certificate.status import Status
from appliance.contracts.certificate import CERTIFICATE
from appliance.contracts.gateway import GATEWAY
from appliance.contracts.page_key import PAGE_KEY
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.tunnel import TUNNEL
from appliance.contracts.vault import VAULT
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, serve


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve local calls and keep the certificate."""
    settings = read_settings(CertificateSettings, "certificate")
    status = Status(settings.directory)
    gateway = Peer.of(GATEWAY, "gateway")
    ordering = Ordering(Peer.of(PAGE_KEY, "vault"), gateway, settings, status)
    keeper = Keeper(ordering, Peer.of(VAULT, "vault"), gateway, Peer.of(TUNNEL, "tunnel"), settings, status)
    async with asyncio.TaskGroup() as group:
        answers = [(CERTIFICATE, make_answers(keeper, status)), (PROCESS, PROCESS_ANSWERS)]
        group.create_task(serve(sockets["local"], answers))
        group.create_task(keeper.run())
        report_ready()


if __name__ == "__main__":
    run(main)
