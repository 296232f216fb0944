"""Real stores on this machine: rclone as a REST server, OpenSSH's sshd, moto as S3; each with its own key."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from appliance.contracts.backup import Store

READY_TIMEOUT_S = 60
USER, SECRET = "box-17", "s3cret-of-the-st0re-%/:@"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that is its own authority."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()


def make_certificate(folder: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    files = Certificate(folder / "certificate.pem", folder / "key.pem")
    files.certificate.write_bytes(made.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@contextlib.contextmanager
def program(words: list[str], is_ready: Callable[[], bool], log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as said:
        child = subprocess.Popen(words, stdout=said, stderr=said, env=os.environ | environment)
        try:
            give_up_at = time.monotonic() + READY_TIMEOUT_S
            while not is_ready():
                assert child.poll() is None, log.read_text()
                assert time.monotonic() < give_up_at, log.read_text()
                time.sleep(0.05)
            yield
        finally:
            child.terminate()
            child.wait(10)


def answers_tcp(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def rest_store(folder: Path, *, append_only: bool = True, port: int | None = None) -> Iterator[Store]:
    """`rclone serve restic` over TLS, for one user; what it keeps is in folder/data."""
    folder.mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    own, port = make_certificate(folder / "tls"), port or free_port()
    words = ["rclone", "serve", "restic", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}"]
    words += ["--user", USER, "--pass", SECRET, "--cert", str(own.certificate), "--key", str(own.key)]
    words += ["--append-only"] if append_only else []
    with program([*words, str(folder / "data")], lambda: answers_tcp(port), folder / "log"):
        yield Store(
            kind="rest", place=f"https://127.0.0.1:{port}/praxis", user=USER, secret=SECRET, authority=own.pem
        )


@dataclass(frozen=True)
class SftpServer:
    """An sshd of this user with a folder to write into."""

    store: Store
    authorized: Path
    data: Path


@contextlib.contextmanager
def sftp_server(folder: Path) -> Iterator[SftpServer]:
    """OpenSSH's sshd on a loopback port, admitting the keys in `authorized`."""
    folder.mkdir(exist_ok=True)
    port, host_key, data = free_port(), folder / "host_key", folder / "data"
    data.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
    authorized = folder / "authorized_keys"
    authorized.write_text("")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd drops its rights; Debian's unit makes it
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {host_key}\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {authorized}\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "Subsystem sftp internal-sftp\n"
    )
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    store = Store(
        kind="sftp",
        place=f"sftp://{user}@127.0.0.1:{port}{data}/praxis",
        server_key=host_key.with_suffix(".pub").read_text(),
    )
    words = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")]
    with program(words, lambda: answers_tcp(port), folder / "log"):
        yield SftpServer(store, authorized, data)


@contextlib.contextmanager
def s3_store(folder: Path, *, locked: bool = True) -> Iterator[Store]:
    """moto as S3 over TLS: a bucket, with object lock that keeps each version for 30 days if `locked`."""
    folder.mkdir(exist_ok=True)
    own, port = make_certificate(folder / "tls"), free_port()
    words = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    words += ["-c", str(own.certificate), "-k", str(own.key)]
    store = Store(
        kind="s3", place=f"https://127.0.0.1:{port}/praxis/box-17", user=USER, secret="s3cret", authority=own.pem
    )
    with program(words, lambda: answers_tcp(port), folder / "log"):
        client = s3_client(store, own)
        client.create_bucket(Bucket="praxis", ObjectLockEnabledForBucket=locked)
        if locked:
            rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
            client.put_object_lock_configuration(
                Bucket="praxis", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
            )
        yield store


def s3_client(store: Store, own: Certificate):
    """A client with the box's own credentials."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=store.place.rsplit("/", 2)[0],
        aws_access_key_id=store.user,
        aws_secret_access_key=store.secret,
        region_name="us-east-1",
        verify=str(own.certificate),
    )


def certificate_of(folder: Path) -> Certificate:
    return Certificate(folder / "tls/certificate.pem", folder / "tls/key.pem")


def client_context(store: Store) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=store.authority)
