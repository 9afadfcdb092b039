"""What becomes of a process that was forked while it was connected."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from trunkline.errors import TrunklineError


class Connection(Protocol):
    """What does not survive a fork."""

    def abandon(self) -> None:
        """Is called in the child: its copy is dead."""


class _Process:
    """What this process knows of itself; one object, which a fork changes in the child."""

    def __init__(self) -> None:
        self.has_connected = False
        self.was_forked_connected = False
        self.connections: WeakSet[Connection] = WeakSet()

    def forked(self) -> None:
        """Is called in the child."""
        self.was_forked_connected = self.was_forked_connected or self.has_connected
        for connection in self.connections:
            connection.abandon()


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forked)


def note_connection(connection: Connection) -> None:
    """Notes that this process uses gRPC: its threads do not survive a fork."""
    _process.has_connected = True
    _process.connections.add(connection)


def check(error: type[TrunklineError]) -> None:
    """Raises an error of this class in the child of a process that was connected when it was forked: gRPC does not
    work there, calls would wait for ever."""
    if _process.was_forked_connected:
        raise error(
            "this process was forked from one that had a Trunkline connection open, and gRPC does not survive a fork: "
            "start it with multiprocessing.get_context('spawn'), or fork before anything connects",
            details={"pid": os.getpid()},
        )
