"""A captured `certificate` against a strict authority that is really there: everything it may ask, it asks.

It has its own account at the authority too (Mallory), as anybody in the world can have one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.certificate.acme import Acme, Authorization, Order, decode
from appliance.certificate.dial import Answer, Door, open_door
from appliance.contracts.gateway import AnswerChallenge, MakePageKey, ReadPageRequest, TakePageCertificate
from appliance.contracts.page_key import (
    RegisterPageKey,
    SignAcmeAccount,
    SignAcmeChallenge,
    SignAcmeFinalize,
    SignAcmeOrder,
    SignAcmeRead,
    SignAcmeRevocation,
)
from appliance.core.errors import Invalid, PraxisError, Refused, Tampered
from appliance.formats.page_request import make_page_request, public_bytes
from appliance.vault.acme import Account
from tests.simulators.acme_side import AcmeSide, acme_side

CHALLENGE = "tls-alpn-01"


class Mallory:
    """Speaks ACME with an account and a page key of their own."""

    def __init__(self, side: AcmeSide, acme: Acme, door: Door) -> None:
        self.side, self.acme, self.door = side, acme, door
        self.account = Account(os.urandom(32), side.authority.directory)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid: str | None = None

    async def log_in(self) -> None:
        answer = await self.post(self.acme.directory.new_account, {"termsOfServiceAgreed": True})
        assert answer.status == 201
        self.kid = answer.location

    async def post(self, url: str, payload: dict[str, Any] | None) -> Answer:
        """Post with the own account."""
        while True:
            nonce = (await self.door.ask("HEAD", self.acme.directory.new_nonce)).nonce
            answer = await self.door.ask("POST", url, self.account.sign(url, nonce, payload, self.kid))
            if b"badNonce" not in answer.body:
                return answer

    async def until(self, read: Callable[[], Any], is_done: Callable[[str], bool]) -> str:
        async with asyncio.timeout(20):
            while True:
                status = json.loads((await read()).body)["status"]
                if is_done(status):
                    return str(status)
                await asyncio.sleep(0.1)


@asynccontextmanager
async def captured(folder: Path) -> AsyncIterator[Mallory]:
    """The box with `certificate` in Mallory's hands, who has logged in as the box and as themselves."""
    async with (
        acme_side(folder) as side,
        open_door(side.settings.directory, side.settings.directory_ca, 10) as door,
    ):
        acme = Acme(door, side.vault, 5)
        await acme.begin(side.settings.directory)
        await acme.log_in()
        mallory = Mallory(side, acme, door)
        await mallory.log_in()
        yield mallory


async def ready_order(mallory: Mallory) -> tuple[str, Order]:
    """Bring an order of the box's own account to where only a request is missing."""
    acme, side = mallory.acme, mallory.side
    await side.gateway.ask(ReadPageRequest())
    new = acme.directory.new_order
    answer = await acme.post(
        new, lambda nonce: SignAcmeOrder(url=new, nonce=nonce, account=acme.account, profile=""), "order"
    )
    url, order = answer.location, decode(answer, Order)
    (where,) = order.authorizations

    async def read(what: str) -> Answer:
        return await acme.post(what, lambda nonce: SignAcmeRead(url=what, nonce=nonce, account=acme.account), "read")

    authorization = decode(await read(where), Authorization)
    challenge = next(one for one in authorization.challenges if one.type == CHALLENGE)
    await side.gateway.ask(AnswerChallenge(token=challenge.token, url=side.settings.directory))
    await acme.post(
        challenge.url, lambda nonce: SignAcmeChallenge(url=challenge.url, nonce=nonce, account=acme.account), "answer"
    )
    assert await mallory.until(lambda: read(url), lambda status: status != "pending") == "ready"
    return url, order


