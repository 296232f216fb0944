"""A server's TLS context: TLS 1.3 only, no tickets, one name. Source: RFC 8446 section 4.6.1."""

from __future__ import annotations

import ssl
from pathlib import Path

#: SSL_OP_CLEANSE_PLAINTEXT: a record's plaintext is overwritten once it was read (SSL_CTX_set_options(3ossl)).
OP_CLEANSE_PLAINTEXT = 1 << 1


def make_context(chain_and_key: Path, host: str, protocols: list[str]) -> ssl.SSLContext:
    """Make the context for these protocols (ALPN) and no other name than `host`; ssl.SSLError for a bad chain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.options |= OP_CLEANSE_PLAINTEXT
    context.set_alpn_protocols(protocols)
    context.load_cert_chain(chain_and_key)

    def check_name(_: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext) -> int | None:
        return None if name == host else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check_name
    return context
