"""FanIn: one receiver of many pipes, without a thread in between."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from trunkline.errors import OverloadedError
from trunkline.message_channel.errors import ChannelClosedError
from trunkline.message_channel.limits import MAX_MAILBOX_MESSAGES
from trunkline.message_channel.mailbox import wait_limit
from trunkline.message_channel.pipes import FrameReader

T = TypeVar("T")


class FanIn(Generic[T]):
    """A mailbox filled by pipes and by this process.

    The thread that receives reads the pipes itself; one read takes what hundreds of messages need. A process that is
    killed while it writes leaves a beginning that is never completed, and everybody else goes on.
    """

    def __init__(self) -> None:
        self._ready: deque[T] = deque()
        self._receiving = threading.Lock()
        self._waiting = False
        self._closed = False
        self._freed = False
        self._sources: dict[int, tuple[FrameReader, Callable[[Any], T], Callable[[], None]]] = {}
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)

    def add(self, reader: FrameReader, accept: Callable[[Any], T], ended: Callable[[], None]) -> None:
        """Receives from a pipe too. `accept` makes an item of what was read; `ended` is called when the other end is
        closed, and nothing more will come."""
        self._sources[reader.fd] = (reader, accept, ended)
        self._poll.register(reader.fd, select.EPOLLIN)

    def put(self, item: T) -> None:
        """Adds an item from this process.

        Raises:
            OverloadedError: MAX_MAILBOX_MESSAGES wait here.
            ChannelClosedError: it is closed.
        """
        if self._closed:
            raise ChannelClosedError("the channel is closed")
        if len(self._ready) >= MAX_MAILBOX_MESSAGES:
            raise OverloadedError(
                f"the mailbox holds {MAX_MAILBOX_MESSAGES} messages that nobody receives",
                details={"limit": "max_mailbox_messages", "maximum": MAX_MAILBOX_MESSAGES},
            )
        self._ready.append(item)
        if self._waiting:
            os.eventfd_write(self._wake, 1)

    def get(self, timeout: float | None) -> T | None:
        """As `Mailbox.get`."""
        try:
            return self._ready.popleft()
        except IndexError:
            pass
        limit = wait_limit(timeout)
        until = None if timeout is None else time.monotonic() + limit
        if not self._receiving.acquire(timeout=limit):
            return None
        try:
            return self._receive(until)
        finally:
            self._waiting = False
            self._receiving.release()

    def end(self) -> None:
        """Takes no more; receivers get what is there, then `ChannelClosedError`. Idempotent."""
        if not self._closed:
            self._closed = True
            os.eventfd_write(self._wake, 1)  # never read again: it wakes one receiver after the other

    def close(self) -> None:
        """`end`, and frees the pipes when the last receiver has left. Idempotent."""
        if self._freed:
            return
        self.end()
        with self._receiving:
            if self._freed:
                return
            self._freed = True
            for reader, _, _ in self._sources.values():
                reader.close()
            self._sources.clear()
            self._poll.close()
            os.close(self._wake)

    def _receive(self, until: float | None) -> T | None:
        while True:
            # Said before looking once more: who puts after the look sees it and wakes.
            self._waiting = True
            try:
                return self._ready.popleft()
            except IndexError:
                if self._closed:
                    raise ChannelClosedError("the channel is closed") from None
            left = None if until is None else max(0.0, until - time.monotonic())
            events = self._poll.poll(left)
            self._waiting = False
            if not events:
                return None
            for fd, _ in events:
                if fd == self._wake:
                    if not self._closed:
                        os.eventfd_read(self._wake)
                else:
                    self._read(fd)

    def _read(self, fd: int) -> None:
        source = self._sources.get(fd)
        if source is None:
            return
        reader, accept, ended = source
        found = reader.read()
        if found is None:
            self._poll.unregister(fd)
            del self._sources[fd]
            reader.close()
            ended()
        else:
            self._ready.extend(map(accept, found))
