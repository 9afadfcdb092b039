"""One agent's end of a channel in process mode: it travels into a spawned process."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import context, util
from multiprocessing.connection import Connection
from typing import Any

from trunkline.message_channel.errors import ChannelClosedError
from trunkline.message_channel.limits import FLUSH_SECONDS
from trunkline.message_channel.process.fan_in import FanIn
from trunkline.message_channel.process.pipes import FrameReader, FrameWriter, enlarge
from trunkline.message_channel.service_message import Flat, ServiceMessage, flattened, restored

Transit = tuple[str, Flat, int | None]
"""A message of an agent to others than the owner: target, message, and the token of the request that it answers."""


@dataclass(frozen=True, slots=True)
class AgentEnds:
    """The three pipe ends that go to the agent's process."""

    down: Connection
    up: Connection
    transit: Connection
    _closing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def close(self) -> None:
        """Closes the ends; idempotent. Any thread may call: without the lock, the later of two that close one
        descriptor would close what was opened under its number in between."""
        with self._closing:
            for end in (self.down, self.up, self.transit):
                end.close()


@dataclass(frozen=True, slots=True)
class OwnerEnds:
    """The three pipe ends that stay with the owner."""

    down: Connection
    up: Connection
    transit: Connection


def open_pipes() -> tuple[AgentEnds, OwnerEnds]:
    """Opens three one-way pipes: owner to agent, agent to owner, and agent to others by way of the owner."""
    down_out, down_in = multiprocessing.Pipe(duplex=False)
    up_out, up_in = multiprocessing.Pipe(duplex=False)
    transit_out, transit_in = multiprocessing.Pipe(duplex=False)
    for end in (down_in, up_in, transit_in):
        enlarge(end)
    return AgentEnds(down_out, up_in, transit_in), OwnerEnds(down_in, up_out, transit_out)


class ProcessEndpoint:
    """One agent's end of a channel in process mode.

    Made in the owner's process by `MessageChannel.endpoint` and handed to a process that is started with `spawn` (or
    `forkserver`), as an argument of it. Handed to a second process, because the first was killed, it gets fresh pipes:
    what the first one had not received is gone. It may also be used in the owner's process itself, in a thread.

    `receive` and `send` raise `ChannelClosedError` when the owner has closed the channel, or its process is gone.
    """

    def __init__(
        self,
        name: str,
        owner: tuple[str, ...],
        ends: AgentEnds,
        renew: Callable[[ProcessEndpoint], AgentEnds] | None = None,
    ) -> None:
        self.name = name
        self._owner = owner
        self._ends = ends
        self._renew = renew
        self._handed_over = False
        self._ended = False
        self._opened: tuple[FanIn[ServiceMessage], FrameWriter, FrameWriter] | None = None

    def send(self, target: str, msg: ServiceMessage) -> None:
        """Sends to the owner (by one of its names) directly, to any other target by way of the owner.

        Raises:
            MessageTooLargeError, OverloadedError, ChannelClosedError: as `MessageChannel.send`.
        """
        if not isinstance(msg, ServiceMessage):
            raise TypeError(f"want a ServiceMessage, not {type(msg).__name__}")
        _, up, transit = self._opened or self._open()
        if target in self._owner:
            up.write(flattened(msg))
        else:
            transit.write((target, flattened(msg), None))

    def receive(self, timeout: float | None = None) -> ServiceMessage | None:
        """Takes the next message that was sent to this agent; None after `timeout` seconds. None waits for ever."""
        inbox, _, _ = self._opened or self._open()
        return inbox.get(timeout)

    def reply(self, request: ServiceMessage, msg: ServiceMessage) -> None:
        """Sends to the sender of `request`, and to no other of the same name."""
        if request.answer_token is None:
            self.send(request.sender, msg)
        else:
            _, _, transit = self._opened or self._open()
            transit.write((request.sender, flattened(msg), request.answer_token))

    def close(self) -> None:
        """Hands over what was sent (FLUSH_SECONDS at most) and closes this end. Idempotent."""
        if self._opened is not None:
            inbox, up, transit = self._opened
            for writer in (up, transit):
                writer.flush(FLUSH_SECONDS)
                writer.close()
            inbox.close()
        elif self._renew is None:
            self._ends.close()

    def __reduce__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        if self._renew is None:
            raise TypeError("an agent cannot hand its endpoint on; make another with MessageChannel.endpoint")
        self._check()
        if self._opened is not None:
            raise TypeError(f"the endpoint {self.name!r} is in use in this process and cannot be handed to another")
        if self._handed_over:
            self._ends = self._renew(self)
        self._handed_over = True
        return _open_in_agent, (self.name, self._owner, self._ends.down, self._ends.up, self._ends.transit)

    def renewed_by(self, renew: Callable[[ProcessEndpoint], AgentEnds]) -> None:
        """Sets what makes fresh pipes for the next process; for the owner's side."""
        self._renew = renew

    @property
    def is_handed_over(self) -> bool:
        """Whether a process was started with it."""
        return self._handed_over

    def end(self) -> None:
        """Closes this endpoint for good: it can neither be used nor handed over. For the owner's side; idempotent."""
        self._ended = True
        self.close()

    def _check(self) -> None:
        if self._ended:
            raise ChannelClosedError(f"the endpoint {self.name!r} was removed")

    def _open(self) -> tuple[FanIn[ServiceMessage], FrameWriter, FrameWriter]:
        self._check()
        if self._handed_over:
            raise ChannelClosedError(f"the endpoint {self.name!r} was handed to another process")
        inbox: FanIn[ServiceMessage] = FanIn()
        inbox.add(FrameReader(self._ends.down), restored, inbox.end)
        self._opened = inbox, FrameWriter(self._ends.up), FrameWriter(self._ends.transit)
        # Runs before multiprocessing ends the process, with or without a call of `close`.
        util.Finalize(self, partial(_flush, *self._opened[1:]), exitpriority=10)
        return self._opened


def _flush(*writers: FrameWriter) -> None:
    for writer in writers:
        writer.flush(FLUSH_SECONDS)


def _open_in_agent(
    name: str, owner: tuple[str, ...], down: Connection, up: Connection, transit: Connection
) -> ProcessEndpoint:
    return ProcessEndpoint(name, owner, AgentEnds(down, up, transit))
