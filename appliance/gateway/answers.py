"""Answers local calls: a patient's connection arrives, and what certificate asks."""

from __future__ import annotations

from appliance.contracts.gateway import TakeConnection
from appliance.core.varlink import Answers, Caller, Done
from appliance.gateway.certificate_answers import CertificateAnswers
from appliance.gateway.connections import Connections


def make_answers(connections: Connections, certificate: CertificateAnswers) -> Answers:
    """Give the table of de.praxissafe.Gateway."""

    async def answer_take_connection(_: TakeConnection, __: Caller, descriptor: int) -> Done:
        connections.take(descriptor)
        return Done()

    return {TakeConnection: answer_take_connection, **certificate.table()}
