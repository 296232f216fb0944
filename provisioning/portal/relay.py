"""Two connected sockets, spliced: every byte of one to the other, unread, both ways, with half-close.

The bytes go socket -> pipe -> socket inside the kernel (splice(2)); this process never holds one of them. A pipe is
borrowed for one turn and returned empty, so an idle connection holds none, and a pipe with bytes in it is closed,
never used for another connection.

A stalled reader stops its own direction only: the pipe fills, the source is no longer read, TCP does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket

CHUNK_BYTES = 256 * 1024
TURN_BYTES = 1024 * 1024  # after this many bytes the next connection has its turn
KEPT_PIPES = 64
SPLICE_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK

Pipe = tuple[int, int]


class Pipes:
    """Empty pipes to borrow; at most KEPT_PIPES are kept."""

    def __init__(self) -> None:
        self._empty: list[Pipe] = []

    def take(self) -> Pipe:
        """Give an empty pipe."""
        if self._empty:
            return self._empty.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # over pipe-user-pages-soft a pipe stays small; pipe(7)
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """Take a pipe back; one that holds bytes is closed."""
        if empty and len(self._empty) < KEPT_PIPES:
            self._empty.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])

    def close(self) -> None:
        """Close the kept pipes."""
        while self._empty:
            self.give_back(self._empty.pop(), empty=False)


class _Direction:
    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.pipe: Pipe | None = None
        self.bytes_in_pipe = 0
        self.over = False
        self.reading = False
        self.writing = False


class Relay:
    """One relayed connection. `run` ends when both directions ended, one broke, or `end` was called."""

    #: A half-close always passes through (copying.Copy).
    leaving = False

    def __init__(self, patient: socket.socket, box: socket.socket, pipes: Pipes) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipes = pipes
        self._directions = (_Direction(patient, box), _Direction(box, patient))
        self._over = self._loop.create_future()
        #: When a byte last moved, and how many have, for the idle limit and the counts.
        self.moved_at = self._loop.time()
        self.moved_bytes = 0

    async def run(self) -> None:
        """Relay until it is over. The caller closes both sockets."""
        try:
            for direction in self._directions:
                self._pump(direction)
            await self._over
        finally:
            for direction in self._directions:
                self._wait(direction, reading=False, writing=False)
                if direction.pipe is not None:
                    self._pipes.give_back(direction.pipe, empty=False)
                    direction.pipe = None

    def end(self) -> None:
        """End the relay now."""
        if not self._over.done():
            self._over.set_result(None)

    def _pump(self, direction: _Direction) -> None:
        if self._over.done():
            return
        try:
            moved = self._move(direction)
        except OSError:  # either side is gone; splice(2) and tcp(7) name many ways
            self.end()
            return
        if moved:
            self.moved_at = self._loop.time()
            self.moved_bytes += moved
        if direction.over:
            self._wait(direction, reading=False, writing=False)
            if all(each.over for each in self._directions):
                self.end()
        else:
            full = direction.bytes_in_pipe > 0
            self._wait(direction, reading=not full, writing=full)

    def _move(self, direction: _Direction) -> int:
        """Move bytes until either socket would block; give how many reached the target."""
        moved = 0
        pipe = direction.pipe or self._pipes.take()
        direction.pipe = pipe
        try:
            while moved < TURN_BYTES:
                if not direction.bytes_in_pipe:
                    count = os.splice(direction.source.fileno(), pipe[1], CHUNK_BYTES, flags=SPLICE_FLAGS)
                    if not count:
                        direction.target.shutdown(socket.SHUT_WR)
                        direction.over = True
                        break
                    direction.bytes_in_pipe = count
                count = os.splice(pipe[0], direction.target.fileno(), direction.bytes_in_pipe, flags=SPLICE_FLAGS)
                direction.bytes_in_pipe -= count
                moved += count
        except BlockingIOError:
            pass
        if not direction.bytes_in_pipe:
            self._pipes.give_back(pipe, empty=True)
            direction.pipe = None
        return moved

    def _wait(self, direction: _Direction, *, reading: bool, writing: bool) -> None:
        if reading != direction.reading:
            direction.reading = reading
            if reading:
                self._loop.add_reader(direction.source, self._pump, direction)
            else:
                self._loop.remove_reader(direction.source)
        if writing != direction.writing:
            direction.writing = writing
            if writing:
                self._loop.add_writer(direction.target, self._pump, direction)
            else:
                self._loop.remove_writer(direction.target)
