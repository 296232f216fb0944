"""watch's settings (/etc/praxissafe/watch.toml): which logs and monitors are asked."""

from __future__ import annotations

from typing import Annotated

import msgspec

from appliance.core.settings import Settings

SourceName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^https://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._/-]*)?$", max_length=300)]


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A log that is read entry by entry (RFC 6962).

    `url` is what stands before `/ct/v1/`; `key` base64 of its SubjectPublicKeyInfo; `authority` the PEM of the one
    authority of its TLS name, "" for those of the system. `whole`: from its first entry on, not from today's last.
    """

    name: SourceName
    url: Address
    key: Annotated[str, msgspec.Meta(max_length=1200)]
    authority: Annotated[str, msgspec.Meta(max_length=16384)] = ""
    whole: bool = True


class MonitorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A monitor that searches the public logs; `url` is what stands before `?domain=`."""

    name: SourceName
    url: Address
    authority: Annotated[str, msgspec.Meta(max_length=16384)] = ""


class WatchSettings(Settings, frozen=True, kw_only=True):
    """Without a source nothing is watched, and the status page says so."""

    state_folder: str = "/var/lib/praxissafe/watch"
    logs: Annotated[tuple[LogSettings, ...], msgspec.Meta(max_length=16)] = ()
    monitors: Annotated[tuple[MonitorSettings, ...], msgspec.Meta(max_length=8)] = ()
    every_s: float = 3600.0
    #: Of one question, and of all that is asked of one source in a round.
    answer_timeout_s: float = 30.0
    source_timeout_s: float = 900.0
    entries_at_once: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 256
    entries_a_round: Annotated[int, msgspec.Meta(ge=1)] = 200_000
    #: A log shows a certificate a day after it took it, at the latest (its maximum merge delay).
    merge_delay_s: int = 86400
    peer_patience_s: float = 10.0
