"""Agent: what coding and review agents share: a place in a group, a stored state, a heartbeat."""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar

from trunkline import (
    AgentMessage,
    AgentState,
    AgentStatus,
    BusDisconnectedError,
    MessageType,
    ServiceMessage,
    StateDisconnectedError,
    TrunklineError,
)
from trunkline.demo.limits import END_SECONDS, HEARTBEAT_SECONDS
from trunkline.demo.posts import COORDINATOR, Post
from trunkline.message_channel import ChannelClosedError, Endpoint
from trunkline.sync import MessageBus, StateManager

READY = "agent_ready"
STOP = "stop"


class Agent(ABC):
    """Takes tasks of its group one by one until it is told to stop. The same in a thread and in a process.

    Args:
        post: its place.
        bus, state: connected.
    """

    group: ClassVar[str]

    def __init__(self, post: Post, bus: MessageBus, state: StateManager) -> None:
        self.post = post
        self.bus = bus
        self.store = state
        self._lock = threading.Lock()  # of the state: tasks come in one thread, heartbeats from another
        self._busy = threading.Lock()  # held while it works
        self._saves = 0
        self._received = 0
        self._state = AgentState(agent_id=post.agent_id, agent_type=post.type)

    @property
    @abstractmethod
    def channel(self) -> str:
        """Where its tasks come from."""

    @abstractmethod
    def work(self, message: AgentMessage) -> None:
        """Does one task."""

    def run(self, end: Endpoint) -> None:
        """Works until STOP comes through its end of the MessageChannel, or that is closed."""
        warnings.simplefilter("ignore", SyntaxWarning)  # of the sources that it reads
        self.save_state()
        # One task ahead and no more: what an agent holds is lost with it, for live delivery is at most once.
        self.bus.subscribe(self.channel, self._take, group=self.group, credit=1)
        self.bus.subscribe(self.post.own_channel, self._take)
        end.send(COORDINATOR, ServiceMessage(self.post.name, "STATUS", READY))
        while not _told_to_stop(end):
            with suppress(StateDisconnectedError):  # one beat is missed, the next may be heard
                self.save_state()
        self.bus.unsubscribe(self.channel)
        self.bus.unsubscribe(self.post.own_channel)
        if self._busy.acquire(timeout=END_SECONDS):  # it finishes what it has begun
            with suppress(BusDisconnectedError, StateDisconnectedError):
                self.save_state(status=AgentStatus.COMPLETED)
                self.bus.flush()

    def save_state(self, **changes: Any) -> None:
        """Stores how it stands, and when it was last seen alive. The last write wins."""
        with self._lock:
            for field, value in changes.items():
                setattr(self._state, field, value)
            self._saves += 1
            self._state.last_heartbeat = self._state.updated_at = datetime.now(UTC)
            self._state.metadata = {
                "kind": self.post.kind,
                "way": self.post.way,
                "published": self.bus.published_count,
                "received": self._received,
                "saves": self._saves,
            }
            self.store.save_agent_state(self._state)

    def saved_result(self) -> None:
        """Counts a TaskResult that it stored, or that was refused."""
        with self._lock:
            self._saves += 1

    def tell(self, type: MessageType, **facts: Any) -> None:
        """Publishes a notice to the coordinator."""
        notice = AgentMessage(message_type=type, sender_id=self.post.agent_id, recipient_id=COORDINATOR, payload=facts)
        self.bus.publish(self.post.job.notices, notice)

    def _take(self, message: AgentMessage) -> None:
        with self._busy:
            self._do(message)

    def _do(self, message: AgentMessage) -> None:
        path = str(message.payload["path"])
        with self._lock:
            self._received += 1
            done, failed = self._state.completed_tasks, self._state.failed_tasks
        self.tell(MessageType.STATUS_UPDATE, path=path, step="started")
        self.save_state(status=AgentStatus.RUNNING, current_task_id=self.post.job.task_id(path))
        try:
            self.work(message)
        except (OSError, ValueError, TrunklineError) as error:
            self.tell(MessageType.ERROR, path=path, reason=str(error))
            failed = [*failed, path]
        else:
            done = [*done, path]
        self.save_state(
            status=AgentStatus.IDLE,
            current_task_id=None,
            completed_tasks=done,
            failed_tasks=failed,
            error_count=len(failed),
        )


def _told_to_stop(end: Endpoint) -> bool:
    """Waits for one heartbeat's length."""
    try:
        said = end.receive(HEARTBEAT_SECONDS)
    except ChannelClosedError:  # the coordinator has gone
        return True
    return said is not None and said.payload == STOP
