"""NameSubscriptions: the bus subscriptions of the names that are reached through this program."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from trunkline.bus.message_bus import MessageBus
from trunkline.channels import agent_channel, check_channel
from trunkline.errors import BusNotConnectedError
from trunkline.models import AgentMessage

_log = logging.getLogger(__name__)


class NameSubscriptions:
    """Subscribes a bus to the channel of each name, `conductor:agent:{name}`, once, for as long as the name is wanted.

    A subscription may take as long as the bus is away, and names come and go meanwhile. So each name has at most one
    task, which goes on until the bus has what was last called for. Runs in the event loop of the bus.

    Args:
        bus: connected, and disconnected, by the caller.
        on_message: called with the name and each message on its channel, one at a time for each name.
    """

    def __init__(self, bus: MessageBus, on_message: Callable[[str, AgentMessage], Awaitable[None]]) -> None:
        self._bus = bus
        self._on_message = on_message
        self._wanted: set[str] = set()
        self._subscribed: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._wanted or name in self._subscribed

    @property
    def has_tasks(self) -> bool:
        """Whether a name waits for the bus. Any thread may ask."""
        return bool(self._tasks)

    def listen(self, name: str) -> asyncio.Task[None] | None:
        """Subscribes to the channel of a name.

        Returns:
            What is done when the subscription is in effect, or fails as it did; None where it is in effect already.

        Raises:
            InvalidChannelError: the name is no channel token.
        """
        if name not in self._wanted:
            check_channel(agent_channel(name))
            self._wanted.add(name)
        return self._settle(name)

    def unlisten(self, name: str) -> asyncio.Task[None] | None:
        """Ends the subscription of a name; returns as `listen`. An unknown name is fine."""
        self._wanted.discard(name)
        return self._settle(name)

    def _settle(self, name: str) -> asyncio.Task[None] | None:
        task = self._tasks.get(name)
        if task is None and (name in self._wanted) != (name in self._subscribed):
            task = self._tasks[name] = asyncio.create_task(self._work(name), name=f"subscribe {name}")
            task.add_done_callback(partial(_note_failure, name))
        return task

    async def _work(self, name: str) -> None:
        channel = agent_channel(name)
        try:
            while (name in self._wanted) != (name in self._subscribed):
                if name in self._wanted:
                    await self._bus.subscribe(channel, partial(self._on_message, name))
                    self._subscribed.add(name)
                else:
                    with suppress(BusNotConnectedError):  # it was disconnected, and has no subscriptions any more
                        await self._bus.unsubscribe(channel)
                    self._subscribed.discard(name)
        finally:
            del self._tasks[name]


def _note_failure(name: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.debug("messages for %r are not received: %s", name, error)
