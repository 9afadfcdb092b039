"""Waiting for several mailboxes at once: one thread, asleep in the kernel until there is something in one of them."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence

from trunkline.message_channel.bell import Belfry, Bell


def wait_for_any(mailboxes: Sequence[Belfry], timeout: float | None) -> list[bool]:
    """Waits until one of them has something, or is closed; says of each whether it has. All False after `timeout`
    seconds; None waits for ever."""
    found = [mailbox.look() for mailbox in mailboxes]
    if any(found) or (timeout is not None and timeout <= 0):
        return found
    until = None if timeout is None else time.monotonic() + timeout
    bell, poll = Bell(), select.poll()
    poll.register(bell.fd, select.POLLIN)
    try:
        for mailbox in mailboxes:
            mailbox.watch(bell)
            if mailbox.descriptor is not None:
                poll.register(mailbox.descriptor, select.POLLIN)
        # Looked for once more with the bell in place: what comes after the look rings it.
        while not any(found := [mailbox.look() for mailbox in mailboxes]):
            if not poll.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000):
                break
            bell.silence()
    finally:
        for mailbox in mailboxes:
            mailbox.unwatch(bell)
    return found
