"""The form that says where copies go: which fields each kind of place has, and what was typed made into a `Store`.

A secret goes to backup and onto no page. Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import get_args

from appliance.contracts.backup import Store, StoreKind
from appliance.core.errors import Invalid
from appliance.practice import fields

KINDS: tuple[StoreKind, ...] = get_args(StoreKind)
#: Besides the place: what the form asks for each kind.
FIELDS: Mapping[StoreKind, tuple[str, ...]] = {
    "disk": (),
    "folder": (),
    "sftp": ("server_key",),
    "s3": ("user", "secret", "authority"),
    "rest": ("user", "secret", "authority"),
}
OPTIONAL = frozenset({"authority"})
MAX_CHARACTERS = 1024
MAX_LONG_CHARACTERS = 16384


def store_kind(text: str) -> StoreKind | None:
    """Give a kind of place; None if nothing, or nothing known, is chosen."""
    return next((kind for kind in KINDS if kind == text), None)


def read_store(form: Mapping[str, str]) -> Store:
    """Give the store that was typed in; Invalid(code, field=…)."""
    kind = store_kind(form.get("kind", ""))
    if kind is None:
        raise Invalid("store_kind", field="kind")
    asked = FIELDS[kind]
    given = {name: _typed(form, name) for name in ("place", *asked)}
    for name, text in given.items():
        if not text and name not in OPTIONAL:
            raise Invalid("field_empty", field=name)
    return Store(kind=kind, **given)


def _typed(form: Mapping[str, str], name: str) -> str:
    """Give a field; the lines of a certificate stay, and a secret is taken as it was typed."""
    sent = form.get(name, "")
    limit = MAX_LONG_CHARACTERS if name == "authority" else MAX_CHARACTERS
    if name == "authority":
        text = "\n".join(sent.split("\r\n")).strip()
        if any(unicodedata.category(letter) == "Cc" and letter != "\n" for letter in text):
            raise Invalid("characters", field=name)
    elif name == "secret":
        text = sent
    else:
        text = fields.clean(sent)
    if len(text) > limit:
        raise Invalid("field_long", field=name, limit=limit)
    return text
