"""All fuzz targets by name; a target's module is imported when it is asked for, so that each process stays small."""

from __future__ import annotations

import importlib
from collections.abc import Callable

MODULES = {
    "tests.fuzz.parsers": (
        "varlink_call", "varlink_reply", "varlink_stream", "yamux", "client_hello", "first_bytes",
        "document", "document_inside", "manifest", "manifest_inside",
    ),
    "tests.fuzz.attestation_parsers": ("tpm_key", "tpm_statement", "tpm_signature", "endorsement", "registration"),
    "tests.fuzz.kit_parsers": ("kit_words", "kit_public", "disk_slot", "luks_header"),
    "tests.fuzz.certificate_parsers": ("page_certificate",),
    "tests.fuzz.certificate_log_parsers": ("log_entry", "logged_certificate", "log_answers", "monitor"),
    "tests.fuzz.http_parsers": ("multipart", "intake"),
}  # fmt: skip
NAMES = tuple(name for names in MODULES.values() for name in names)


def find(name: str) -> tuple[Callable[[bytes], None], list[bytes]]:
    """Give a target and its examples."""
    module = importlib.import_module(next(module for module, names in MODULES.items() if name in names))
    return module.TARGETS[name], module.SEEDS[name]
