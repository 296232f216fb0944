"""Local calls: Varlink, systemd's own local protocol (JSON objects, NUL-terminated, over a Unix socket).

message: one call or reply on the wire; call: a verb as a typed structure; server, client: the two ends;
stream: the bytes that follow an upgraded call; watch: patience with a peer.
Source: varlink.org, "Method Call"; docs/formats/local-calls.md.
"""

from appliance.core.varlink.call import Call, Done, Interface
from appliance.core.varlink.client import Peer
from appliance.core.varlink.server import Answers, Caller, answer_connection, serve
from appliance.core.varlink.stream import Stream
from appliance.core.varlink.watch import PeerGone, WatchedPeer, ask_patiently

__all__ = [
    "Answers",
    "Call",
    "Caller",
    "Done",
    "Interface",
    "Peer",
    "PeerGone",
    "Stream",
    "WatchedPeer",
    "answer_connection",
    "ask_patiently",
    "serve",
]
