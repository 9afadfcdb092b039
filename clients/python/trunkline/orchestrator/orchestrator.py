"""Orchestrator: runs agents, tells what happens to them, and takes commands."""

from __future__ import annotations

import atexit
import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, Self, TypeAlias

from trunkline import DeadLetterQueue, MessageBus, StateManager, sync
from trunkline.agents import AgentConfig, AgentEvent, BaseAgent
from trunkline.message_channel import Endpoint, MessageChannel, ServiceMessage
from trunkline.orchestrator.agent_owner import AgentOwner
from trunkline.orchestrator.commands.audit import Asker, AuditLog
from trunkline.orchestrator.commands.commands import Answer, CommandHandler
from trunkline.orchestrator.commands.message_thread import MessageThread, open_command_channel
from trunkline.orchestrator.commands.reporting import Reporting
from trunkline.orchestrator.config import OrchestratorConfig, RunMode
from trunkline.orchestrator.errors import AgentStateError
from trunkline.orchestrator.events.announcer import Announcer
from trunkline.orchestrator.events.events import OrchestratorEvent, told_by
from trunkline.orchestrator.fleet.links import Links
from trunkline.orchestrator.fleet.member import FleetMember
from trunkline.orchestrator.permissions import Permissions
from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.registry import AgentEntry, Memory
from trunkline.orchestrator.registry.restart import RestartPolicy, When
from trunkline.orchestrator.supervision.supervisor import Supervisor

_OWNER = "orchestrator"
"""What every orchestrator is called by its own agents."""


