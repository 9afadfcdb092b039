"""Agent: what coding and review agents share: work that comes until it is acked, a stored state, a heartbeat."""

from __future__ import annotations

import logging
import threading
import warnings
from abc import abstractmethod
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
    StateDisconnectedError,
    TrunklineError,
)
from trunkline.agents import LoggerConfig, PeriodicAgent
from trunkline.demo.limits import (
    CALL_SECONDS,
    END_SECONDS,
    HEARTBEAT_SECONDS,
    HUNG_SECONDS,
    MAX_RETRY_SECONDS,
    RETRIES,
    RETRY_SECONDS,
    START_SECONDS,
)
from trunkline.demo.narrator import LOG_FORMAT
from trunkline.demo.posts import COORDINATOR, SETTINGS, Post
from trunkline.sync import DurableMessage, StateManager
from trunkline.text import safe_text

PATIENCE: Final = RetryPolicy(
    RETRIES,
    RETRY_SECONDS,
    MAX_RETRY_SECONDS,
    retryable_codes=frozenset({"BUS_DISCONNECTED", "NO_RESPONDERS", "OVERLOADED"}),
)
"""With a bus that is away for a moment, and with an agent that listens on it."""


class Agent(PeriodicAgent):
    """Takes messages of its durable subscription one by one until it is stopped, and saves its state periodically. The
    same in a thread and in a process.

    A message is done when `work` returns. Where `work` raises, or the agent dies, the bus hands the message to another.
    So a file may be worked on twice; whatever is published or stored of it has an id that says of what it is, by which
    the bus and the state service know it again.

    Args:
        post: its place.
        kwargs: as every agent has them.
    """

    class Config(PeriodicAgent.Config):
        execution_interval = HEARTBEAT_SECONDS
        heartbeat_timeout = HUNG_SECONDS
        ready_timeout = START_SECONDS
        stop_timeout = END_SECONDS
        logger_config = LoggerConfig("ERROR")

    durable: ClassVar[str]
    """Which of DURABLES it takes from; all who take from it share its messages."""

    def __init__(self, *, post: Post, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "bus_address": post.bus})
        self.post = post
        self._store: StateManager | None = None

    @property
    @abstractmethod
    def channel(self) -> str:
        """Where its messages are published."""

    @abstractmethod
    def work(self, message: DurableMessage) -> None:
        """Does one task."""

    @property
    def store(self) -> StateManager:
        """The state service, from `setup` to the end; it gives up sooner than `state` would."""
        if self._store is None:
            self._store = StateManager(self.post.state, timeout=CALL_SECONDS)
            self._store.connect()
        return self._store

    def setup(self) -> None:
        """Stores its first state, and subscribes to its work."""
        logging.basicConfig(level=logging.ERROR, format=LOG_FORMAT)  # a process has not set it up yet
        warnings.simplefilter("ignore", SyntaxWarning)  # of the sources that it reads
        self._lock = threading.Lock()  # of the state: tasks come in one thread, heartbeats from another
        self._busy = threading.Lock()  # held while it works
        self._saves = self._received = 0
        self._state = AgentState(agent_id=self.post.agent_id, agent_type=self.post.type)
        self.patience = replace(PATIENCE, pause=self.stop_event.wait)  # none any more when it is over
        self.save_state()
        durable = self.post.job.durable(self.durable)
        self.bus.subscribe(self.channel, self._take, durable=durable, settings=SETTINGS)

    def runner(self) -> None:
        """Stores how it stands, as a sign of life."""
        with suppress(StateDisconnectedError):  # one beat is missed, the next may be heard
            self.save_state()

    def on_close(self) -> None:
        """Takes no more work, finishes what it has begun, and stores its last state."""
        if self._store is None:
            return
        with self._store:
            self.stop_listening()
            if self._busy.acquire(timeout=END_SECONDS):
                with suppress(BusDisconnectedError):  # it says so of an accident that is long over, too
                    self.bus.flush()  # its last ack
                with suppress(StateDisconnectedError):
                    self.save_state(status=AgentStatus.COMPLETED)

    def stop_listening(self) -> None:
        """Takes nothing more."""
        self.bus.unsubscribe(self.channel)

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

    def notify(self, about: AgentMessage, type: MessageType, **facts: Any) -> None:
        """Publishes to the coordinator what came of a message."""
        file = {name: about.payload[name] for name in ("path", "round")}
        notice = AgentMessage(
            message_id=f"{self.post.job.task_id(str(file['path']))}#{file['round']}:{type}",
            message_type=type,
            sender_id=self.post.agent_id,
            recipient_id=COORDINATOR,
            payload={**file, **facts},
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
            self.notify(message, MessageType.ERROR, reason=safe_text(str(error)))
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