async def test_captured_certificate_cannot_get_a_certificate_for_its_own_key(tmp_path: Path) -> None:
    async with captured(tmp_path) as mallory:
        side, acme = mallory.side, mallory.acme
        url, order = await ready_order(mallory)
        page = await side.gateway.ask(ReadPageRequest())
        mine = make_page_request(mallory.key, side.host)
        theirs = x509.load_der_x509_csr(page.request).public_key()
        assert isinstance(theirs, ec.EllipticCurvePublicKey)
        swapped = page.request.replace(public_bytes(theirs), public_bytes(mallory.key.public_key()))
        assert swapped != page.request
        finalize = order.finalize

        async def tries(make: Callable[[str], Any]) -> str:
            try:
                await acme.post(finalize, make, "authority_said_no")
            except PraxisError as error:
                return error.code
            return "taken"

        for request in (mine, swapped, mine + page.request, page.request + mine):
            assert (
                await tries(
                    lambda nonce, request=request: SignAcmeFinalize(  # type: ignore[misc]
                        url=finalize, nonce=nonce, account=acme.account, request=request
                    )
                )
                == "page_request"
            )
        with pytest.raises(Refused):  # not a verb of certificate's
            await side.vault.ask(RegisterPageKey(public_key=public_bytes(mallory.key.public_key())))
        # Whatever else vault signs, posted to where a request belongs: there is none in it.
        for call in (
            lambda nonce: SignAcmeOrder(url=finalize, nonce=nonce, account=acme.account, profile="csr"),
            lambda nonce: SignAcmeRead(url=finalize, nonce=nonce, account=acme.account),
            lambda nonce: SignAcmeChallenge(url=finalize, nonce=nonce, account=acme.account),
            lambda nonce: SignAcmeAccount(url=finalize, nonce=nonce),
        ):
            assert await tries(call) == "authority_said_no"
        # A signature of vault's around a payload of Mallory's.
        nonce = (await mallory.door.ask("HEAD", acme.directory.new_nonce)).nonce
        signed = json.loads(
            (await side.vault.ask(SignAcmeChallenge(url=finalize, nonce=nonce, account=acme.account))).body
        )
        csr = base64.urlsafe_b64encode(mine).rstrip(b"=").decode()
        signed["payload"] = base64.urlsafe_b64encode(json.dumps({"csr": csr}).encode()).rstrip(b"=").decode()
        assert (await mallory.door.ask("POST", finalize, json.dumps(signed).encode())).status >= 400
        # The box's order, finalized by Mallory's own account; a new key of the page's is not Mallory's either.
        assert (await mallory.post(finalize, {"csr": csr})).status >= 400
        await side.gateway.ask(MakePageKey())
        assert await tries(
            lambda nonce: SignAcmeFinalize(url=finalize, nonce=nonce, account=acme.account, request=mine)
        ) == ("page_request")
        last = await acme.post(url, lambda nonce: SignAcmeRead(url=url, nonce=nonce, account=acme.account), "read")
        assert decode(last, Order).certificate == ""
        # And a chain for Mallory's key, wherever it came from, is not served.
        with pytest.raises(Tampered):
            await side.gateway.ask(TakePageCertificate(chain=self_signed(mallory.key, side.host)))


async def test_gateway_answers_no_challenge_of_another_account(tmp_path: Path) -> None:
    async with captured(tmp_path) as mallory:
        side = mallory.side
        identifiers = {"identifiers": [{"type": "dns", "value": side.host}]}
        answer = await mallory.post(mallory.acme.directory.new_order, identifiers)
        assert answer.status == 201, answer.body
        order = decode(answer, Order)
        (where,) = order.authorizations
        authorization = decode(await mallory.post(where, None), Authorization)
        challenge = next(one for one in authorization.challenges if one.type == CHALLENGE)
        await side.gateway.ask(AnswerChallenge(token=challenge.token, url=side.settings.directory))
        whole = f"{challenge.token}.{mallory.account.thumbprint}"
        with contextlib.suppress(Invalid):
            await side.gateway.ask(AnswerChallenge(token=whole, url=side.settings.directory))
        await mallory.post(challenge.url, {})
        assert await mallory.until(lambda: mallory.post(where, None), lambda status: status != "pending") == "invalid"
        csr = base64.urlsafe_b64encode(make_page_request(mallory.key, side.host)).rstrip(b"=").decode()
        assert (await mallory.post(order.finalize, {"csr": csr})).status >= 400


