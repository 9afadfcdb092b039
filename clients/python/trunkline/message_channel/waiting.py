"""Waiting for several mailboxes at once: one thread, asleep in the kernel until one of them has something."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence

from trunkline.message_channel.waitable import EventFd, Waitable


def wait_for_any(mailboxes: Sequence[Waitable], timeout: float | None) -> list[bool]:
    """Waits until one of several mailboxes has something, or is closed.

    Args:
        timeout: seconds; None waits for ever.

    Returns:
        Of each mailbox whether it has something; False of all after the timeout.
    """
    found = [mailbox.is_ready() for mailbox in mailboxes]
    if any(found) or (timeout is not None and timeout <= 0):
        return found
    until = None if timeout is None else time.monotonic() + timeout
    waiter, poll = EventFd(), select.poll()
    poll.register(waiter.fd, select.POLLIN)
    try:
        for mailbox in mailboxes:
            mailbox.add_waiter(waiter)
            if mailbox.descriptor is not None:
                poll.register(mailbox.descriptor, select.POLLIN)
        # Once more with the waiter in place: what comes after this look notifies it.
        while not any(found := [mailbox.is_ready() for mailbox in mailboxes]):
            if not poll.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000):
                break
            waiter.clear()
    finally:
        for mailbox in mailboxes:
            mailbox.remove_waiter(waiter)
    return found
