"""Many boxes' enrol, each a process of its own, confined as its unit confines it; made by fork, so that imports are
paid once. Arguments: listener's descriptor and vault's socket, for each box.
"""

import os
import socket
import sys
from pathlib import Path

from appliance.contracts.vault import VAULT
from appliance.core.confine import confine_passed_sockets
from appliance.core.service import run
from appliance.core.varlink import Peer
from appliance.enrol.__main__ import serve_technician


def serve(descriptor: int, vault: Path) -> None:
    confine_passed_sockets()
    sockets = {"lan": socket.socket(fileno=descriptor)}
    run(lambda _: serve_technician(sockets, Peer(VAULT, vault)))


if __name__ == "__main__":
    descriptors, vaults = sys.argv[1::2], sys.argv[2::2]
    for descriptor, vault in zip(descriptors, vaults, strict=True):
        if os.fork() == 0:
            for other in descriptors:
                if other != descriptor:
                    os.close(int(other))
            serve(int(descriptor), Path(vault))
            os._exit(0)
    for _ in descriptors:
        os.wait()
