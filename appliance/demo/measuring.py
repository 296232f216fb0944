"""`python -m appliance.demo.measuring SOCKET`: measures the demo's image into PCR 11, where systemd-stub(7) does it.

One TPM2_PCR_Extend by hand (TCG TPM 2.0 Library part 3, section 22.2): the library is vault's. The socket is swtpm's
data channel.
"""

from __future__ import annotations

import hashlib
import socket
import sys

PCR = 11
IMAGE = hashlib.sha256(b"praxissafe demo").digest()
TIMEOUT_S = 20.0
HEADER_BYTES = 10

#: An empty password authorises PCRs (part 2, section 10.13.2).
_PASSWORD = (0x40000009).to_bytes(4, "big") + bytes(5)


def pcr_after() -> str:
    """Give PCR 11 after the demo's boot, as systemd-measure(1) would."""
    return hashlib.sha256(bytes(32) + IMAGE).hexdigest()


def extend_command() -> bytes:
    """Give the command."""
    digests = (1).to_bytes(4, "big") + (0x000B).to_bytes(2, "big") + IMAGE
    body = PCR.to_bytes(4, "big") + len(_PASSWORD).to_bytes(4, "big") + _PASSWORD + digests
    return (
        (0x8002).to_bytes(2, "big")
        + (HEADER_BYTES + len(body)).to_bytes(4, "big")
        + (0x182).to_bytes(4, "big")
        + body
    )


def main(path: str) -> int:
    """Send it; 0 if the TPM did it."""
    with socket.socket(socket.AF_UNIX) as tpm:
        tpm.settimeout(TIMEOUT_S)
        tpm.connect(path)
        tpm.sendall(extend_command())
        answer = tpm.recv(4096)
    return 0 if answer[6:HEADER_BYTES] == bytes(4) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
