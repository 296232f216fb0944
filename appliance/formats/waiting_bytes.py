"""Bytes that wait for a reader, in few pieces: whoever sends them one by one must not make each an object. Pure."""

from __future__ import annotations

from collections import deque
from itertools import islice

#: Shorter pieces are joined, so that what waits costs at most about a fifth more than its bytes.
JOINED_BYTES = 1024


class WaitingBytes:
    """A queue of bytes; its length is in bytes."""

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def pieces(self) -> int:
        """How many pieces there are."""
        return len(self._pieces)

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._length += len(data)
        if self._pieces and len(data) < JOINED_BYTES and len(self._pieces[-1]) < JOINED_BYTES:
            self._pieces[-1] = memoryview(b"".join((self._pieces[-1], data)))
        elif data:
            self._pieces.append(memoryview(data))

    def first(self, pieces: int) -> list[memoryview]:
        """Give the first pieces, at most so many, as sendmsg(2) takes them; valid until `drop`."""
        return list(islice(self._pieces, pieces))

    def drop(self, length: int) -> None:
        """Forget the first bytes; `length` is at most what waits."""
        self._length -= length
        while length:
            first = self._pieces.popleft()
            if len(first) > length:
                self._pieces.appendleft(first[length:])
                return
            length -= len(first)

    def clear(self) -> None:
        """Forget all."""
        self._pieces.clear()
        self._length = 0
