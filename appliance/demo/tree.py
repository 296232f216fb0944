"""Lays out what the container sees over the machine's own file system: the shipped units, the demo's, settings.

The machine's own /etc/systemd/system is hidden, so that no service of the machine starts in the container.
Nothing outside the folder given is written.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from appliance.demo.authority import settings_files
from appliance.demo.measuring import pcr_after
from appliance.demo.places import CODE, DISKS, PORTAL_NAME, REPOSITORY, WORLD_STATE, Places, Ports
from appliance.demo.tpm_maker import authorities

SHIPPED = REPOSITORY / "systemd"
UNITS_OF_THE_DEMO = Path(__file__).parent / "units"
TPM_SOCKET = "/run/praxissafe-demo/tpm/tpm.sock"
#: Made by units/tmpfiles.d.
BUTTON = "/run/praxissafe-demo/button"
MAKERS = Path("/etc/praxissafe/demo-tpm-makers.pem")
MACHINE_TARGET = "praxis-demo.target"


def lay_tree(places: Places, ports: Ports, station_keys: list[str]) -> None:
    """Write the layer anew into `places.tree`; `station_keys` are those whose boxes the portal takes."""
    shutil.rmtree(places.tree, ignore_errors=True)
    units = places.tree / "etc/systemd/system"
    units.mkdir(parents=True)
    for source in (SHIPPED, UNITS_OF_THE_DEMO):
        _copy_declarations(source, places.tree)
    _listen_on(units, "praxis-practice-lan.socket", ports.practice)
    _listen_on(units, "praxis-enrol-lan.socket", ports.enrol)
    settings = places.tree / "etc/praxissafe"
    settings.mkdir()
    boot = WORLD_STATE / "boot"
    _write(
        settings / "vault.toml",
        f'tcti = "swtpm:path={TPM_SOCKET}"\nboot_policy = "{boot}/policy.json"\n'
        f'release_keys = "{boot}/release-keys.pem"\nfirmware_variables = "{boot}"\n',
    )
    _write(settings / "presence.toml", f'buttons = ["{BUTTON}"]\n')
    keys = ", ".join(f'"{key}"' for key in station_keys)
    _write(
        settings / "demo-portal.toml",
        f'portal_name = "{PORTAL_NAME}"\nstate_folder = "{WORLD_STATE}/portal"\n'
        f'listen_address = "127.0.0.1"\nlisten_port = {ports.portal}\nstation_keys = [{keys}]\n'
        f'tpm_makers = "{MAKERS}"\nboot_images = ["{pcr_after()}"]\n',
    )
    _write(settings / MAKERS.name, authorities(places))
    for name, text in settings_files(places, ports).items():
        _write(settings / name, text)
    _write(places.tree / "etc/machine-id", _machine_id(places) + "\n")
    _write(places.tree / "etc/hostname", "praxissafe\n")
    _write(places.tree / "etc/fstab", "")
    _write(places.tree / "etc/systemd/journald.conf", "[Journal]\nStorage=persistent\nRateLimitBurst=0\n")
    for folder, folders, files in os.walk(places.tree):
        for name in (*folders, *files):
            path = Path(folder, name)
            path.chmod(0o755 if path.is_dir() else 0o644)


def binds(places: Places) -> list[tuple[Path, Path, bool]]:
    """Give (here, in the container, writable) for everything that is bound in."""
    code = [
        (REPOSITORY / name, CODE / name, False)
        for name in ("appliance", "provisioning", "docs")
        if (REPOSITORY / name).is_dir()
    ]
    return [
        *code,
        ((REPOSITORY / ".venv").resolve(), CODE / ".venv", False),
        (places.box, Path("/var/lib/praxissafe"), True),
        (places.world, WORLD_STATE, True),
        (places.disks, DISKS, True),
        (places.journal, Path("/var/log/journal"), True),
    ]


def _copy_declarations(source: Path, tree: Path) -> None:
    """Units to /etc/systemd/system; sysusers.d, tmpfiles.d and presets to their places in /etc."""
    elsewhere = {"sysusers.d": "etc/sysusers.d", "tmpfiles.d": "etc/tmpfiles.d"}
    for path in sorted(source.iterdir()):
        if path.is_dir() and path.name in elsewhere:
            shutil.copytree(path, tree / elsewhere[path.name], dirs_exist_ok=True)
        elif path.is_dir() and path.name.endswith(".d"):
            shutil.copytree(path, tree / "etc/systemd/system" / path.name, dirs_exist_ok=True)
        elif path.suffix in {".service", ".socket", ".target", ".path"}:
            shutil.copy(path, tree / "etc/systemd/system")


def _listen_on(units: Path, socket: str, port: int) -> None:
    """Put a passed-in socket on the demo's address instead of the box's port."""
    folder = units / f"{socket}.d"
    folder.mkdir()
    _write(folder / "demo.conf", f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n")


def _machine_id(places: Places) -> str:
    path = places.state / "machine-id"
    if not path.exists():
        path.write_text(uuid.uuid4().hex + "\n")
    return path.read_text().strip()


def _write(path: Path, text: str) -> None:
    path.write_text(text)
