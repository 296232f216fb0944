"""Answers local calls: how the certificate is, renew it, replace its key."""

from __future__ import annotations

import time

from appliance.certificate.keeper import Keeper
from appliance.certificate.status import Status
from appliance.contracts.certificate import CertificateState, ReadState, Renew, ReplaceKey
from appliance.core.varlink import Answers, Caller, Done


def make_answers(keeper: Keeper, status: Status) -> Answers:
    """Give the table of de.praxissafe.Certificate."""

    async def answer_read_state(_: ReadState, __: Caller) -> CertificateState:
        return status.state(int(time.time()))

    async def answer_renew(_: Renew, __: Caller) -> Done:
        keeper.renew()
        return Done()

    async def answer_replace_key(_: ReplaceKey, __: Caller) -> Done:
        await keeper.replace_key()
        return Done()

    return {ReadState: answer_read_state, Renew: answer_renew, ReplaceKey: answer_replace_key}
