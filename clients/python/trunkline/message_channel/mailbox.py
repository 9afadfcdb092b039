"""Mailboxes: where messages wait for one receiver. Any thread may put; one receiver gets."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from trunkline.errors import OverloadedError
from trunkline.message_channel.errors import ChannelClosedError
from trunkline.message_channel.limits import MAX_MAILBOX_MESSAGES, SEND_WAIT
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.message_channel.waitable import Waitable

_FULL_PAUSE: Final = 0.005
"""The interval in seconds of a sender's checks whether a full mailbox has room again."""


class MailboxSender(Protocol):
    """The sending end of a mailbox."""

    def put(self, message: ServiceMessage) -> None:
        """Adds a message.

        Raises:
            OverloadedError: no room within SEND_WAIT.
            ChannelClosedError: closed, or the receiver is gone.
        """

    def close(self) -> None:
        """Closes the mailbox: its receiver gets what is there and then `ChannelClosedError`. Idempotent."""


class Mailbox(MailboxSender, Protocol):
    """A mailbox with both its ends."""

    def get(self, timeout: float | None) -> ServiceMessage | None:
        """Takes the next message; None after `timeout` seconds (0 or less: at once). None as timeout waits for ever.

        Raises:
            ChannelClosedError: closed, and nothing is left.
        """


def wait_limit(timeout: float | None) -> float:
    """Returns a timeout as locks and polls take it: -1 for ever, else not negative and within their range."""
    return -1 if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX))


class ThreadMailbox(Waitable):
    """A mailbox between threads, without a descriptor.

    `queue.SimpleQueue` is written in C and several times as fast as `queue.Queue`; it has no bound of its own, so the
    bound is looked at before each put (and may be passed by as many messages as there are senders).
    """

    def __init__(self, maximum: int = MAX_MAILBOX_MESSAGES) -> None:
        super().__init__()
        self._queue: SimpleQueue[ServiceMessage | None] = SimpleQueue()
        self._maximum = maximum
        self._closed = False

    def put(self, message: ServiceMessage) -> None:
        if self._closed:
            raise ChannelClosedError("the channel is closed")
        if self._queue.qsize() >= self._maximum:
            self._wait_for_room()
        self._queue.put(message)
        if self._waiters:
            self._notify_waiters()

    def get(self, timeout: float | None) -> ServiceMessage | None:
        try:
            message = self._queue.get(True, None if timeout is None else wait_limit(timeout))
        except Empty:
            return None
        if message is None:
            self._queue.put(None)  # for the next receiver
            raise ChannelClosedError("the channel is closed")
        return message

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._notify_waiters()

    def is_ready(self) -> bool:
        """Whether `get` would not have to wait."""
        return not self._queue.empty()

    def __len__(self) -> int:
        return self._queue.qsize()

    def _wait_for_room(self) -> None:
        until = time.monotonic() + SEND_WAIT
        while self._queue.qsize() >= self._maximum:
            if time.monotonic() >= until:
                raise OverloadedError(
                    f"the mailbox holds {self._maximum} messages that nobody receives",
                    details={"limit": "max_mailbox_messages", "maximum": self._maximum},
                )
            time.sleep(_FULL_PAUSE)
            if self._closed:
                raise ChannelClosedError("the channel is closed")
