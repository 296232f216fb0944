"""What restic, ssh and the libraries in restic say when something fails, as codes of the contract. Pure.

restic 0.14 tells failures apart by words only (exit codes 1 and 3). The first row that matches counts: what names a
cause stands before what only says that nothing was read. The words themselves go nowhere: they name hosts and files.
"""

from __future__ import annotations

from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Tampered, Unavailable

_AWAY = "store_away"
_REFUSED = "store_refused"
#: Lower case; any of the words.
_WORDS: tuple[tuple[type[PraxisError], str, tuple[str, ...]], ...] = (
    (Refused, "repository_password", ("wrong password or no key found",)),
    (Invalid, "store_server_key", ("host key verification failed", "remote host identification has changed")),
    (
        Unavailable,
        "store_certificate",
        ("x509:", "tls: failed to verify", "tls: first record", "http response to https"),
    ),
    (
        Unavailable,
        "store_full",
        ("no space left", "quota exceeded", "quotaexceeded", "storagefull", "insufficient storage", "(507)"),
    ),
    (
        Unavailable,
        _REFUSED,
        (
            "permission denied",
            "(401)",
            "(403)",
            "access denied",
            "accessdenied",
            "access key id you provided does not exist",
            "signature we calculated",
            "read-only file system",
            "operation not permitted",
            "too many authentication failures",
        ),
    ),
    (
        Unavailable,
        _AWAY,
        (
            "connection refused",
            "no such host",
            "i/o timeout",
            "timed out",
            "network is unreachable",
            "no route to host",
            "could not resolve",
            "connection reset",
            "connection closed",
            "server misbehaving",
            "broken pipe",
            "input/output error",
            "stale file handle",
            "transport endpoint",
        ),
    ),
    (Unavailable, "store_locked", ("repository is already locked", "unable to create lock")),
    (
        Tampered,
        "repository_damaged",
        (
            "ciphertext verification failed",
            "does not match id",
            "invalid data returned",
            "not found in index",
            "not found in repository",
            "load from pack",
            "hash mismatch",
            "unexpected eof",
        ),
    ),
    (NotFound, "repository", ("is there a repository at the following location",)),
)


def failure(said: str) -> PraxisError:
    """Give the failure that restic's standard error tells of; Unavailable("store_failed") for unknown words."""
    lower = said.lower()
    for family, code, words in _WORDS:
        if any(word in lower for word in words):
            return family(code)
    return Unavailable("store_failed")
