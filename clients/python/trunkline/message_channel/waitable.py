"""Waitable: a mailbox that can be waited for together with others, woken by an EventFd."""

from __future__ import annotations

import os
from contextlib import suppress


class EventFd:
    """A descriptor (eventfd(2)) that is readable once it was notified.

    It is closed with the last reference to it, and not before: a thread that is just about to notify never writes to a
    descriptor that is another's by now.
    """

    fd = -1

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def notify(self) -> None:
        """Wakes the threads that poll the descriptor. Any thread may call."""
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Makes the descriptor unreadable until it is notified again."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Waitable:
    """What can be waited for together with others; see `wait_for_any`."""

    descriptor: int | None = None
    """Is readable, too, when `is_ready` may have become true; None: waiters are notified of everything."""

    def __init__(self) -> None:
        self._waiters: list[EventFd] = []

    def is_ready(self) -> bool:
        """Whether `get` would not have to wait. Never waits itself."""
        raise NotImplementedError

    def add_waiter(self, waiter: EventFd) -> None:
        """Notifies a waiter, too, when something comes and when this is closed; not of what is there already."""
        self._waiters.append(waiter)

    def remove_waiter(self, waiter: EventFd) -> None:
        """Undoes `add_waiter`; an unknown waiter is fine."""
        with suppress(ValueError):
            self._waiters.remove(waiter)

    def _notify_waiters(self) -> None:
        for waiter in tuple(self._waiters):
            waiter.notify()
