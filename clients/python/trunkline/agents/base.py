"""BaseAgent: the life of an agent, whatever it runs in."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self, TypeAlias, final

from trunkline.agents.attributes import OF_ONE_LIFE, check_attributes
from trunkline.agents.clients import Clients, bus, state
from trunkline.agents.config import AgentConfig
from trunkline.agents.errors import AgentStartError, StepInterruptedError
from trunkline.agents.events import AgentEvent
from trunkline.agents.heart import Pulse, heart
from trunkline.agents.logger import AgentLogger
from trunkline.agents.plugins import PluginSet
from trunkline.agents.state_events import ControlEvents, StateEvents
from trunkline.agents.steps import Steps
from trunkline.agents.stop_request import StopRequest
from trunkline.agents.vessel import ProcessVessel, ThreadVessel, Vessel
from trunkline.agents.voice import Voice
from trunkline.errors import TrunklineError
from trunkline.message_channel import Endpoint, MessageChannel, ServiceMessage

AgentType = Literal["thread", "process"]


class BaseAgent(ABC):
    """One agent. A subclass says what it does in `execute`, and may prepare it in `setup`.

        start → validate → setup → ready → execute → close

    Each step is told to the orchestrator by a STATUS message. An exception in any of them is told as `ERROR: …`, and
    the agent closes as failed. `stop()` asks it to end: `stop_event` is set, and it is for `execute` to heed it. What
    was asked to stop before it was ready does not execute.

    Args:
        msg_channel: its end of the orchestrator's channel. Default: a channel of its own, whose owner's end is
            `agent.msg_channel` of the object that is started; it gets no heartbeats.
        name: what it is called; default the class's name.
        config: default the class's own `Config()`.
        plugin: default the class's own `Plugin()`.
        bus_address, state_address: where `bus` and `state` connect to.
        kwargs: become attributes of the agent.

    Raises:
        TypeError: a value is of a wrong type, or an attribute of that name is the framework's own.
    """

    a_type: ClassVar[AgentType] = "thread"
    """What it runs in: a thread of this process, or a process of its own (`spawn`). Such an object is pickled; what it
    holds beside its configuration must allow that."""

    Config: TypeAlias = AgentConfig
    Plugin: TypeAlias = PluginSet
    config: AgentConfig
    plugin: PluginSet

    logger: AgentLogger
    failure: str | None
    """What it failed of, where it runs; None while it has not."""
    stop_event: threading.Event
    """Set when it shall end."""
    control_events: ControlEvents
    """Holds the `stop_event`, too."""
    has_ended: threading.Event
    """Set at the end of its life, where it runs."""
    state_events: StateEvents
    bus = bus
    state = state
    _pid: int | None
    _vessel: Vessel | None
    _voice: Voice
    _steps: Steps
    _clients: Clients
    _stop_request: StopRequest

    def __init__(
        self,
        msg_channel: MessageChannel | Endpoint | None = None,
        *,
        name: str | None = None,
        config: AgentConfig | None = None,
        plugin: PluginSet | None = None,
        bus_address: str | None = None,
        state_address: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.name = name or type(self).__name__
        self.config = self.Config() if config is None else config
        if not isinstance(self.config, AgentConfig):
            raise TypeError(f"config of agent {self.name!r} must be an AgentConfig, not {self.config!r}")
        self.plugin = self.Plugin() if plugin is None else plugin
        self.kwargs = kwargs
        check_attributes(BaseAgent, self.name, kwargs)
        vars(self).update(kwargs)
        self.bus_address = bus_address
        self.state_address = state_address
        self.result: Any = None
        """What `execute` returned, or the subclass set it to: JSON."""
        self._has_owner = msg_channel is not None
        self._reports_to: Endpoint | None = None
        if msg_channel is None:
            msg_channel = MessageChannel(self.a_type)
            weakref.finalize(self, msg_channel.close)
        elif not hasattr(msg_channel, "send"):
            raise TypeError(f"msg_channel must be a channel, not {msg_channel!r}; an agent's name is given by name=")
        self.msg_channel: MessageChannel | Endpoint = msg_channel
        self._begin()

    # What a subclass says.

    def setup(self) -> None:  # noqa: B027  # nothing to do is fine
        """Prepares. What it raises, the agent fails of."""

    @abstractmethod
    def execute(self) -> Any:
        """Does the work. What it returns (JSON) is the agent's result."""

    def on_stop(self) -> None:  # noqa: B027  # nothing to do is fine
        """Called when somebody asks it to stop, in another thread than `execute`; `on_close` waits for its return, for
        `stop_timeout` seconds at most."""

    def on_close(self) -> None:  # noqa: B027  # nothing to do is fine
        """Called last, however it ended."""

    # What a subclass uses.

    def send_message(self, msg: ServiceMessage) -> None:
        """Sends a message to the orchestrator. Raises as `MessageChannel.send`."""
        self.msg_channel.send("orchestrator", msg)

    # What its owner calls.

    def report_to(self, channel: Endpoint) -> None:
        """Says where it tells how it fares, where `msg_channel` is somebody else's. Before its start."""
        self._reports_to = channel

    def start(self, on_end: Callable[[], object] | None = None, life: int | None = None) -> None:
        """Starts it, in its thread or process. One object has one life.

        Args:
            on_end: for a supervisor: called in the agent's thread when it has ended. Of a process it waits for the
                `sentinel` of its `vessel` instead, and reaps it.
            life: for a supervisor: which of this agent's lives it is; what it says of itself carries that number.

        Raises:
            AgentStartError: it was started already, or it cannot be handed to a process.
        """
        if self._vessel is not None:
            raise AgentStartError(f"agent {self.name!r} was started already", details={"agent": self.name})
        self._voice.life = life
        vessel: Vessel = ProcessVessel(self) if self.a_type == "process" else ThreadVessel(self, on_end)
        self._vessel = vessel
        vessel.start()
        if on_end is None and isinstance(vessel, ProcessVessel):
            vessel.follow(self.state_events.said, self.state_events.close_event.set)

    @final
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
        """What it runs in; None before its start."""
        return self._vessel

    @property
    def pid(self) -> int | None:
        """Of its process, there and here; None for a thread."""
        return self._pid if self._vessel is None else self._vessel.pid

    # What its vessel calls, where it runs.

    @final
    def run(self) -> None:
        """The whole life, in the calling thread."""
        self._pid = os.getpid() if self.a_type == "process" else None
        try:
            self._voice.say(AgentEvent.AGENT_START)
            if self._has_owner and not AgentConfig.validate(self.config):
                heart.add(Pulse(self.name, self.config.heartbeat_interval, self._beat, self.has_ended))
            self.validate_config()
            self.plugin.initialize(self)
            if not self.stop_event.is_set():
                self.setup()
            if not self.stop_event.is_set():
                self._voice.say(AgentEvent.AGENT_READY)
                self._voice.tell_result(self._perform(), self.result)
        except StepInterruptedError:
            pass  # stopped while it waited for its next try: that is how it was asked to end
        except SystemExit as end:
            if end.code:
                self.failure = self._voice.fail(end)
        except Exception as error:  # noqa: BLE001  # whatever an agent raises: it fails, and says so
            self.failure = self._voice.fail(error)
        finally:
            self._close()

    def validate_config(self) -> None:
        """Checks the configuration.

        Raises:
            ConfigValidationError: it cannot be used.
        """
        self.config.check(f"the configuration of agent {self.name!r}")

    @final
    def asked_to_stop(self) -> None:
        """Takes note that it shall end; idempotent."""
        self._stop_request.make()

    def _perform(self) -> Any:
        """The work: of this agent one step, of those that loop one for each turn."""
        return self._steps.take(self.execute)

    def _report(self, message: ServiceMessage) -> None:
        (self._reports_to or self.msg_channel).send("orchestrator", message)

    def _beat(self) -> None:
        if not self._steps.is_overdue:
            self._voice.say(AgentEvent.AGENT_HEARTBEAT)

    def _close(self) -> None:
        self._stop_request.wait(self.config.stop_timeout)
        try:
            self.on_close()
        except Exception as error:  # noqa: BLE001  # as in run
            told = self._voice.fail(error)
            self.failure = self.failure or told
        try:
            self.plugin.finalize()
            self._clients.disconnect()
        except TrunklineError as error:
            self.logger.warning("a client of agent %r was not disconnected: %s", self.name, error)
        finally:
            self._voice.say_if_heard(AgentEvent.AGENT_CLOSE)
            self.has_ended.set()

    # What belongs to the place and the life: not handed to another process.

    def _begin(self) -> None:
        self.logger = AgentLogger(self.name, self.config.logger_config)
        self._stop_request = StopRequest(self.name, self.on_stop, self.logger)
        self.stop_event = self._stop_request.event
        self.control_events = ControlEvents(self.stop_event)
        self.has_ended = threading.Event()
        self.state_events = StateEvents()
        self.failure = None
        self._pid = None
        self._vessel = None
        self._voice = Voice(self.name, self._report, self.state_events, self.logger)
        self._steps = Steps(self.name, self.config, self.stop_event)
        self._clients = Clients(self.name, self.bus_address, self.state_address)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name not in OF_ONE_LIFE}
        return {**kept, "_life": self._voice.life}

    def __setstate__(self, state: dict[str, Any]) -> None:
        life = state.pop("_life")
        self.__dict__ |= state
        self._begin()
        self._voice.life = life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self.join(self.config.stop_timeout)


class BaseThreadAgent(BaseAgent):
    """A `BaseAgent` in a thread."""

    a_type = "thread"


class BaseProcessAgent(BaseAgent):
    """A `BaseAgent` in a process of its own."""

    a_type = "process"
