"""A verb as a typed structure: its parameters are the fields, its reply type and its callers stand beside them.

An interface is one `.varlink` file that a person reads first, and one module of these structures; a test holds
the two against each other. Unknown fields are refused on both ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

ReplyType = TypeVar("ReplyType", bound=msgspec.Struct)
StreamDirection = Literal["none", "in", "out"]


class Done(msgspec.Struct, forbid_unknown_fields=True):
    """The empty reply."""


class Call(msgspec.Struct, Generic[ReplyType], forbid_unknown_fields=True, kw_only=True):
    """One verb: instances are calls.

    `reply` is the type of the answer; `callers` are the processes that may ask (by name: the user is
    `praxis-<name>`); `stream` says whether bytes follow on the upgraded connection and in which direction, seen
    from the answering side; `descriptors` is the exact number of file descriptors that the call carries.
    """

    reply: ClassVar[Any]
    callers: ClassVar[frozenset[str]]
    stream: ClassVar[StreamDirection] = "none"
    descriptors: ClassVar[int] = 0


@dataclass(frozen=True)
class Interface:
    """A named set of verbs, with the `.varlink` file that describes it."""

    name: str
    verbs: Mapping[str, type[Call[Any]]]
    description: str

    @classmethod
    def of(cls, name: str, module_file: str, *verbs: type[Call[Any]]) -> Interface:
        """Make the interface of the contract module at `module_file`; its description lies beside it."""
        text = Path(module_file).with_suffix(".varlink").read_text(encoding="utf-8")
        return cls(name, {verb.__name__: verb for verb in verbs}, text)

    def method(self, verb: type[Call[Any]]) -> str:
        """Give the name on the wire."""
        return f"{self.name}.{verb.__name__}"
