"""What becomes of a process that was forked while it was connected."""

from __future__ import annotations

import os

from trunkline.errors import TrunklineError


class _Process:
    """What this process knows of itself; one object, which a fork changes in the child."""

    def __init__(self) -> None:
        self.has_connected = False
        self.was_forked_connected = False

    def forked(self) -> None:
        """Is called in the child."""
        self.was_forked_connected = self.was_forked_connected or self.has_connected


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forked)


def note_connection() -> None:
    """Notes that this process uses gRPC: its threads do not survive a fork."""
    _process.has_connected = True


def check(error: type[TrunklineError]) -> None:
    """Raises an error of this class in the child of a process that was connected when it was forked: gRPC does not
    work there, calls would wait for ever."""
    if _process.was_forked_connected:
        raise error(
            "this process was forked from one that had a Trunkline connection open, and gRPC does not survive a fork: "
            "start it with multiprocessing.get_context('spawn'), or fork before anything connects",
            details={"pid": os.getpid()},
        )
