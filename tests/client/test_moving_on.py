"""A client that is asked to move on while it moves: the replica that it comes to stops, too."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from tests.bus.durable.calls import eventually
from tests.contract.inbox import Inbox, numbered
from trunkline import GrpcMessageBus, GrpcStateManager, TaskResult
from trunkline.bus.grpc.session import BusSession

CHANNEL: Final = f"moving-on:{uuid4().hex}"


async def _done(came: int, moving: object) -> bool:
    return came == 2 and moving is None


class _MovingBus(GrpcMessageBus):
    """Is asked again by the first place that it comes to, before it is there."""

    came_to: list[BusSession]

    async def _begin_elsewhere(self) -> BusSession:
        session = await super()._begin_elsewhere()
        self.came_to.append(session)
        if len(self.came_to) == 1:
            self._mover.ask(session)
        return session


async def test_a_bus_moves_on(bus_address: str) -> None:
    """To a third place, and nothing that it subscribed to is lost."""
    bus, inbox = _MovingBus(bus_address), Inbox()
    bus.came_to = []
    async with bus:
        await bus.subscribe(CHANNEL, inbox)
        first = bus._connected()
        bus._mover.ask(first)
        await eventually(lambda: _done(len(bus.came_to), bus._mover._moving), bool)
        assert bus._connected() is bus.came_to[1]
        await bus.publish(CHANNEL, numbered(1))
        await inbox.have(1)
        assert inbox.numbers == [1]


class _MovingState(GrpcStateManager):
    came_to = 0

    async def _line_elsewhere(self, old: object) -> object:  # type: ignore[override]
        line = await super()._line_elsewhere(old)  # type: ignore[arg-type]
        self.came_to += 1
        if line is not None and self.came_to == 1:
            self._mover.ask(line)
        return line


async def test_a_state_manager_moves_on(state_address: str) -> None:
    """The same, and its calls go on."""
    async with _MovingState(state_address) as state:
        result = TaskResult(task_id=CHANNEL, agent_id="a", status="completed")
        await state.save_task_result(result)
        state._asked_to_move()
        await eventually(lambda: _done(state.came_to, state._mover._moving), bool)
        assert await state.get_task_result(CHANNEL) is not None
