"""The `.varlink` text of an interface, from its structures: `python -m appliance.core.varlink.describe MODULE…`.

A person reads the `.varlink` file first; a test holds it against the structures, so the two cannot part.
Source: varlink.org, "Interface Definition". Bytes travel as base64 strings.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from appliance.core.varlink.call import Call, Interface

_PLAIN = {str: "string", bytes: "string", int: "int", bool: "bool", float: "float"}


def describe(name: str, verbs: list[type[Call[Any]]]) -> str:
    """Give the interface's text: its error, its values, then its verbs with who may call them."""
    values: dict[str, str] = {}
    methods = [_method(verb, values) for verb in verbs]
    module = inspect.getdoc(sys.modules[verbs[0].__module__]) or ""
    head = "\n".join(f"# {line}".rstrip() for line in module.splitlines())
    error = "# Failures are de.praxissafe.{Refused,Invalid,Unavailable,Tampered,NotFound}(code, details).\n"
    return "\n".join([f"{head}\ninterface {name}\n", error, *values.values(), *methods])


def _comment(kind: type) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in (inspect.getdoc(kind) or "").splitlines())


def _fields(kind: type[msgspec.Struct], values: dict[str, str]) -> str:
    hints = typing.get_type_hints(kind)
    fields = [f"{field.name}: {_type(hints[field.name], values)}" for field in msgspec.structs.fields(kind)]
    return f"({', '.join(fields)})"


def _method(verb: type[Call[Any]], values: dict[str, str]) -> str:
    notes = f"# Callers: {', '.join(sorted(verb.callers))}.\n"
    if verb.stream != "none":
        notes += f"# Upgrades: the bytes go {verb.stream}.\n"
    if verb.descriptors:
        notes += f"# Carries {verb.descriptors} file descriptor.\n"
    reply = _fields(verb.reply, values)
    return f"{_comment(verb)}{notes}method {verb.__name__}{_fields(verb, values)} -> {reply}\n"


def _type(hint: Any, values: dict[str, str]) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin in (types.UnionType, typing.Union):
        return "?" + _type(next(part for part in arguments if part is not type(None)), values)
    if origin is list:
        return "[]" + _type(arguments[0], values)
    if origin is typing.Literal:
        return f"({', '.join(arguments)})"
    if origin is typing.Annotated:
        return _type(arguments[0], values)
    if hint.__name__ not in values:
        values[hint.__name__] = ""  # holds the place: values stand in the order of their first use
        values[hint.__name__] = f"{_comment(hint)}type {hint.__name__} {_fields(hint, values)}\n"
    return str(hint.__name__)


def interfaces(module: types.ModuleType) -> list[Interface]:
    """Give the interfaces a contract module defines."""
    return [value for value in vars(module).values() if isinstance(value, Interface)]


def main(names: list[str]) -> None:
    """Write the `.varlink` file beside each contract module named."""
    for name in names:
        path = Path("appliance/contracts") / f"{name}.varlink"
        path.touch()
        module = importlib.import_module(f"appliance.contracts.{name}")
        (interface,) = interfaces(module)
        path.write_text(describe(interface.name, list(interface.verbs.values())), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