class Orchestrator(MessageThread):
    """Of one program; several make a fleet over a bus and a state store.

        with Orchestrator(Orchestrator.Config(enable_command_interface=True)) as orchestrator:
            orchestrator.register_agent(Weather, "weather", restart="on_failure")
            orchestrator.start()
            orchestrator.join()

    Args:
        config: default `Orchestrator.Config()`.
        name: what it is called, in a fleet different from all others; there it is a channel token.
        message_bus: a bus, instead of the one at `config.bus_address`: any MessageBus that is not connected, or a
            `trunkline.sync.MessageBus`, which may be connected and used by others too.
        state_manager: a state store, instead of the one at `config.state_address`; likewise.

    Raises:
        ConfigValidationError: the configuration cannot be used.
        SocketInUseError: another program has the command socket.
        OrchestratorError: the audit log cannot be written; a bus or store is connected in another event loop.
        BusDisconnectedError, InvalidChannelError: with a bus: it is not reached; the name cannot be a channel's.
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
        self.memory = Memory()
        self.graph = DependencyGraph()
        self.announcer = Announcer(self.config.history_capacity, self.config.event_workers)
        self.event_store = self.announcer.history
        self.event_manager = self.announcer.events
        self._audit = AuditLog(self.config.audit_log_path)
        with ExitStack() as opened:
            opened.callback(self._audit.close)
            self.links = Links(self.config, message_bus, state_manager)
            opened.callback(self.links.close)
            self.msg_channel = MessageChannel("process", name=_OWNER, bus=self.links.bus, bus_name=self.name)
            opened.callback(self.msg_channel.close)
            self.command_channel = open_command_channel(self.config, _OWNER, self._audit)
            opened.pop_all()
        self.supervisor = Supervisor(self.memory, self.graph, AgentOwner(self), self.config.max_workers)
        self.reporting = Reporting(self)
        self._commands = CommandHandler(self.reporting, self, Permissions.of(self.config.allowed_commands), self._audit)
        self._channels = [channel for channel in (self.msg_channel, self.command_channel) if channel is not None]
        self._began = time.monotonic()
        self.member = FleetMember(self, self.links)
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
        """Registers an agent; `start` or `start_agent` starts it.

        Args:
            agent_class: what it is made of, anew for each life.
            name: what it is called; in a fleet different from all others.
            custom_config: default the class's own `Config()`.
            dependencies: names of agents that must be ready, or have completed, before it starts. They may be
                registered later.
            restart: whether it is started again when it ended by itself: never, on_failure, always, or a policy.
            msg_channel: what it speaks through. Default: an endpoint of the orchestrator's.
            spread: it may run on any orchestrator of the fleet that registers it as spread, on one at a time: `start`
                lets the least loaded one take it, and another one takes it over when that one is gone. What it needs
                must be spread too, and runs where it runs.
            kwargs: for the constructor of its class, and attributes of the agent; `custom_plugin` is its `plugin`.

        Raises:
            TypeError: it is no agent's class.
            AgentExistsError: the name is taken.
            InvalidChannelError: with a bus, the name is no channel token.
            OrchestratorError: it is spread, and there is no state store that knows who runs it.
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
        """Says that an agent needs others.

        Raises:
            AgentNotFoundError: the agent is not registered.
        """
        self.graph.add(self.memory.get_agent(agent_name).name, depends_on)

    def validate_dependencies(self) -> None:
        """Checks that all dependencies can be met.

        Raises:
            DependencyError: one is not registered, or is spread where the agent that needs it is not.
            DependencyCycleError: some wait for each other; it names them.
        """
        self.graph.check(self.memory.names())
        self.member.check_needs()

    def start(self) -> None:
        """Starts every registered agent, each when what it needs is ready and a worker is free; those that are spread,
        somewhere in the fleet. Does not wait for them.

        Raises:
            DependencyError, DependencyCycleError: as `validate_dependencies`; nothing was started.
            AgentElsewhereError: an agent that is not spread runs on another orchestrator; nothing was started.
            OrchestratorExistsError: another orchestrator of this name lives.
        """
        self.validate_dependencies()
        self.member.start([entry.name for entry in self.memory.agents if not entry.is_spread]).result()
        self.member.start_spread()

    def start_agent(self, name: str) -> str:
        """Starts one agent, and what it needs; says "started", or why it waits.

        Raises:
            AgentNotFoundError, AgentStateError, DependencyError: it is not there, runs already, or cannot be met.
            AgentElsewhereError: another orchestrator runs it.
        """
        return self.starting(name).result()

    def stop_agent(self, name: str) -> str:
        """Ends one agent; returns when it has ended.

        Raises:
            AgentNotFoundError, AgentStateError: it is not there, does not run, or is a thread that does not end.
        """
        return self.stopping(name).result()

    def stop(self) -> None:
        """Asks all agents to end; `join` waits for that."""
        self.supervisor.stop_all()

    def join(self, timeout: float | None = None) -> bool:
        """Waits until nothing runs or waits to run, with `RunMode.DAEMON` until it is shut down; says whether so."""
        return (self._ended if self.config.run_mode is RunMode.DAEMON else self.supervisor.all_done).wait(timeout)

    simple_join = join

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the orchestrator is shut down, by a command say; says whether it is."""
        return self._ended.wait(timeout)

    def send(self, target: str, msg: ServiceMessage) -> None:
        """Sends a message to an agent: one of its own, or, with a bus, whichever orchestrator has it.

        Raises:
            AgentNotFoundError, AgentStateError: without a bus: nobody of that name is here, or it does not run.
            As `MessageChannel.send`.
        """
        if self.links.bus is None and not self.memory.get_agent(target).is_alive():
            stage = self.memory.get_agent(target).stage.value
            raise AgentStateError(f"agent {target!r} does not run: it is {stage}", details={"agent": target})
        self.msg_channel.send(target, msg)

    def register_event(self, event: OrchestratorEvent, callback: Callable[..., object]) -> None:
        """Calls a callback at each such event; see `EventManager`."""
        self.event_manager.register_event(event, callback)

    def report(self) -> dict[str, Any]:
        """What `trunkline report` shows."""
        return self.reporting.report()

    @property
    def dead_letters(self) -> DeadLetterQueue:
        """What its agents failed of, when they were not started again."""
        return self.member.dead_letters

    @property
    def uptime(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    def shutdown(self) -> None:
        """Ends every agent (kills a process that does not end in time), then itself; waits for that. Idempotent."""
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
            self.links.close()
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
        """Does what a message commands, and answers whoever sent it."""
        asker = Asker(msg.sender, "socket" if channel is self.command_channel else "bus", msg.peer)

        def reply(answer: Answer) -> None:
            channel.reply(msg, ServiceMessage(_OWNER, "STATUS", json.dumps(answer, ensure_ascii=False)))

        self._commands.handle(msg, asker, reply)

    def handle_agent_message(self, msg: ServiceMessage) -> None:
        """Turns what an agent said into an event. What the supervisor has to know of it, it knows already."""
        event, facts = told_by(msg.payload)
        self.announcer.tell(event, msg.sender, **facts)

    def _heard(self, msg: ServiceMessage) -> None:
        if msg.payload == AgentEvent.AGENT_HEARTBEAT.value:
            self.member.beat(msg.sender)
        with self.supervisor.hearing(msg) as is_news:
            if is_news:
                self.handle_agent_message(msg)

    # What commands do.

    def starting(self, name: str) -> Future[str]:
        """As `start_agent`, done when it is started."""
        self.validate_dependencies()
        return self.member.start([self.memory.get_agent(name).name])

    def stopping(self, name: str) -> Future[str]:
        """As `stop_agent`, done when it has ended."""
        return self.supervisor.stop(self.memory.get_agent(name).name)

    def shutting_down(self) -> None:
        """Begins to shut down, in a thread of its own."""
        threading.Thread(target=self.shutdown, name="OrchestratorShutdown").start()
