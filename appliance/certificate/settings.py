"""certificate's settings (/etc/praxissafe/certificate.toml)."""

from __future__ import annotations

from appliance.core.settings import Settings


class CertificateSettings(Settings, frozen=True, kw_only=True):
    """Every key has a default; a box normally has no such file."""

    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    #: PEM bundle of the authorities that may sign the directory's own certificate; "" for the system's.
    directory_ca: str = ""
    #: Asked for where the directory offers it (draft-ietf-acme-profiles): certificates of at most 7 days.
    profile: str = "shortlived"
    request_timeout_s: float = 30.0
    #: How long an order may stay undecided.
    order_timeout_s: float = 300.0
    #: After an authority that could not be reached, and after one that refused: first wait and longest one.
    unreachable_first_s: float = 1.0
    unreachable_cap_s: float = 300.0
    refused_first_s: float = 60.0
    refused_cap_s: float = 21600.0
    #: How long a peer may be away before this process ends, so that systemd gives it new sockets.
    peer_patience_s: float = 15.0
