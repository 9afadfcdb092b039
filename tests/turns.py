"""Turns: which tests run at the same time, where several processes run those of one tree."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Turns:
    """Tests run beside each other, but one that runs alone; it waits until the others have ended, and they for it."""

    def __init__(self) -> None:
        # All processes lock the same two files; what is in them does not matter.
        self._gate = os.open(__file__, os.O_RDONLY)
        """Whoever waits for the floor holds it, so that those who come later do not overtake."""
        self._floor = os.open(Path(__file__).with_name("conftest.py"), os.O_RDONLY)
        self._has_floor = False

    def begin(self, *, alone: bool) -> None:
        """Waits for a turn; whoever still has one goes on."""
        if self._has_floor:
            return
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._has_floor = True

    def end(self) -> None:
        """Lets those who wait have theirs."""
        fcntl.flock(self._floor, fcntl.LOCK_UN)
        self._has_floor = False
