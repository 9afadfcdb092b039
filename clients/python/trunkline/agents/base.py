"""BaseAgent: the life of an agent, whatever it runs in."""

from __future__ import annotations

import json
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, cast, final

from trunkline.agents.config import AgentConfig
from trunkline.agents.errors import AgentError, AgentStartError
from trunkline.agents.events import ERROR_PREFIX, RESULT_PREFIX, AgentEvent
from trunkline.agents.heart import heart
from trunkline.agents.limits import MAX_ERROR_LENGTH
from trunkline.agents.state_events import StateEvents
from trunkline.agents.vessel import ProcessVessel, ThreadVessel, Vessel
from trunkline.errors import TrunklineError
from trunkline.message_channel import ChannelClosedError, Endpoint, MessageChannel, ServiceMessage

if TYPE_CHECKING:
    from trunkline import CircuitBreaker, sync

T = TypeVar("T")

AgentType = Literal["thread", "process"]


class BaseAgent(ABC):
    """One agent. A subclass says what it does in `execute`, and may prepare it in `setup`.

        start → validate → setup → ready → execute → close

    Each step is told to the orchestrator by a STATUS message. An exception in any of them is told as `ERROR: …`, and
    the agent closes as failed. `stop()` asks it to end: `stop_event` is set, and it is for `execute` to heed it.

    Args:
        msg_channel: its end of the orchestrator's channel. Default: a channel of its own, whose owner's end is
            `agent.msg_channel` of the object that is started.
        name: what it is called; default the class's name.
        config: default the class's own `Config()`.
        bus_address, state_address: where `bus` and `state` connect to.
        kwargs: kept as `kwargs`.
    """

    a_type: ClassVar[AgentType] = "thread"
    """What it runs in: a thread of this process, or a process of its own (`spawn`). Such an object is pickled; what it
    holds beside its configuration must allow that."""

    Config: ClassVar[type[AgentConfig]] = AgentConfig
    config: AgentConfig

    failure: str | None
    """What it failed of, where it runs; None while it has not."""
    stop_event: threading.Event
    """Set when it shall end."""
    state_events: StateEvents
    _vessel: Vessel | None
    _step_began: float | None
    _breaker: CircuitBreaker | None

    def __init__(
        self,
        msg_channel: MessageChannel | Endpoint | None = None,
        *,
        name: str | None = None,
        config: AgentConfig | None = None,
        bus_address: str | None = None,
        state_address: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.name = name or type(self).__name__
        self.config = self.Config() if config is None else config
        self.kwargs = kwargs
        self.bus_address = bus_address
        self.state_address = state_address
        self.msg_channel: MessageChannel | Endpoint = (
            MessageChannel(self.a_type) if msg_channel is None else msg_channel
        )
        self.result: Any = None
        """What `execute` returned: JSON."""
        self._begin()

    # What a subclass says.

    def setup(self) -> None:  # noqa: B027  # nothing to do is fine
        """Prepares. What it raises, the agent fails of."""

    @abstractmethod
    def execute(self) -> Any:
        """Does the work. What it returns (JSON) is the agent's result."""

    def on_stop(self) -> None:  # noqa: B027  # nothing to do is fine
        """Called when somebody asks it to stop, in another thread than `execute`."""

    def on_close(self) -> None:  # noqa: B027  # nothing to do is fine
        """Called last, however it ended."""

    # What a subclass uses.

    def send_message(self, msg: ServiceMessage) -> None:
        """Sends a message to the orchestrator. Raises as `MessageChannel.send`."""
        self.msg_channel.send("orchestrator", msg)

    @property
    def bus(self) -> sync.MessageBus:
        """The bus, connected when it is first used and disconnected at the end.

        Raises:
            AgentError: the agent was given no `bus_address`.
            BusDisconnectedError: it cannot be reached.
        """
        from trunkline import sync

        return cast("sync.MessageBus", self._connected("bus", sync.MessageBus))

    @property
    def state(self) -> sync.StateManager:
        """The state store; as `bus`, with `state_address`."""
        from trunkline import sync

        return cast("sync.StateManager", self._connected("state", sync.StateManager))

    # What its owner calls.

    def start(self, on_end: Callable[[], object] | None = None) -> None:
        """Starts it, in its thread or process. One object has one life.

        Args:
            on_end: called in the agent's thread when it has ended; of a process, wait for its `sentinel`.

        Raises:
            AgentStartError: it was started already, or it cannot be handed to a process.
        """
        if self._vessel is not None:
            raise AgentStartError(f"agent {self.name!r} was started already", details={"agent": self.name})
        if self.a_type == "process":
            self._vessel = vessel = ProcessVessel(self)
            if isinstance(self.msg_channel, MessageChannel):  # nobody orchestrates it
                vessel.follow(self.state_events.said, self.state_events.close_event.set)
        else:
            self._vessel = ThreadVessel(self, on_end)

    def stop(self) -> None:
        """Asks it to end; idempotent. It ends after the step that it is in."""
        if self._vessel is None:
            self.asked_to_stop()
        else:
            self._vessel.ask_to_stop()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._vessel is not None and self._vessel.is_alive()

    def join(self, timeout: float | None = None) -> bool:
        """Waits for its end, `timeout` seconds at most; says whether it has ended."""
        return self._vessel is None or self._vessel.join(timeout)

    @property
    def vessel(self) -> Vessel | None:
        """What it runs in; None before its first start."""
        return self._vessel

    @property
    def pid(self) -> int | None:
        """Of its process; None for a thread."""
        return None if self._vessel is None else self._vessel.pid

    # What its vessel calls, where it runs.

    @final
    def run(self) -> None:
        """The whole life, in the calling thread."""
        try:
            self._say(AgentEvent.AGENT_START)
            heart.add(self)
            self.validate_config()
            self.setup()
            self._say(AgentEvent.AGENT_READY)
            returned = self._step(self.execute) if self._is_one_step else self.execute()
            self._tell_result(returned)
        except StepInterruptedError:
            pass  # stopped while it waited for its next try: that is how it was asked to end
        except Exception as error:  # noqa: BLE001  # whatever an agent raises: it fails, and says so
            self._fail(error)
        finally:
            self._close()

    def validate_config(self) -> None:
        """Checks the configuration.

        Raises:
            ConfigValidationError: it cannot be used.
        """
        self.config.check(f"the configuration of agent {self.name!r}")

    def asked_to_stop(self) -> None:
        """Takes note that it shall end; idempotent."""
        if not self.stop_event.is_set():
            self.stop_event.set()
            try:
                self.on_stop()
            except Exception:  # it shall end all the same
                self.logger.exception("on_stop of agent %r failed", self.name)

    # Its pulse.

    @property
    def pulse(self) -> float:
        """Seconds from one heartbeat to the next."""
        return self.config.heartbeat_interval

    def beat(self) -> bool:
        """Says that it lives, unless a step takes too long; False when its life is over."""
        if self.has_ended.is_set():
            return False
        began, limit = self._step_began, self.config.step_timeout
        if began is None or limit is None or time.monotonic() - began <= limit:
            try:
                self._say(AgentEvent.AGENT_HEARTBEAT)
            except ChannelClosedError:
                return False  # nobody listens any more
            except TrunklineError as error:
                self.logger.warning("a heartbeat of agent %r was not taken: %s", self.name, error)
        return True

    # Steps.

    _is_one_step: ClassVar[bool] = True
    """Whether `execute` is one step; of agents that loop, each turn is."""

    def _step(self, step: Callable[[], T]) -> T:
        """Takes a step, and again where the configuration's retry policy says so."""
        policy = self.config.retry_policy
        return self._try(step) if policy is None else replace(policy, pause=self._pause).run(self._try, step)

    def _try(self, step: Callable[[], T]) -> T:
        breaker = self._breaker
        while breaker is not None and breaker.retry_after > 0:
            self._pause(breaker.retry_after)
        self._step_began = time.monotonic()
        try:
            return step() if breaker is None else breaker.run(step)
        finally:
            self._step_began = None

    def _pause(self, seconds: float) -> None:
        if self.stop_event.wait(seconds):
            raise StepInterruptedError(f"agent {self.name!r} was stopped before its next try")

    # Telling.

    def _say(self, event: AgentEvent) -> None:
        self._tell(event.value)

    def _tell(self, payload: str) -> None:
        self.state_events.said(payload)
        self.send_message(ServiceMessage(self.name, "STATUS", payload))

    def _tell_result(self, returned: Any) -> None:
        if returned is not None:
            self.result = returned
        if self.result is None:
            return
        try:
            told = json.dumps(self.result, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise AgentError(
                f"the result of agent {self.name!r} is no JSON: {error}", details={"agent": self.name}
            ) from error
        self._tell(RESULT_PREFIX + told)

    def _fail(self, error: Exception) -> None:
        self.failure = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
        self.logger.exception("agent %r failed", self.name)
        try:
            self._tell(f"{ERROR_PREFIX} {self.failure}")
        except TrunklineError as unheard:
            self.logger.warning("the error of agent %r was not taken: %s", self.name, unheard)

    def _close(self) -> None:
        try:
            self.on_close()
        except Exception as error:  # noqa: BLE001  # as in run
            self._fail(error)
        try:
            for client in self._clients.values():
                client.disconnect()
            self._say(AgentEvent.AGENT_CLOSE)
        except TrunklineError as error:
            self.logger.warning("the end of agent %r was not taken: %s", self.name, error)
        finally:
            self.has_ended.set()

    # What belongs to the place and the life: not handed to another process.

    def _begin(self) -> None:
        self.logger = logging.getLogger(f"trunkline.agents.{self.name}")
        self.stop_event = threading.Event()
        self.has_ended = threading.Event()
        self.state_events = StateEvents()
        self.failure = None
        self._vessel = None
        self._step_began = None
        self._clients: dict[str, Any] = {}
        make = self.config.circuit_breaker
        self._breaker = None if make is None else make()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _OF_ONE_LIFE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._begin()

    def _connected(self, kind: str, face: Callable[[str], Any]) -> Any:
        client = self._clients.get(kind)
        if client is None:
            address = getattr(self, f"{kind}_address")
            if address is None:
                raise AgentError(
                    f"agent {self.name!r} has no {kind}: it was given no {kind}_address", details={"agent": self.name}
                )
            client = face(address)
            client.connect()
            self._clients[kind] = client
        return client

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self.join(self.config.stop_timeout)


_OF_ONE_LIFE = (
    *("logger", "stop_event", "has_ended", "state_events", "failure"),
    *("_vessel", "_step_began", "_clients", "_breaker"),
)


class StepInterruptedError(AgentError):
    """It was asked to stop while it waited to try again."""

    error_code = "STEP_INTERRUPTED"


class BaseThreadAgent(BaseAgent):
    """A `BaseAgent` in a thread."""

    a_type = "thread"


class BaseProcessAgent(BaseAgent):
    """A `BaseAgent` in a process of its own."""

    a_type = "process"
