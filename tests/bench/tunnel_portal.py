"""The real portal of the tunnel's bench as a process of its own, and boxes that are registered at it."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from appliance.formats.device_record import encode_record, make_record, sign_record
from tests.bench.tunnel_programs import Program
from tests.portal.simulated_box import PORTAL_NAME, STATION, STATION_KEY
from tests.simulators.attesting_tpm import MAKER


@dataclass(frozen=True)
class Device:
    """One box: its id, its key in software, its host name."""

    box: bytes
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> Device:
        return cls(secrets.token_bytes(16), ec.generate_private_key(ec.SECP256R1()))

    @property
    def host_name(self) -> str:
        return f"praxis-{self.box.hex()}.localhost"

    def record(self) -> bytes:
        """Give the signed record as a portal keeps it. No TPM stands behind it: the bench registers nobody by asking."""
        public = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        record = make_record(
            box=self.box,
            device_key=public,
            endorsement=secrets.token_bytes(32),
            host_name=self.host_name,
            portal_name=PORTAL_NAME,
            issued_at=1_800_000_000,
        )
        return encode_record(sign_record(record, STATION))

    def settings(self, portal_folder: Path, portal_address: str) -> dict[str, object]:
        """Give what StubVault is made of; the portal has started."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {
            "box": self.box.hex(),
            "device_key": key.decode(),
            "host_name": self.host_name,
            "portal_address": portal_address,
            "portal_name": PORTAL_NAME,
            "portal_ca": (portal_folder / "state/portal-ca.pem").read_text(),
        }


def write_portal(folder: Path, address: str, port: int, devices: Iterable[Device], **more: object) -> Path:
    """Write a portal's settings and the records of its boxes; give the settings file."""
    (folder / "makers.pem").write_bytes(MAKER.pem)
    registry = folder / "state/registry"
    registry.mkdir(parents=True, mode=0o700)
    for device in devices:
        (registry / f"{device.box.hex()}.json").write_bytes(device.record())
    lines = {
        "portal_name": PORTAL_NAME,
        "state_folder": str(folder / "state"),
        "listen_address": address,
        "listen_port": port,
        "station_keys": [STATION_KEY],
        "tpm_makers": str(folder / "makers.pem"),
        **more,
    }
    path = folder / "portal.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


class Portal(Program):
    """The real portal as its own process; its settings say the port."""

    def __init__(self, python: Path, settings: Path, *, namespace: str | None = None) -> None:
        # It says that it is ready on standard error; here that is one stream with its output.
        command = ["sh", "-c", 'exec "$@" 2>&1', "portal", python, "-m", "provisioning.portal", settings]
        super().__init__(command, namespace=namespace, json_lines=False)

    def until_ready(self) -> int:
        """Wait until it listens; give its port."""
        line = self.hear(lambda said: "ready" in said and "port=" in said)
        return int(line.rsplit("port=", 1)[1].split()[0])

    def end(self, number: int | None = signal.SIGTERM) -> None:
        super().end(number)