async def test_vault_signs_no_order_for_another_name(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side:
        url = side.settings.directory
        order = SignAcmeOrder(url=url, nonce="n", account=url, profile="shortlived")
        signed = json.loads((await side.vault.ask(order)).body)
        assert json.loads(from_base64url(signed["payload"])) == {
            "identifiers": [{"type": "dns", "value": side.host}],
            "profile": "shortlived",
        }
        key = ec.generate_private_key(ec.SECP256R1())  # the page's, for once in the test's hand
        await side.vault_process_registers(public_bytes(key.public_key()))

        async def sign(request: bytes) -> None:
            await side.vault.ask(SignAcmeFinalize(url=url, nonce="n", account=url, request=request))

        await sign(make_page_request(key, side.host))
        other = "praxis-2.localhost"
        for request in (
            make_page_request(key, other),
            make_page_request(key, f"*.{side.host}"),
            make_page_request(key, side.host.upper()),
            csr_for(key, [x509.DNSName(side.host), x509.DNSName(other)]),
            csr_for(key, [x509.DNSName(side.host), x509.RFC822Name("a@b.example")]),
            csr_for(key, [x509.DNSName(side.host)], subject=other),
            csr_for(key, [x509.DNSName(side.host)], authority=True),
            csr_for(key, []),
            b"\x30\x00",
        ):
            with pytest.raises(Refused) as refused:
                await sign(request)
            assert refused.value.code == "page_request"


async def test_vault_signs_for_no_replaced_key_and_revokes_only_those(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side:
        url = side.settings.directory
        old, new, strange = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        for key in (old, new, old):  # an older one does not become the present one again
            await side.vault_process_registers(public_bytes(key.public_key()))
        with pytest.raises(Refused):
            await side.vault.ask(
                SignAcmeFinalize(url=url, nonce="n", account=url, request=make_page_request(old, side.host))
            )
        for key, taken in ((old, True), (new, False), (strange, False)):
            certificate = x509.load_pem_x509_certificate(self_signed(key, side.host)).public_bytes(Encoding.DER)
            call = SignAcmeRevocation(url=url, nonce="n", account=url, certificate=certificate)
            if taken:
                await side.vault.ask(call)
            else:
                with pytest.raises(Refused):
                    await side.vault.ask(call)


async def test_an_account_is_of_one_authority_and_its_signatures_go_nowhere_else(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side:
        url, other = side.settings.directory, "https://authority.example/dir"

        async def key_for(at: str) -> str:
            signed = json.loads((await side.vault.ask(SignAcmeAccount(url=at, nonce="n"))).body)
            return str(json.loads(from_base64url(signed["protected"]))["jwk"]["x"])

        assert await key_for(url) != await key_for(other)
        assert await key_for(other) == await key_for("https://AUTHORITY.example:443/elsewhere")
        for bad in (
            "http://authority.example/dir",
            "https://user@authority.example/",
            "https://authority.example/#a",
        ):
            with pytest.raises(PraxisError):
                await key_for(bad)
        with pytest.raises(PraxisError):
            await side.vault.ask(SignAcmeRead(url=url, nonce="n", account=other))


async def test_challenge_certificate_is_served_only_for_its_protocol(tmp_path: Path) -> None:
    async with acme_side(tmp_path) as side:
        await side.obtain()
        await side.gateway.ask(AnswerChallenge(token="a" * 43, url=side.settings.directory))
        for protocols in ([], ["http/1.1"], ["h2", "http/1.1"], ["acme-tls/1", "http/1.1"]):
            assert not is_challenge(await shown_to(side, protocols)), protocols
            context = side.authority.client_context()
            if protocols:
                context.set_alpn_protocols(protocols)
            reader, writer = await side.connect(context)
            assert await side.get(reader, writer) == 200
            writer.close()
        assert is_challenge(await shown_to(side, ["acme-tls/1"]))


def is_challenge(certificate: x509.Certificate) -> bool:
    return any(extension.oid.dotted_string == "1.3.6.1.5.5.7.1.31" for extension in certificate.extensions)


async def shown_to(side: AcmeSide, protocols: list[str]) -> x509.Certificate:
    """Give the certificate that the page's port shows to who offers these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    _, writer = await side.connect(context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown)


def csr_for(
    key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], *, subject: str = "", authority: bool = False
) -> bytes:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def self_signed(key: ec.EllipticCurvePrivateKey, host: str) -> bytes:
    now, name = datetime.datetime.now(datetime.UTC), x509.Name([])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
