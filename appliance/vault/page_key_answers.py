"""Answers of vault about the page's key: which keys are the page's, and the requests to its certificate authority.

Rules: an order is for this box's name; it is finalized for the page's present key only, so an older one (which may
have been stolen) gets no certificate any more; only an older key's certificate can be revoked.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from msgspec.structs import replace

from appliance.contracts.page_key import (
    MAX_PAGE_KEYS,
    AcmeAccount,
    ListPageKeys,
    PageKey,
    PageKeys,
    ReadAcmeAccount,
    RegisterPageKey,
    SignAcmeAccount,
    SignAcmeChallenge,
    SignAcmeFinalize,
    SignAcmeOrder,
    SignAcmeRead,
    SignAcmeRevocation,
    SignedRequest,
)
from appliance.core.errors import Invalid, Refused
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.acme import base64url
from appliance.formats.page_request import UNREADABLE, check_page_key, key_of_certificate, key_of_page_request
from appliance.vault.acme import Account
from appliance.vault.state import PageKeyRecord, State
from appliance.vault.vault import Vault

KEY_COMPROMISE = 1  # RFC 5280 section 5.3.1


class PageKeyAnswers:
    """Answers for the page's key."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def table(self) -> Answers:
        """Give every verb of de.praxissafe.PageKey."""
        return {
            RegisterPageKey: self.answer_register_page_key,
            ListPageKeys: self.answer_list_page_keys,
            ReadAcmeAccount: self.answer_read_acme_account,
            SignAcmeAccount: self.answer_sign_acme_account,
            SignAcmeOrder: self.answer_sign_acme_order,
            SignAcmeRead: self.answer_sign_acme_read,
            SignAcmeChallenge: self.answer_sign_acme_challenge,
            SignAcmeFinalize: self.answer_sign_acme_finalize,
            SignAcmeRevocation: self.answer_sign_acme_revocation,
        }

    async def answer_register_page_key(self, call: RegisterPageKey, _: Caller) -> Done:
        """Remember a key as the present one."""
        check_page_key(call.public_key)
        await self._vault.change(lambda state, now: with_page_key(state, call.public_key, now))
        return Done()

    async def answer_list_page_keys(self, _: ListPageKeys, __: Caller) -> PageKeys:
        """Name the keys."""
        state = self._vault.state
        keys = [PageKey(public_key=key.public_key, since=key.since) for key in state.page_keys]
        return PageKeys(page_host=state.box.page_host, keys=keys)

    async def answer_read_acme_account(self, call: ReadAcmeAccount, _: Caller) -> AcmeAccount:
        """Give the account's thumbprint."""
        return AcmeAccount(thumbprint=self._account(call.url).thumbprint)

    async def answer_sign_acme_account(self, call: SignAcmeAccount, _: Caller) -> SignedRequest:
        """Sign newAccount."""
        account = self._account(call.url)
        return SignedRequest(body=account.sign(call.url, call.nonce, {"termsOfServiceAgreed": True}, None))

    async def answer_sign_acme_order(self, call: SignAcmeOrder, _: Caller) -> SignedRequest:
        """Sign newOrder for this box's name."""
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": self._vault.state.box.page_host}]}
        if call.profile:
            payload["profile"] = call.profile
        return self._signed(call, payload)

    async def answer_sign_acme_read(self, call: SignAcmeRead, _: Caller) -> SignedRequest:
        """Sign a POST-as-GET."""
        return self._signed(call, None)

    async def answer_sign_acme_challenge(self, call: SignAcmeChallenge, _: Caller) -> SignedRequest:
        """Sign that a challenge is answered."""
        return self._signed(call, {})

    async def answer_sign_acme_finalize(self, call: SignAcmeFinalize, _: Caller) -> SignedRequest:
        """Sign finalize for the page's present key."""
        state = self._vault.state
        try:
            key = key_of_page_request(call.request, state.box.page_host)
        except Invalid as error:
            raise Refused("page_request") from error
        if [key] != [present.public_key for present in state.page_keys[:1]]:
            raise Refused("page_request")
        return self._signed(call, {"csr": base64url(call.request)})

    async def answer_sign_acme_revocation(self, call: SignAcmeRevocation, _: Caller) -> SignedRequest:
        """Sign revokeCert for a key that was replaced."""
        try:
            key = key_of_certificate(x509.load_der_x509_certificate(call.certificate))
        except UNREADABLE as error:
            raise Refused("page_certificate") from error
        replaced = [one.public_key for one in self._vault.state.page_keys[1:]]
        if key not in replaced:
            raise Refused("page_certificate")
        return self._signed(call, {"certificate": base64url(call.certificate), "reason": KEY_COMPROMISE})

    def _account(self, url: str) -> Account:
        return Account(self._vault.keys.keys.acme_accounts, url)

    def _signed(
        self,
        call: SignAcmeOrder | SignAcmeRead | SignAcmeChallenge | SignAcmeFinalize | SignAcmeRevocation,
        payload: dict[str, Any] | None,
    ) -> SignedRequest:
        return SignedRequest(body=self._account(call.url).sign(call.url, call.nonce, payload, call.account))


def with_page_key(state: State, public_key: bytes, now: int) -> State:
    """Give the state with this key as the present one; the same state if it is known."""
    if any(key.public_key == public_key for key in state.page_keys):
        return state
    keys = (PageKeyRecord(public_key=public_key, since=now), *state.page_keys)
    return replace(state, page_keys=keys[:MAX_PAGE_KEYS])
