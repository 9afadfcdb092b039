"""Bell: wakes a thread that sleeps in the kernel; Belfry: the bells of those who wait for one mailbox."""

from __future__ import annotations

import os
from contextlib import suppress


class Bell:
    """A descriptor (an eventfd) that is readable once it was rung.

    It is closed with the last reference to the bell, and not before: whoever is just about to ring it never writes to a
    descriptor that is somebody else's by now.
    """

    fd = -1

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        """Wakes whoever polls the descriptor. Any thread may call."""
        os.eventfd_write(self.fd, 1)

    def silence(self) -> None:
        """What was rung until now is forgotten."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Belfry:
    """What can be waited for together with others; see `waiting`."""

    descriptor: int | None = None
    """Is readable, too, when there is something to look for; None: the bells tell everything."""

    def __init__(self) -> None:
        self._bells: list[Bell] = []

    def look(self) -> bool:
        """Whether `get` would not have to wait. Never waits itself."""
        raise NotImplementedError

    def watch(self, bell: Bell) -> None:
        """Rings this bell, too, when something comes or when it is closed. What is there already rings nothing."""
        self._bells.append(bell)

    def unwatch(self, bell: Bell) -> None:
        """Undoes `watch`; one that is not watched is fine."""
        with suppress(ValueError):
            self._bells.remove(bell)

    def _ring(self) -> None:
        for bell in tuple(self._bells):
            bell.ring()
