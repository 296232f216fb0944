"""What cryptography the code uses, read off it: primitives by module, labels, names of derived keys.

`python -m tests.architecture.crypto_inventory` writes the generated part of docs/formats/crypto-inventory.md anew. The
other part, every key with parent, life and algorithm, is written by hand; a test holds both against the code.
Nothing is executed: Python by its syntax tree, the patient's page by its text.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/formats/crypto-inventory.md"
BEGIN = "<!-- generated: python -m tests.architecture.crypto_inventory -->"
#: Libraries that are cryptography as a whole; what is used of them is not told apart.
WHOLE = frozenset({"shamir_mnemonic", "sqlcipher3", "ssl", "tpm2_pytss"})
#: Libraries of which each used name is told.
BY_NAME = frozenset({"hashlib", "hmac", "secrets"})
#: Names of `cryptography` whose members are primitives.
SUITES = frozenset({"ec", "KEM", "KDF", "AEAD"})
#: What of `cryptography` and `nacl` is no primitive.
NO_PRIMITIVES = ("exceptions", "serialization", "x509", "utils", "encoding", "Encoding", "PublicFormat")
#: A label: bytes that bind a computation to one use.
LABEL = re.compile(rb"praxis[a-z]* [a-z ]+[0-9 ]*\0?")
#: Functions whose text arguments are names of derived keys.
DERIVING = frozenset({"derive", "_derived", "_expand", "expand"})
SCRIPT_PRIMITIVES = re.compile(r'"(AES-GCM|HKDF|SHA-256|HMAC|ECDSA)"|\b(getRandomValues)\b')
SCRIPT_LABELS = re.compile(r'"(praxissafe [a-z ]+[0-9][a-z ]*)(?:\\0)?"')
#: TPM handles that outlive a start: NV indices and persistent objects (TPM 2.0 part 2, section 7.2).
HANDLES = (range(0x01000000, 0x02000000), range(0x81000000, 0x82000000))
TPM_MODULES = ("appliance/vault/tpm", "appliance/formats/boot_policy")


@dataclass
class Inventory:
    """Names and where they stand."""

    primitives: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    labels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    derived: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    handles: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def names(self) -> set[str]:
        """Give what a person must account for: labels, derived keys, handles."""
        return {*self.labels, *self.derived, *self.handles}


def scan(root: Path = ROOT) -> Inventory:
    """Read the box's code and the vendor's; the demo is neither."""
    found = Inventory()
    for folder in ("appliance", "provisioning"):
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if "node_modules" in path.parts or name.startswith("appliance/demo/"):
                continue
            if path.suffix == ".py":
                _read_python(ast.parse(path.read_text(encoding="utf-8")), name, found)
            elif path.suffix == ".js":
                _read_script(path.read_text(encoding="utf-8"), name, found)
    return found


def _read_python(tree: ast.Module, name: str, found: Inventory) -> None:
    for node in ast.walk(tree):
        for primitive in _primitives(node):
            found.primitives[primitive].add(name)
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and LABEL.fullmatch(node.value):
            found.labels[node.value.rstrip(b"\0").decode().strip()].add(name)
        if isinstance(node, ast.Constant) and _is_handle(node.value) and name.startswith(TPM_MODULES):
            found.handles[f"0x{node.value:08X}"].add(name)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DERIVING:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str | bytes):
                    text = argument.value if isinstance(argument.value, str) else argument.value.decode()
                    found.derived[text].add(name)


def _is_handle(value: object) -> bool:
    return type(value) is int and any(value in each for each in HANDLES)


def _primitives(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for one in node.names:
            yield from _imported(one.name, "")
    elif isinstance(node, ast.ImportFrom) and node.module:
        for one in node.names:
            yield from _imported(node.module, one.name)
    elif (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in BY_NAME | SUITES
        and node.attr != "compare_digest"
    ):
        yield f"{node.value.id}.{node.attr}"


def _imported(module: str, name: str) -> Iterator[str]:
    top = module.partition(".")[0]
    if top in WHOLE:
        yield top
    elif top in {"cryptography", "nacl"} and not any(part in NO_PRIMITIVES for part in (*module.split("."), name)):
        last = module.rpartition(".")[2]
        yield f"{top}: {name or last}"


def _read_script(text: str, name: str, found: Inventory) -> None:
    for first, second in SCRIPT_PRIMITIVES.findall(text):
        found.primitives[f"WebCrypto: {first or second}"].add(name)
    for label in SCRIPT_LABELS.findall(text):
        found.labels[label.strip()].add(name)


def generated(found: Inventory) -> str:
    """Give the generated part of the page."""
    parts = [BEGIN, ""]
    for title, column, names in (
        ("Primitives in the code", "primitive", found.primitives),
        ("Labels in the code", "label", found.labels),
        ("Names of derived keys in the code", "name", found.derived),
        ("Handles in the TPM", "handle", found.handles),
    ):
        parts += [f"## {title}", "", f"| {column} | where |", "| --- | --- |"]
        parts += [
            f"| `{name}` | {', '.join(f'`{path}`' for path in sorted(names[name]))} |" for name in sorted(names)
        ]
        parts += [""]
    return "\n".join(parts)


def written_names(page: str) -> set[str]:
    """Give the labels and names that the tables written by hand account for: the column of that title."""
    names: set[str] = set()
    for row in page.partition(BEGIN)[0].splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) > 3 and cells[2] not in {"label or name", "---", "–"}:
            names |= set(re.findall(r"`([^`]+)`", cells[2]))
    return names


if __name__ == "__main__":
    by_hand = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    PAGE.write_text(by_hand + generated(scan()), encoding="utf-8")
