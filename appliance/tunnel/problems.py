"""What a dial failed with, as a stable code: what the practice is told, and what may be done about it.

A certificate that does not hold is Refused, whatever else went wrong: nobody goes on to another mode after it. Codes
are listed in docs/formats/tunnel.md. Sources: aiohttp's client exceptions; x509_vfy.h (OpenSSL) for the reasons.
"""

from __future__ import annotations

import ssl

import aiohttp

from appliance.core.errors import PraxisError, Refused, Unavailable

MAX_RETRY_AFTER_S = 600
NOT_YET_VALID, HAS_EXPIRED = 9, 10
BUSY = frozenset({429, 502, 503, 504})
CERTIFICATE = frozenset({"portal_certificate", "portal_certificate_expired", "portal_certificate_early"})

#: What a dial may fail with.
FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


def dial_problem(error: BaseException, *, through_proxy: bool) -> PraxisError:
    """Give the failure to raise for one of FAILURES."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return certificate_problem(error.certificate_error)
        case ssl.SSLCertVerificationError():
            return certificate_problem(error)
        case aiohttp.ClientHttpProxyError(status=407):
            return Refused("proxy_refused")
        case aiohttp.ClientHttpProxyError(status=status) if 400 <= status < 500:
            return Refused("proxy_forbids")
        case aiohttp.ClientHttpProxyError():
            return Unavailable("proxy_silent")
        case aiohttp.WSServerHandshakeError(status=status, headers=headers):
            return no_answer(status, headers.get("Retry-After", "") if headers else "")
        case aiohttp.ClientProxyConnectionError():
            return Unavailable("proxy_unreachable")
        case aiohttp.ClientConnectorDNSError():
            return Unavailable("proxy_unreachable" if through_proxy else "name_unknown")
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return Unavailable("portal_tls")
        case TimeoutError() if through_proxy:  # whose address leads nowhere, or that waits for the portal itself
            return Unavailable("proxy_silent")
    return Unavailable("portal_unreachable")


def no_answer(status: int, retry_after: str) -> Unavailable:
    """Give the failure for a status that is no answer; `wait_s` is what it asks for (RFC 9110, 10.2.3)."""
    is_number = retry_after.isascii() and retry_after.isdecimal()
    wait_s = min(int(retry_after), MAX_RETRY_AFTER_S) if is_number else 0
    return Unavailable("portal_busy" if status in BUSY else "portal_answer", wait_s=wait_s)


def certificate_problem(error: BaseException) -> Refused:
    """Tell an expired certificate, and a clock that is behind, from a wrong one."""
    reason = getattr(error, "verify_code", 0)
    codes = {HAS_EXPIRED: "portal_certificate_expired", NOT_YET_VALID: "portal_certificate_early"}
    return Refused(codes.get(reason, "portal_certificate"))
