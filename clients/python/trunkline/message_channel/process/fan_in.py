"""FanIn: one receiver of many pipes, without a thread in between."""

from __future__ import annotations

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
from trunkline.message_channel.process.pipes import FrameReader
from trunkline.message_channel.waitable import EventFd, Waitable

T = TypeVar("T")


class FanIn(Waitable, Generic[T]):
    """A mailbox filled by pipes and by this process.

    The thread that receives reads the pipes itself; one read takes what hundreds of messages need. A process that is
    killed while it writes leaves a beginning that is never completed, and all others go on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ready: deque[T] = deque()
        self._receiving = threading.Lock()
        self._waiting = False
        self._closed = False
        self._to_free = False
        self._sources: dict[int, tuple[FrameReader, Callable[[Any], T], Callable[[], None]]] = {}
        self._poll = select.epoll()
        self._wake: EventFd | None = EventFd()
        self._wake_fd = self._wake.fd
        self._poll.register(self._wake_fd, select.EPOLLIN)
        self.descriptor = self._poll.fileno()

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
        if self._waiting and (wake := self._wake):
            wake.notify()
        if self._waiters:
            self._notify_waiters()

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
            self._leave()

    def is_ready(self) -> bool:
        """Whether `get` would not have to wait; takes from the pipes what has come. While another thread receives,
        what comes is that one's."""
        if not self._ready and not self._closed and self._receiving.acquire(blocking=False):
            try:
                if not self._closed:
                    self._take(self._poll.poll(0))
            finally:
                self._leave()
        return bool(self._ready) or self._closed

    def end(self) -> None:
        """Takes no more; receivers get what is there, then `ChannelClosedError`. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._wake:
                self._wake.notify()  # never cleared again: it wakes one receiver after the other
            self._notify_waiters()

    def close(self) -> None:
        """Ends this mailbox and frees the pipes, or lets the last receiver free them when it leaves. Idempotent."""
        self.end()
        self._to_free = True
        self._free()

    def _leave(self) -> None:
        self._receiving.release()
        if self._to_free:
            self._free()

    def _free(self) -> None:
        # Never waits for the lock: `close` may be called by a signal's handler in the very thread that has it.
        if self._receiving.acquire(blocking=False):
            for reader, _, _ in self._sources.values():
                reader.close()
            self._sources.clear()
            self._poll.close()
            self._wake = None
            self._receiving.release()

    def _receive(self, until: float | None) -> T | None:
        while True:
            # Set before looking once more: a sender that puts after the look sees it and wakes this thread.
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
            self._take(events)

    def _take(self, events: list[tuple[int, int]]) -> None:
        for fd, _ in events:
            if fd != self._wake_fd:
                self._read(fd)
            elif self._wake and not self._closed:
                self._wake.clear()

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
