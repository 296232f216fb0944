"""Keys of documents and previews on their way to and from vault, while the erasure key may turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from appliance.contracts.vault import UnwrapDocumentKey, WrapDocumentKey, WrappedKey
from appliance.core.errors import Unavailable
from appliance.records import erasure
from appliance.records.archive import Archive
from appliance.records.database import Rows

Result = TypeVar("Result")


async def wrap(archive: Archive, identifier: str, key: bytes) -> WrappedKey:
    """Have vault wrap a new key."""
    return await archive.vault.ask(WrapDocumentKey(document=identifier, key=key))


async def keep(
    archive: Archive, identifier: str, key: bytes, wrapped: WrappedKey, work: Callable[[Rows, WrappedKey], Result]
) -> Result:
    """Do `work`, which puts the wrapped key into a row; wrapped anew if the erasure key turned meanwhile."""
    while True:
        try:
            return await archive.database.run(partial(_keep, wrapped=wrapped, work=work))
        except erasure.KeyTurned:
            wrapped = await wrap(archive, identifier, key)


async def unwrap(archive: Archive, identifier: str, wrapped: WrappedKey) -> bytes:
    """Have vault unwrap; the row is read again if the erasure key turned since it was read."""
    try:
        return await _unwrap(archive, identifier, wrapped)
    except Unavailable as error:
        if error.code != "key_turned":
            raise
    return await _unwrap(
        archive, identifier, await archive.database.run(lambda rows: erasure.find_key(rows, identifier))
    )


async def _unwrap(archive: Archive, identifier: str, key: WrappedKey) -> bytes:
    asked = UnwrapDocumentKey(document=identifier, wrapped=key.wrapped, generation=key.generation)
    return (await archive.vault.ask(asked)).key


def _keep(rows: Rows, wrapped: WrappedKey, work: Callable[[Rows, WrappedKey], Result]) -> Result:
    erasure.check_generation(rows, wrapped)
    return work(rows, wrapped)
