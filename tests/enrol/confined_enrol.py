"""enrol as its unit runs it, but with the simulated vault's socket: confined first, then its own wiring."""

import socket
import sys
from pathlib import Path

from appliance.contracts.vault import VAULT
from appliance.core.confine import confine_passed_sockets
from appliance.core.service import run
from appliance.core.varlink import Peer
from appliance.enrol.__main__ import serve_technician

if __name__ == "__main__":
    confine_passed_sockets().say()
    sockets = {"lan": socket.socket(fileno=int(sys.argv[1]))}
    run(lambda _: serve_technician(sockets, Peer(VAULT, Path(sys.argv[2]))))
