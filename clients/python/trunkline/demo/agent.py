"""Agent: what coding and review agents share: work that comes until it is acked, a stored state, a heartbeat."""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from trunkline import (
    AgentMessage,
    AgentState,
    AgentStatus,
    BusDisconnectedError,
    MessageType,
    RetryPolicy,
    ServiceMessage,
    StateDisconnectedError,
    TrunklineError,
)
from trunkline.demo.limits import END_SECONDS, HEARTBEAT_SECONDS, MAX_RETRY_SECONDS, RETRIES, RETRY_SECONDS
from trunkline.demo.posts import COORDINATOR, SETTINGS, Post
from trunkline.message_channel import ChannelClosedError, Endpoint
from trunkline.sync import DurableMessage, MessageBus, StateManager

READY = "agent_ready"
STOP = "stop"

PATIENCE: Final = RetryPolicy(
    RETRIES,
    RETRY_SECONDS,
    MAX_RETRY_SECONDS,
    retryable_codes=frozenset({"BUS_DISCONNECTED", "NO_RESPONDERS", "OVERLOADED"}),
)
"""With a bus that is away for a moment, and with whoever listens on it."""


class Agent(ABC):
    """Takes messages of its durable subscription one by one until it is told to stop. The same in a thread and in a
    process.

    A message is done when `work` returns. Where `work` raises, or the agent dies, the bus hands the message to another.
    So a file may be worked on twice; whatever is published or stored of it has an id that says of what it is, by which
    the bus and the state service know it again.

    Args:
        post: its place.
        bus, state: connected.
    """

    durable: ClassVar[str]
    """Which of DURABLES it takes from; all who take from it share its messages."""

    def __init__(self, post: Post, bus: MessageBus, state: StateManager) -> None:
        self.post = post
        self.bus = bus
        self.store = state
        self._lock = threading.Lock()  # of the state: tasks come in one thread, heartbeats from another
        self._busy = threading.Lock()  # held while it works
        self._ending = threading.Event()
        self.patience = replace(PATIENCE, pause=self._ending.wait)  # none any more when it is over
        self._saves = 0
        self._received = 0
        self._state = AgentState(agent_id=post.agent_id, agent_type=post.type)

    @property
    @abstractmethod
    def channel(self) -> str:
        """Where its messages are published."""

    @abstractmethod
    def work(self, message: DurableMessage) -> None:
        """Does one task."""

    def run(self, end: Endpoint) -> None:
        """Works until STOP comes through its end of the MessageChannel, or that is closed."""
        warnings.simplefilter("ignore", SyntaxWarning)  # of the sources that it reads
        self.save_state()
        durable = self.post.job.durable(self.durable)
        self.bus.subscribe(self.channel, self._take, durable=durable, settings=SETTINGS)
        end.send(COORDINATOR, ServiceMessage(self.post.name, "STATUS", READY))
        while not _told_to_stop(end):
            with suppress(StateDisconnectedError):  # one beat is missed, the next may be heard
                self.save_state()
        self._ending.set()
        self.bus.unsubscribe(self.channel)
        if self._busy.acquire(timeout=END_SECONDS):  # it finishes what it has begun
            with suppress(BusDisconnectedError):  # it says so of an accident that is long over, too
                self.bus.flush()  # its last ack
            with suppress(StateDisconnectedError):
                self.save_state(status=AgentStatus.COMPLETED)

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

    def publish(self, channel: str, message: AgentMessage) -> None:
        """Publishes a message that must not be lost: returns when the bus has it on disk. Where that is not known,
        since the bus went away, the same message is published again, and stored once."""
        self.patience.run(lambda: self.bus.publish(channel, message, stored=True))

    def tell(self, about: AgentMessage, type: MessageType, **facts: Any) -> None:
        """Publishes what came of a message to the coordinator."""
        told = {name: about.payload[name] for name in ("path", "round")}
        notice = AgentMessage(
            message_id=f"{self.post.job.task_id(str(told['path']))}#{told['round']}:{type}",
            message_type=type,
            sender_id=self.post.agent_id,
            recipient_id=COORDINATOR,
            payload={**told, **facts},
        )
        self.publish(self.post.job.notices, notice)

    def _take(self, message: DurableMessage) -> None:
        with self._busy:
            self._do(message)

    def _do(self, message: DurableMessage) -> None:
        path = str(message.payload["path"])
        with self._lock:
            self._received += 1
            done, failed = self._state.completed_tasks, self._state.failed_tasks
        self.save_state(status=AgentStatus.RUNNING, current_task_id=self.post.job.task_id(path))
        try:
            self.work(message)
            done = [*done, path]
        except (OSError, ValueError) as error:  # of the file, so it would be so with any agent: that is an answer too
            self.tell(message, MessageType.ERROR, reason=str(error))
            failed = [*failed, path]
        except TrunklineError:
            failed = [*failed, path]
            raise
        finally:
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
