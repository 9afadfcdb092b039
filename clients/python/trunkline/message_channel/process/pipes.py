"""Framed pipes between two processes: one writer process, one reader process, whole pickled objects.

`multiprocessing.Queue` shares its locks among all its processes: one that is killed while it holds one stops the
others, and one that is killed while it writes spoils the stream for all. Here each direction of each agent has a pipe
and no lock beyond its process. Writing does not need a second thread while the pipe has room, which also makes it
faster than the queue with its feeder.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import struct
import threading
from collections import deque
from multiprocessing.connection import Connection
from typing import Any, Final

from trunkline.errors import MessageTooLargeError, OverloadedError
from trunkline.limits import MAX_MESSAGE_BYTES
from trunkline.message_channel.errors import ChannelClosedError
from trunkline.message_channel.limits import MAX_OUTBOX_BYTES, PIPE_BYTES, PIPE_READ_BYTES, SEND_WAIT

_HEADER: Final = struct.Struct("!I")
_F_SETPIPE_SZ: Final = 1031  # fcntl.F_SETPIPE_SZ of Linux


def enlarge(pipe: Connection) -> None:
    """Sets a pipe to a larger size. A small one works too, so a refusal (the user's share is used up) is no error."""
    try:
        fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return


class FrameReader:
    """Reads objects from a pipe without ever waiting for the rest of one."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.fd: Final = pipe.fileno()
        os.set_blocking(self.fd, False)
        self._rest = b""

    def read(self) -> list[Any] | None:
        """Reads once and returns the objects that are complete, in order. None: the other end is closed."""
        try:
            data = os.read(self.fd, PIPE_READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            return None
        if self._rest:
            data = self._rest + data
        found: list[Any] = []
        start = 0
        while len(data) - start >= _HEADER.size:
            end = start + _HEADER.size + _HEADER.unpack_from(data, start)[0]
            if end > len(data):
                break
            found.append(pickle.loads(data[start + _HEADER.size : end]))
            start = end
        self._rest = data[start:]
        return found

    def close(self) -> None:
        """Closes the pipe; idempotent."""
        self._pipe.close()


class FrameWriter:
    """Writes objects to a pipe. What a full pipe does not take waits in a buffer, which a thread empties as the other
    end reads; the thread ends when the buffer is empty."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)
        self._changed = threading.Condition(threading.Lock())
        self._buffer: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._gone = False

    def write(self, item: Any) -> None:
        """Writes one object.

        Raises:
            MessageTooLargeError: its encoding is over MAX_MESSAGE_BYTES.
            OverloadedError: the other end did not read for SEND_WAIT, and the buffer is full.
            ChannelClosedError: the other end is closed.
        """
        body = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        if len(body) > MAX_MESSAGE_BYTES:
            raise MessageTooLargeError(
                f"the message has {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are allowed",
                details={"size": len(body), "limit": MAX_MESSAGE_BYTES},
            )
        frame = _HEADER.pack(len(body)) + body
        with self._changed:
            if self._gone:
                raise ChannelClosedError("the other end of the channel is closed")
            if self._buffer:
                self._queue(memoryview(frame))
                return
            written = self._write_now(frame)
            if written < len(frame):
                self._push(memoryview(frame)[written:])
                threading.Thread(target=self._empty_buffer, name="message-channel-feeder", daemon=True).start()

    def flush(self, seconds: float) -> bool:
        """Waits until the pipe took everything; returns whether it did."""
        with self._changed:
            return self._changed.wait_for(lambda: self._gone or not self._buffer, seconds) and not self._buffer

    def close(self) -> None:
        """Closes the pipe; what it did not take is lost, so `flush` first. Idempotent."""
        with self._changed:
            self._end()

    def _write_now(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._pipe.fileno(), data)
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            self._end()
            raise ChannelClosedError("the other end of the channel is closed") from error

    def _queue(self, frame: memoryview) -> None:
        def ready() -> bool:
            return self._gone or not self._buffer or self._waiting_bytes + len(frame) <= MAX_OUTBOX_BYTES

        if not self._changed.wait_for(ready, SEND_WAIT):
            raise OverloadedError(
                f"{self._waiting_bytes} bytes wait for a receiver that does not read",
                details={"limit": "max_buffer_bytes", "maximum": MAX_OUTBOX_BYTES},
            )
        if self._gone:
            raise ChannelClosedError("the other end of the channel is closed")
        idle = not self._buffer
        self._push(frame)
        if idle:
            threading.Thread(target=self._empty_buffer, name="message-channel-feeder", daemon=True).start()

    def _push(self, data: memoryview) -> None:
        self._buffer.append(data)
        self._waiting_bytes += len(data)

    def _empty_buffer(self) -> None:
        room = select.poll()
        room.register(self._pipe.fileno(), select.POLLOUT)
        while True:
            room.poll(1000)
            with self._changed:
                if self._gone:
                    return
                try:
                    while self._buffer and (written := self._write_now(self._buffer[0])):
                        self._waiting_bytes -= written
                        if written == len(self._buffer[0]):
                            self._buffer.popleft()
                        else:
                            self._buffer[0] = self._buffer[0][written:]
                except ChannelClosedError:
                    return  # `write` and `flush` see that the other end is gone
                self._changed.notify_all()
                if not self._buffer:
                    return

    def _end(self) -> None:
        self._gone = True
        self._changed.notify_all()
        self._pipe.close()
