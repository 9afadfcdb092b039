"""Orchestrator: runs agents, reports their events, and serves commands."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from trunkline.agents import AgentConfig, AgentEvent, BaseAgent
from trunkline.message_channel import Endpoint, MessageChannel, ServiceMessage
from trunkline.orchestrator.commands.audit import AuditLog, Caller
from trunkline.orchestrator.commands.command_channel import open_command_channel
from trunkline.orchestrator.commands.commands import Answer, CommandHandler
from trunkline.orchestrator.commands.reporting import Reporting
from trunkline.orchestrator.config import OrchestratorConfig, RunMode
from trunkline.orchestrator.errors import AgentStateError
from trunkline.orchestrator.events.event_log import EventLog
from trunkline.orchestrator.events.events import OrchestratorEvent, event_of
from trunkline.orchestrator.fleet.connections import Connections
from trunkline.orchestrator.fleet.member import FleetMember
from trunkline.orchestrator.message_thread import MessageThread
from trunkline.orchestrator.permissions import Permissions
from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.registry import AgentRegistry
from trunkline.orchestrator.registry.restart import RestartPolicy, When
from trunkline.orchestrator.supervision.agent_factory import AgentFactory
from trunkline.orchestrator.supervision.supervisor import Supervisor
from trunkline.text import safe_json

if TYPE_CHECKING:
    from trunkline import DeadLetterQueue, MessageBus, StateManager, sync

_OWNER = "orchestrator"
"""Name of every orchestrator to its own agents."""


class Orchestrator(MessageThread):
    """Runs the agents of one program. Several orchestrators make a fleet over a bus and a state store.

        with Orchestrator(Orchestrator.Config(enable_command_interface=True)) as orchestrator:
            orchestrator.register_agent(Weather, "weather", restart="on_failure")
            orchestrator.start()
            orchestrator.join()

    Args:
        config: default `Orchestrator.Config()`.
        name: different from all others of a fleet; with a bus a channel token.
        message_bus: a bus, instead of the one at `config.bus_address`: any MessageBus that is not connected, or a
            `trunkline.sync.MessageBus`, which may be connected and used by others too.
        state_manager: a state store, instead of the one at `config.state_address`; likewise.

    Raises:
        ConfigValidationError: the configuration cannot be used.
        SocketInUseError: another program has the command socket.
        OrchestratorError: the audit log cannot be written; a bus or store is connected in another event loop.
        BusDisconnectedError, InvalidChannelError: the bus cannot be reached; the name is no channel token.
    """

    Config: TypeAlias = OrchestratorConfig
    config: OrchestratorConfig

    def __init__(
        self,
        config: OrchestratorConfig | None = None,
        name: str | None = None,
        *,
        message_bus: MessageBus | sync.MessageBus | None = None,
        state_manager: StateManager | sync.StateManager | None = None,
    ) -> None:
        super().__init__()
        self.config = self.Config() if config is None else config
        if not isinstance(self.config, OrchestratorConfig):
            raise TypeError(f"config must be an OrchestratorConfig, not {config!r}; a name is given by name=")
        self.name = name or _OWNER
        self.config.check(f"the configuration of orchestrator {self.name!r}")
        self.memory = AgentRegistry()
        self.graph = DependencyGraph()
        self.event_log = EventLog(self.config.history_capacity, self.config.event_workers)
        self.event_store = self.event_log.history
        self.event_manager = self.event_log.events
        self._audit = AuditLog(self.config.audit_log_path)
        with ExitStack() as opened:
            opened.callback(self._audit.close)
            self.connections = Connections(self.config, message_bus, state_manager)
            opened.callback(self.connections.close)
            self.msg_channel = MessageChannel("process", name=_OWNER, bus=self.connections.bus, bus_name=self.name)
            opened.callback(self.msg_channel.close)
            self.command_channel = open_command_channel(self.config, _OWNER, self._audit)
            opened.pop_all()
        self._channels = [channel for channel in (self.msg_channel, self.command_channel) if channel is not None]
        factory = AgentFactory(self.msg_channel, self.config, self.connections.lent)
        self.supervisor = Supervisor(
            self.memory, self.graph, factory.make, self.event_log, self, self.config.max_workers
        )
        self.member = FleetMember(
            self.name, self.config, self.memory, self.graph, self.event_log, self.supervisor, self.connections
        )
        self.supervisor.observe(factory, self.member)
        self.reporting = Reporting(self.name, self.config, self.memory, self.graph, self.event_log, self.supervisor)
        self._commands = CommandHandler(
            self.reporting,
            Permissions.of(self.config.allowed_commands),
            self._audit,
            start=self.starting,
            stop=self.stopping,
            shut_down=self.shutting_down,
        )
        self._closing = threading.Lock()
        self._ended = threading.Event()
        atexit.register(self.shutdown)
        self._start_message_thread()

    # Agents.

    def register_agent(
        self,
        agent_class: type[BaseAgent],
        name: str,
        custom_config: AgentConfig | None = None,
        *,
        dependencies: Iterable[str] = (),
        restart: RestartPolicy | When = "never",
        msg_channel: MessageChannel | Endpoint | None = None,
        spread: bool = False,
        **kwargs: Any,
    ) -> AgentEntry:
        """Registers an agent, to be started by `start` or `start_agent`.

        Args:
            agent_class: called for a new object at each start.
            name: different from all other agents; in a fleet from those of all orchestrators.
            custom_config: default the class's own `Config()`.
            dependencies: names of agents that must be ready, or have completed, before this one starts. They may be
                registered later.
            restart: whether the agent is started again after it has ended by itself: never, on_failure, always, or a
                policy.
            msg_channel: the agent's channel. Default: an endpoint of the orchestrator's.
            spread: the agent may run on any orchestrator of the fleet that registers it as spread, on one at a time:
                `start` lets the least loaded one take it, and another one takes it over when that one is gone. Its
                dependencies must be spread too, and run on the same orchestrator.
            kwargs: for the constructor of the class, and attributes of the agent; `custom_plugin` is its `plugin`.

        Raises:
            TypeError: `agent_class` is no agent's class.
            AgentExistsError: the name is taken.
            InvalidChannelError: with a bus, the name is no channel token.
            OrchestratorError: the agent is spread, and there is no state store, or one without revisions.
        """
        self.member.check(name, spread)
        policy, channel = RestartPolicy.of(restart), msg_channel or self.msg_channel
        entry: AgentEntry = self.memory.add_agent(
            agent_class, name, custom_config, msg_channel=channel, restart=policy, **kwargs
        )
        entry.is_spread = spread
        self.graph.add(name, dependencies)
        self.member.changed(entry)
        return entry

    def add_dependency(self, agent_name: str, depends_on: list[str]) -> None:
        """Adds dependencies of an agent.

        Raises:
            AgentNotFoundError: the agent is not registered.
        """
        self.graph.add(self.memory.get_agent(agent_name).name, depends_on)

    def validate_dependencies(self) -> None:
        """Checks that all dependencies can be met.

        Raises:
            DependencyError: a dependency is not registered, or is spread where the dependent agent is not.
            DependencyCycleError: agents wait for each other; the error names them.
        """
        self.graph.check(self.memory.names())
        self.member.check_needs()

    def start(self) -> None:
        """Starts every registered agent, each when its dependencies are ready and a worker is free; those that are
        spread start somewhere in the fleet. Does not wait for them.

        Raises:
            DependencyError, DependencyCycleError: as `validate_dependencies`; nothing was started.
            AgentElsewhereError: an agent that is not spread runs on another orchestrator; nothing was started.
            OrchestratorExistsError: another orchestrator of this name is alive.
        """
        self.validate_dependencies()
        self.member.start([entry.name for entry in self.memory.agents if not entry.is_spread]).result()
        self.member.start_spread()

    def start_agent(self, name: str) -> str:
        """Starts one agent and its dependencies; returns "started", or why the agent waits.

        Raises:
            AgentNotFoundError, AgentStateError: the agent is not registered, or runs already.
            DependencyError: a dependency cannot be met.
            AgentElsewhereError: another orchestrator runs the agent.
        """
        return self.starting(name).result()

    def stop_agent(self, name: str) -> str:
        """Stops one agent; returns when it has ended.

        Raises:
            AgentNotFoundError, AgentStateError: the agent is not registered, does not run, or is a thread that does
                not end.
        """
        return self.stopping(name).result()

    def stop(self) -> None:
        """Asks all agents to stop; `join` waits for their end."""
        self.supervisor.stop_all()

    def join(self, timeout: float | None = None) -> bool:
        """Waits until no agent runs or waits to run, with `RunMode.DAEMON` until the shutdown. Returns False after
        `timeout` seconds."""
        return (self._ended if self.config.run_mode is RunMode.DAEMON else self.supervisor.all_done).wait(timeout)

    simple_join = join

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the orchestrator is shut down, for example by a command. Returns False after `timeout`
        seconds."""
        return self._ended.wait(timeout)

    def send(self, target: str, msg: ServiceMessage) -> None:
        """Sends a message to an agent of this orchestrator, or with a bus of any orchestrator.

        Raises:
            AgentNotFoundError, AgentStateError: without a bus: the agent is not registered, or does not run.
            As `MessageChannel.send`.
        """
        if self.connections.bus is None and not self.memory.get_agent(target).is_alive():
            stage = self.memory.get_agent(target).stage.value
            raise AgentStateError(f"agent {target!r} does not run: it is {stage}", details={"agent": target})
        self.msg_channel.send(target, msg)

    def register_event(self, event: OrchestratorEvent, callback: Callable[..., object]) -> None:
        """Calls a callback at each event of a kind; see `EventManager`."""
        self.event_manager.register_event(event, callback)

    def report(self) -> dict[str, Any]:
        """Returns the contents of `trunkline report`."""
        return self.reporting.report()

    @property
    def dead_letters(self) -> DeadLetterQueue:
        """Failures of agents that were not restarted."""
        return self.member.dead_letters

    @property
    def uptime(self) -> float:
        """Seconds since the orchestrator was made."""
        return self.reporting.uptime

    def shutdown(self) -> None:
        """Stops every agent (kills a process that does not end in time), and closes everything. Idempotent."""
        with self._closing:
            if self._ended.is_set():
                return
            atexit.unregister(self.shutdown)
            self.member.leave()
            self.supervisor.close()
            self._stop_message_thread()
            self.member.close()
            for channel in reversed(self._channels):
                channel.close()
            self.connections.close()
            in_a_callback = threading.current_thread().name.startswith("OrchestratorEvents")
            self.event_manager.shutdown(wait=not in_a_callback)
            self._audit.close()
            self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()

    # Messages.

    def handle_command(self, msg: ServiceMessage, channel: MessageChannel) -> None:
        """Serves a command, and answers its sender."""
        caller = Caller(msg.sender, "socket" if channel is self.command_channel else "bus", msg.peer)

        def reply(answer: Answer) -> None:
            channel.reply(msg, ServiceMessage(_OWNER, "STATUS", safe_json(answer)))

        self._commands.handle(msg, caller, reply)

    def handle_agent_message(self, msg: ServiceMessage) -> None:
        """Records the event of an agent's message. The supervisor does not depend on this method."""
        event, details = event_of(msg.payload)
        self.event_log.record(event, msg.sender, **details)

    def _handle_status(self, msg: ServiceMessage) -> None:
        msg = msg.escaped()
        if msg.payload == AgentEvent.AGENT_HEARTBEAT.value:
            self.member.beat(msg.sender)
        with self.supervisor.hearing(msg) as is_news:
            if is_news:
                self.handle_agent_message(msg)

    # Actions of commands.

    def starting(self, name: str) -> Future[str]:
        """Starts an agent as `start_agent` does; the future is done when it is started."""
        self.validate_dependencies()
        return self.member.start([self.memory.get_agent(name).name])

    def stopping(self, name: str) -> Future[str]:
        """Stops an agent as `stop_agent` does; the future is done when it has ended."""
        return self.supervisor.stop(self.memory.get_agent(name).name)

    def shutting_down(self) -> None:
        """Begins the shutdown, in a thread of its own."""
        threading.Thread(target=self.shutdown, name="OrchestratorShutdown").start()
