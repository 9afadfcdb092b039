"""BaseAgent: the life of an agent, in a thread or a process."""

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
from trunkline.agents.heartbeat import Heartbeat, heartbeats
from trunkline.agents.logger import AgentLogger
from trunkline.agents.plugins import PluginSet
from trunkline.agents.runner import ProcessRunner, Runner, ThreadRunner
from trunkline.agents.state_events import ControlEvents, StateEvents
from trunkline.agents.status_reporter import StatusReporter
from trunkline.agents.step_runner import StepRunner
from trunkline.agents.stop_request import StopRequest
from trunkline.errors import TrunklineError
from trunkline.message_channel import ChannelClosedError, Endpoint, MessageChannel, ServiceMessage

AgentType = Literal["thread", "process"]


class BaseAgent(ABC):
    """One agent. A subclass does its work in `execute`, and may prepare it in `setup`.

        start → validate → setup → ready → execute → close

    Each step is reported to the orchestrator by a STATUS message. An exception in any of them is reported as
    `ERROR: …`, and the agent closes as failed. `stop()` asks the agent to end: it sets `stop_event`, which `execute`
    has to watch. An agent that is stopped before it is ready does not execute.

    Args:
        msg_channel: the agent's end of the orchestrator's channel. Default: a channel of its own, whose owner's end is
            `agent.msg_channel` of the object that is started; it gets no heartbeats.
        name: default the class's name.
        config: default the class's own `Config()`.
        plugin: default the class's own `Plugin()`.
        bus_address, state_address: where `bus` and `state` connect to.
        kwargs: become attributes of the agent.

    Raises:
        TypeError: a value is of a wrong type, or the framework has an attribute of that name.
        InvalidAddressError: `bus_address` or `state_address` is no address.
    """

    a_type: ClassVar[AgentType] = "thread"
    """Kind of the agent: a thread of this process, or a process of its own (`spawn`). The object of a process is
    pickled; all its attributes must allow that."""

    Config: TypeAlias = AgentConfig
    Plugin: TypeAlias = PluginSet
    config: AgentConfig
    plugin: PluginSet

    logger: AgentLogger
    failure: str | None
    """Why the agent failed, in the process that it runs in; None while it has not."""
    stop_event: threading.Event
    """Set when the agent is to end."""
    control_events: ControlEvents
    """Also holds `stop_event`."""
    has_ended: threading.Event
    """Set at the end of the agent's life, in the process that it runs in."""
    state_events: StateEvents
    bus = bus
    state = state
    _pid: int | None
    _agent_runner: Runner | None
    _status_reporter: StatusReporter
    _step_runner: StepRunner
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
        """Return value of `execute`, or the value that the subclass has set: JSON."""
        self._has_owner = msg_channel is not None
        self._reports_to: Endpoint | None = None
        if msg_channel is None:
            msg_channel = MessageChannel(self.a_type)
            weakref.finalize(self, msg_channel.close)
        elif not hasattr(msg_channel, "send"):
            raise TypeError(f"msg_channel must be a channel, not {msg_channel!r}; an agent's name is given by name=")
        self.msg_channel: MessageChannel | Endpoint = msg_channel
        self._begin()

    # Overridden by subclasses.

    def setup(self) -> None:  # noqa: B027  # nothing to do is fine
        """Prepares the work. An exception makes the agent fail."""

    @abstractmethod
    def execute(self) -> Any:
        """Does the work. The return value (JSON) is the agent's result."""

    def on_stop(self) -> None:  # noqa: B027  # nothing to do is fine
        """Called when the agent is asked to stop, in another thread than `execute`; `on_close` waits for the return,
        for `stop_timeout` seconds at most."""

    def on_close(self) -> None:  # noqa: B027  # nothing to do is fine
        """Called last, after success and after failure."""

    # Called by subclasses.

    def send_message(self, msg: ServiceMessage) -> None:
        """Sends a message to the orchestrator. Raises as `MessageChannel.send`."""
        self.msg_channel.send("orchestrator", msg)

    # Called by the owner.

    def report_to(self, channel: Endpoint) -> None:
        """Sends the STATUS messages to a channel of the orchestrator, where `msg_channel` is the user's own. To be
        called before the start."""
        self._reports_to = channel

    def start(self, on_end: Callable[[], object] | None = None, life: int | None = None) -> None:
        """Starts the agent in its thread or process. One object has one life.

        Args:
            on_end: for a supervisor: called in the agent's thread when the agent has ended. For a process, the
                supervisor waits for the `sentinel` of `agent_runner` instead, and reaps it.
            life: for a supervisor: the number of this life; the agent's STATUS messages carry it.

        Raises:
            AgentStartError: the agent was started already, or cannot be handed to a process.
        """
        if self._agent_runner is not None:
            raise AgentStartError(f"agent {self.name!r} was started already", details={"agent": self.name})
        self._status_reporter.life = life
        if self.a_type == "process":
            process = ProcessRunner(self, daemon=self.config.daemon, stop_timeout=self.config.stop_timeout)
            self._agent_runner = process
            process.start()
            if on_end is None:
                process.follow(self.state_events.record, self.state_events.close_event.set)
        else:
            self._agent_runner = ThreadRunner(self, on_end)
            self._agent_runner.start()

    @final
    def stop(self) -> None:
        """Asks the agent to end; idempotent. It ends after its present step."""
        if self._agent_runner is None:
            self.asked_to_stop()
        else:
            self._agent_runner.ask_to_stop()

    def is_alive(self) -> bool:
        """Tells whether the agent runs."""
        return self._agent_runner is not None and self._agent_runner.is_alive()

    def join(self, timeout: float | None = None) -> bool:
        """Waits for the end of the agent, `timeout` seconds at most; returns whether it has ended."""
        return self._agent_runner is None or self._agent_runner.join(timeout)

    @property
    def agent_runner(self) -> Runner | None:
        """The thread or process that the agent runs in; None before its start."""
        return self._agent_runner

    @property
    def pid(self) -> int | None:
        """Process id, in the agent's own process and in its owner's; None for a thread."""
        return self._pid if self._agent_runner is None else self._agent_runner.pid

    # Called by the runner, in its thread or process.

    @final
    def run(self) -> None:
        """Runs the agent from its start to its end, in the calling thread."""
        self._pid = os.getpid() if self.a_type == "process" else None
        try:
            self._announce(AgentEvent.AGENT_START)
            if self._has_owner and not AgentConfig.validate(self.config):
                heartbeats.add(Heartbeat(self.name, self.config.heartbeat_interval, self._beat, self.has_ended))
            self.validate_config()
            self.plugin.initialize(self)
            if not self.stop_event.is_set():
                self.setup()
            if not self.stop_event.is_set():
                self._announce(AgentEvent.AGENT_READY)
            if not self.stop_event.is_set():
                self._status_reporter.report_result(self._perform(), self.result)
        except StepInterruptedError:
            pass  # stopped while it waited for its next try, which is a regular end
        except SystemExit as end:
            if end.code:
                self.failure = self._status_reporter.report_failure(end)
        except Exception as error:  # noqa: BLE001  # an agent may raise anything: it fails, and reports that
            self.failure = self._status_reporter.report_failure(error)
        finally:
            self._close()

    def validate_config(self) -> None:
        """Checks the configuration.

        Raises:
            ConfigValidationError: a value cannot be used.
        """
        self.config.check(f"the configuration of agent {self.name!r}")

    @final
    def asked_to_stop(self) -> None:
        """Sets `stop_event` and calls `on_stop`; idempotent, never waits."""
        self._stop_request.make()

    def _perform(self) -> Any:
        """Does the work: as one step, or of a looping agent as one step for each turn."""
        return self._step_runner.run(self.execute)

    def _report(self, message: ServiceMessage) -> None:
        (self._reports_to or self.msg_channel).send("orchestrator", message)

    def _announce(self, event: AgentEvent) -> None:
        """Reports an event. Where nobody can hear it any more the owner has gone: the agent stops."""
        try:
            self._status_reporter.report(event)
        except ChannelClosedError:
            self.asked_to_stop()

    def _beat(self) -> None:
        if not self._step_runner.is_overdue:
            self._status_reporter.report(AgentEvent.AGENT_HEARTBEAT)

    def _close(self) -> None:
        self._stop_request.wait(self.config.stop_timeout)
        try:
            self.on_close()
        except Exception as error:  # noqa: BLE001  # as in run
            text = self._status_reporter.report_failure(error)
            self.failure = self.failure or text
        try:
            self.plugin.finalize()
            self._clients.disconnect()
        except TrunklineError as error:
            self.logger.warning("a client of agent %r was not disconnected: %s", self.name, error)
        finally:
            self._status_reporter.try_report(AgentEvent.AGENT_CLOSE)
            self.has_ended.set()

    # Attributes of one life: not handed to another process.

    def _begin(self) -> None:
        self.logger = AgentLogger(self.name, self.config.logger_config)
        self._stop_request = StopRequest(self.name, self.on_stop, self.logger)
        self.stop_event = self._stop_request.event
        self.control_events = ControlEvents(self.stop_event)
        self.has_ended = threading.Event()
        self.state_events = StateEvents()
        self.failure = None
        self._pid = None
        self._agent_runner = None
        self._status_reporter = StatusReporter(self.name, self._report, self.state_events, self.logger)
        self._step_runner = StepRunner(self.name, self.config, self.stop_event)
        self._clients = Clients(self.name, self.bus_address, self.state_address)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name not in OF_ONE_LIFE}
        return {**kept, "_life": self._status_reporter.life}

    def __setstate__(self, state: dict[str, Any]) -> None:
        life = state.pop("_life")
        self.__dict__ |= state
        self._begin()
        self._status_reporter.life = life

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
