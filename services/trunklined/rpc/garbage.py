"""Garbage: keeps the collector of Python's cyclic garbage from walking over all that a program holds.

A full collection looks at every container there is and holds the whole process meanwhile: a tenth of a second with a
few hundred thousand stored messages, and it comes again each time that the program holds a quarter more. What the
services drop holds no cycles, save by accident; so what one full collection leaves is set aside from the next ones.
"""

from __future__ import annotations

import gc
import time
from typing import Any, Final

MOST_MORE: Final = 1_000_000
"""Objects that are set aside beyond those after the last look at all: then all are looked at again, as cycles among
them are not found otherwise."""
COUNT_SECONDS: Final = 60.0
"""How often they are counted: to count a million takes some milliseconds."""


class Garbage:
    """Sets aside what full collections leave, from `start` to `close`. One for a process, as its collector is."""

    def __init__(self) -> None:
        self._counted_at = 0.0
        self._kept = 0
        """Objects that were set aside when all were looked at."""
        self._looks_at_all = False
        """The next full collection has all before it."""

    def start(self) -> None:
        """Looks at all there is, and sets it aside."""
        gc.callbacks.append(self._on_collection)
        self._give_back()
        gc.collect()

    def close(self) -> None:
        """Gives everything back to the collector."""
        gc.callbacks.remove(self._on_collection)
        gc.unfreeze()

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if phase != "stop" or info["generation"] != 2:
            return
        gc.freeze()
        now = time.monotonic()
        if self._looks_at_all:
            self._looks_at_all = False
            self._counted_at, self._kept = now, gc.get_freeze_count()
        elif now - self._counted_at >= COUNT_SECONDS:
            self._counted_at = now
            if gc.get_freeze_count() - self._kept > MOST_MORE:
                self._give_back()  # the next one comes by itself: a collection cannot begin within another

    def _give_back(self) -> None:
        gc.unfreeze()
        self._looks_at_all = True
