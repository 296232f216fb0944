"""What each part of the tree may import, read off the syntax trees; nothing is executed.

The rules are the design's: processes -> contracts -> core; formats -> core/errors only; processes never import each
other; provisioning imports contracts, formats, core/errors and core/spare_memory; one door per library; pure modules
do no I/O.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROCESSES = (
    "vault",
    "records",
    "audit",
    "practice",
    "gateway",
    "tunnel",
    "watch",
    "backup",
    "certificate",
    "preview",
    "presence",
    "enrol",
    "disk_slot",
)
SHARED = ("core", "contracts", "formats")
HTTP_LIBRARIES = ("aiohttp", "http", "urllib", "yarl", "wsgiref", "socketserver", "requests", "httpx")
WITHOUT_HTTP = ("vault", "records", "audit", "preview", "presence", "disk_slot")
IMPURE = ("asyncio", "os", "socket", "time", "threading", "subprocess", "tempfile", "random", "secrets", "ssl")
#: library -> the only places that may import it (prefixes of paths).
DOORS = {
    "sqlcipher3": ("appliance/records/database.py",),
    "sqlite3": (),
    "tpm2_pytss": ("appliance/vault/tpm",),
    "systemd": ("appliance/core/",),
    "prometheus_client": ("appliance/core/metrics.py", "provisioning/portal/metrics.py"),
    "ctypes": ("appliance/core/confine", "appliance/core/filesystem", "appliance/core/spare_memory"),
    "shamir_mnemonic": ("appliance/formats/kit_sheets.py",),
    "nacl": (
        "appliance/vault/passwords.py",
        "appliance/formats/device_record.py",
        "appliance/formats/revocation.py",
        "provisioning/station/",
        "provisioning/portal/",
    ),
    "redis": ("provisioning/portal/leases.py",),
    "fpdf": ("appliance/practice/", "provisioning/station/paper.py"),
    "segno": ("appliance/practice/", "provisioning/station/paper.py"),
    "jinja2": ("appliance/practice/",),
    # What decodes strangers' files: in the process that has nothing to lose.
    **dict.fromkeys(("PIL", "gdcm", "numpy", "pillow_heif", "pydicom", "pypdfium2"), ("appliance/preview/",)),
}


@dataclass(frozen=True)
class Import:
    """One import statement: where it stands and what it names."""

    path: str
    line: int
    module: str

    @property
    def top(self) -> str:
        """The top-level package."""
        return self.module.split(".")[0]


def imports_of(root: Path) -> Iterator[Import]:
    """Give every import in appliance/ and provisioning/."""
    for folder in ("appliance", "provisioning"):
        for file in sorted((root / folder).rglob("*.py")):
            if "node_modules" in file.parts:
                continue
            path = file.relative_to(root).as_posix()
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), path)):
                if isinstance(node, ast.Import):
                    for name in node.names:
                        yield Import(path, node.lineno, name.name)
                elif isinstance(node, ast.ImportFrom):
                    if node.level:
                        yield Import(path, node.lineno, "relative import")
                    for name in node.names:
                        yield Import(path, node.lineno, f"{node.module}.{name.name}")


def broken_rules(root: Path) -> list[str]:
    """Give one sentence for each import that breaks a rule."""
    return [
        f"{found.path}:{found.line} imports {found.module}: {rule}"
        for found in imports_of(root)
        for rule in _rules_broken_by(found)
    ]


def _rules_broken_by(found: Import) -> Iterator[str]:
    if found.module == "relative import":
        yield "imports name their whole path"
    part = found.path.split("/")[1] if found.path.startswith("appliance/") else "provisioning"
    own = f"appliance.{part}"
    if part in PROCESSES and found.top == "appliance":
        target = found.module.split(".")[1]
        if target not in SHARED and not found.module.startswith(own):
            yield "a process knows its neighbours through contracts alone"
    if part == "contracts" and found.top == "appliance" and found.module.split(".")[1] not in ("core", "contracts"):
        yield "contracts stand on core"
    if part == "core" and found.top == "appliance" and found.module.split(".")[1] != "core":
        yield "core stands on nothing of ours"
    if part == "formats":
        if found.top == "appliance" and not found.module.startswith(("appliance.core.errors", "appliance.formats")):
            yield "formats stand on core/errors only"
        if found.top in IMPURE:
            yield "formats are pure: bytes, values and now are arguments"
    if part in (*PROCESSES, *SHARED) and found.top == "provisioning":
        yield "the box does not import the vendor's side"
    if part == "provisioning" and found.top == "appliance":
        allowed = ("appliance.contracts", "appliance.formats", "appliance.core.errors", "appliance.core.spare_memory")
        if not found.module.startswith(allowed):
            yield "provisioning stands on contracts, formats, core/errors and core/spare_memory"
    if part in WITHOUT_HTTP and found.top in HTTP_LIBRARIES:
        yield "vault, records, audit, preview, presence and disk_slot speak no HTTP"
    if found.top in DOORS and not found.path.startswith(DOORS[found.top] or ("nowhere",)):
        yield f"{found.top} has one door"
