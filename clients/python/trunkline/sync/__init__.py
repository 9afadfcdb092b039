"""The synchronous face: `trunkline.sync.MessageBus` and `StateManager`, for code without an event loop.

Each is the asynchronous class of the same kind, run in one background thread that all of them share; only the waiting
is done here. Safe to use from several threads.

Each face is loaded when it is first used: a program that needs one does not load the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.lazy_names import lazy_names

if TYPE_CHECKING:
    from trunkline.sync.background import Background as Background
    from trunkline.sync.durable_message import DurableMessage as DurableMessage
    from trunkline.sync.loop_thread import LoopThread as LoopThread
    from trunkline.sync.message_bus import MessageBus as MessageBus
    from trunkline.sync.request import Request as Request
    from trunkline.sync.state_manager import StateManager as StateManager
    from trunkline.sync.submitted_task import SubmittedTask as SubmittedTask

_HOMES = {
    "Background": "trunkline.sync.background",
    "DurableMessage": "trunkline.sync.durable_message",
    "LoopThread": "trunkline.sync.loop_thread",
    "MessageBus": "trunkline.sync.message_bus",
    "Request": "trunkline.sync.request",
    "StateManager": "trunkline.sync.state_manager",
    "SubmittedTask": "trunkline.sync.submitted_task",
}

__all__ = ["Background", "DurableMessage", "MessageBus", "Request", "StateManager", "SubmittedTask"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
