"""The synchronous face: `trunkline.sync.MessageBus` and `StateManager`, for code without an event loop.

Each is the asynchronous class of the same kind, run in one background thread that all of them share; only the waiting
is done here. Safe to use from several threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.sync.message_bus import MessageBus as MessageBus
    from trunkline.sync.state_manager import StateManager as StateManager

__all__ = ["MessageBus", "StateManager"]


def __getattr__(name: str) -> Any:
    """Each face is loaded when it is first used: a program that needs one does not load the other."""
    if name == "MessageBus":
        from trunkline.sync.message_bus import MessageBus

        return MessageBus
    if name == "StateManager":
        from trunkline.sync.state_manager import StateManager

        return StateManager
    raise AttributeError(f"module 'trunkline.sync' has no attribute {name!r}")
