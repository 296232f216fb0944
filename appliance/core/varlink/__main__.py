"""`python -m appliance.core.varlink call SOCKET METHOD [JSON]`: one local call from a terminal.

For systems whose systemd has no varlinkctl(1) (before 255). The kernel tells the process who asks, so as root it
gets what root may ask: the metrics and the descriptions.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import msgspec

from appliance.core.varlink.message import CallMessage, Channel, encode_json


async def call(path: str, method: str, parameters: str) -> str:
    """Make one call and give the raw reply."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    channel = Channel(sock)
    try:
        await asyncio.get_running_loop().sock_connect(sock, path)
        await channel.send(encode_json(CallMessage(method, msgspec.Raw(parameters.encode()))))
        return (await channel.receive()).decode()
    finally:
        channel.close()


def main(arguments: list[str]) -> int:
    """Run the command; 2 for wrong words, 1 for an error reply."""
    if len(arguments) not in (3, 4) or arguments[0] != "call":
        print("usage: python -m appliance.core.varlink call SOCKET METHOD [JSON]", file=sys.stderr)
        return 2
    reply = asyncio.run(call(arguments[1], arguments[2], arguments[3] if len(arguments) == 4 else "{}"))
    print(reply)
    return 1 if "error" in msgspec.json.decode(reply, type=dict[str, object]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
