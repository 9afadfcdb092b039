"""Fleet: the client of several orchestrators."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from trunkline import AgentState, GrpcMessageBus, GrpcStateManager, MessageBus, StateManager
from trunkline.channels import agent_channel, check_channel
from trunkline.message_channel import ServiceMessage, to_agent_message
from trunkline.orchestrator.errors import (
    AgentElsewhereError,
    AgentNotFoundError,
    AgentStateError,
    OrchestratorNotFoundError,
)
from trunkline.orchestrator.fleet.command_client import Answer, CommandClient
from trunkline.orchestrator.fleet.records import ORCHESTRATOR, holder_of, is_active
from trunkline.orchestrator.fleet.store import leases_in, orchestrators_in
from trunkline.orchestrator.fleet.view import FleetView
from trunkline.orchestrator.limits import COMMAND_SECONDS

_SUMMED: Final = (
    *("total_agents", "running_agents", "max_workers", "waiting_agents"),
    *("restarts", "errors", "dropped_events"),
)


class Fleet:
    """Reads the state of the orchestrators that share a bus and a state store, and commands them.

        async with Fleet("127.0.0.1:7431", "127.0.0.1:7432") as fleet:
            print(await fleet.ps())
            await fleet.start("weather")

    In a program that has an Orchestrator too, or uses `trunkline.sync`, run the calls by `trunkline.sync.Background`:
    gRPC wants one event loop a process.

    Args:
        bus: its address, or an object, which is connected where it is not, and stays connected.
        state: the state store; likewise.
        sender: name of the caller for the orchestrators' audit logs; a channel token. Default: this machine and
            process.
        timeout: seconds that an orchestrator may take to answer.

    Raises (every method):
        BusDisconnectedError, StateDisconnectedError: bus or state store cannot be reached.
        OrchestratorNotFoundError: no orchestrator is alive.
        CommandDeniedError: an orchestrator does not allow the command.
        RequestTimeoutError: an orchestrator did not answer.
    """

    def __init__(
        self,
        bus: str | MessageBus,
        state: str | StateManager,
        *,
        sender: str | None = None,
        timeout: float = COMMAND_SECONDS,
    ) -> None:
        self._owns_bus = isinstance(bus, str)
        self._owns_state = isinstance(state, str)
        self._bus = GrpcMessageBus(bus) if isinstance(bus, str) else bus
        self._state = GrpcStateManager(state) if isinstance(state, str) else state
        host = "".join(letter for letter in socket.gethostname() if letter.isalnum())
        self._client = CommandClient(self._bus, sender or f"fleet-{host}-{os.getpid()}", timeout)

    async def connect(self) -> None:
        """Connects to both; idempotent."""
        await self._state.connect()
        try:
            await self._bus.connect()
        except BaseException:
            await self.disconnect()
            raise

    async def disconnect(self) -> None:
        """Disconnects from bus and store where they were given by address; idempotent."""
        if self._owns_bus:
            await self._bus.disconnect()
        if self._owns_state:
            await self._state.disconnect()

    # Questions.

    async def ps(self) -> Answer:
        """Returns all agents and orchestrators: `agents` (agent_name, alive, started, in_queue, state, orchestrator),
        `running_count`, `max_workers`, `waiting_count`, and `orchestrators` (name, alive, running_count, max_workers,
        waiting_count, host, pid, last_heartbeat: when its lease was renewed). An orchestrator that is gone is shown as
        long as there are records of its agents, with the time of the newest; those that ran there are "lost"."""
        records, leases = await asyncio.gather(self._state.list_agent_states(), leases_in(self._state))
        return FleetView(records, leases).ps()

    async def status(self, name: str | None = None) -> Answer:
        """Returns all facts about one agent, from the orchestrator that has it; or those about all orchestrators.

        Raises:
            AgentNotFoundError: there is no record of the agent.
        """
        if name is None:
            return {"orchestrators": await self._ask_all("status")}
        record = await self._record(name)
        view = await self._view(record)
        holder = holder_of(record)
        if view.lives(holder):
            answer = await self._client.ask(holder.name, "status", name)
            return {**answer["data"], "orchestrator": holder.name}
        return {"name": name, **record.metadata, "alive": False, "state": view.state(record)}

    async def report(self) -> Answer:
        """Returns the state of the fleet, and each orchestrator's report."""
        reports, ps = await asyncio.gather(self._ask_all("report"), self.ps())
        return {"time": datetime.now(UTC).isoformat(timespec="seconds"), "fleet": ps, "orchestrators": reports}

    async def stats(self) -> Answer:
        """Returns each orchestrator's figures, and the sums of those that can be added."""
        answers = await self._ask_all("stats")
        own = [each.get("orchestrator", {}) for each in answers.values()]
        sums = {name: sum(each.get(name) or 0 for each in own) for name in _SUMMED}
        return {"timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"), **sums, "orchestrators": answers}

    async def history(
        self,
        last: int | None = None,
        agent: str | None = None,
        type: str | None = None,
        after: Mapping[str, int] | None = None,
    ) -> Answer:
        """Returns events of all orchestrators, the oldest first, each with its `orchestrator`; with `last`, only so
        many of the newest. `last_seq` has the newest `seq` of each orchestrator, `began_at` since when it counts:
        another time than before means that the orchestrator was started anew.

        Args:
            after: by orchestrator, the `seq` of an event; only later events are returned.
        """
        given = [("--last", last), ("--agent", agent), ("--type", type)]
        seen = after or {}

        def args(name: str) -> list[str]:
            options = [*given, ("--after-seq", seen.get(name))]
            return [str(word) for option in options if option[1] is not None for word in option]

        answers = await self._ask_all("history", args)
        events = [{**event, "orchestrator": name} for name, each in answers.items() for event in each.get("events", ())]
        events.sort(key=lambda event: str(event["timestamp"]))
        shown = events if last is None else events[max(0, len(events) - last) :]
        newest = {name: each["last_seq"] for name, each in answers.items() if "last_seq" in each}
        began = {name: each["began_at"] for name, each in answers.items() if "began_at" in each}
        return {"events": shown, "count": len(shown), "last_seq": newest, "began_at": began}

    async def dependencies(self) -> Answer:
        """Returns the dependencies of the agents of all orchestrators."""
        answers = await self._ask_all("dependencies")
        found: dict[str, list[str]] = {}
        for each in answers.values():
            found |= each.get("dependencies", {})
        return {"dependencies": found}

    # Changes.

    async def start(self, name: str) -> Answer:
        """Starts an agent on the least loaded orchestrator that has it registered; returns `orchestrator`, its name,
        and `message`.

        Raises:
            AgentElsewhereError: the agent runs already.
            AgentNotFoundError: no orchestrator that is alive has the agent registered.
            As `Orchestrator.start_agent`.
        """
        record = await self._state.get_agent_state(name)
        view = await self._view(record)
        if record is not None and is_active(record) and view.lives(holder := holder_of(record)):
            raise AgentElsewhereError(
                f"agent {name!r} runs on orchestrator {holder.name!r} already: it is {view.state(record)}",
                details={"agent": name, "orchestrator": holder.name},
            )
        tried = []
        for peer in view.live():
            try:
                answer = await self._client.ask(peer.holder.name, "start", name)
                return {"orchestrator": peer.holder.name, "message": answer.get("message", "")}
            except (AgentNotFoundError, OrchestratorNotFoundError):
                tried.append(peer.holder.name)
        if not tried:
            raise OrchestratorNotFoundError("no orchestrator of the fleet is heard of")
        raise AgentNotFoundError(
            f"no orchestrator has an agent {name!r} registered; asked {', '.join(tried)}", details={"agent": name}
        )

    async def stop(self, name: str) -> Answer:
        """Stops an agent on any orchestrator; returns `orchestrator` and `message` when it has ended.

        Raises:
            AgentNotFoundError: there is no record of the agent.
            AgentStateError: the agent does not run, or is lost.
        """
        record = await self._record(name)
        holder = holder_of(record)
        if not (await self._view(record)).lives(holder):
            raise AgentStateError(
                f"agent {name!r} cannot be stopped: its orchestrator {holder.name!r} is not heard of",
                details={"agent": name, "orchestrator": holder.name},
            )
        answer = await self._client.ask(holder.name, "stop", name)
        return {"orchestrator": holder.name, "message": answer.get("message", "")}

    async def send(self, name: str, msg: ServiceMessage) -> None:
        """Sends a message to an agent on any orchestrator; returns when the bus has received it.

        Raises:
            AgentNotFoundError: there is no record of the agent.
            AgentStateError: the agent does not run.
            MessageTooLargeError: the message is over the limit.
        """
        record = await self._record(name)
        if not is_active(record):
            state = record.metadata.get("state")
            raise AgentStateError(f"agent {name!r} does not run: it is {state}", details={"agent": name})
        await self._bus.publish(check_channel(agent_channel(name)), to_agent_message(msg, name))
        await self._bus.flush()

    async def shutdown(self, orchestrator: str | None = None) -> Answer:
        """Shuts down one orchestrator, or all; returns `orchestrators`, their names, when the shutdowns have begun.

        Raises:
            OrchestratorNotFoundError: that orchestrator is not alive.
        """
        if orchestrator is None:
            return {"orchestrators": sorted(await self._ask_all("shutdown"))}
        await self._client.ask(orchestrator, "shutdown")
        return {"orchestrators": [orchestrator]}

    # Helpers.

    async def _record(self, name: str) -> AgentState:
        record = await self._state.get_agent_state(name)
        if record is None or record.agent_type == ORCHESTRATOR:
            raise AgentNotFoundError(f"no agent {name!r} is known", details={"agent": name})
        return record

    async def _view(self, *records: AgentState | None) -> FleetView:
        """Returns the view of all orchestrators and these agents."""
        return FleetView([*await orchestrators_in(self._state), *(record for record in records if record is not None)])

    async def _ask_all(self, command: str, args: Callable[[str], Sequence[str]] = lambda name: ()) -> dict[str, Answer]:
        """Sends a command to each orchestrator that is alive, and returns the data of the answers by name."""
        live = [peer.holder.name for peer in (await self._view()).live()]
        return await self._client.ask_all(live, command, args)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()
