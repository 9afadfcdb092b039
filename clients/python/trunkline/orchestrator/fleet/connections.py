"""Connections: the bus and the state store of an orchestrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.errors import OrchestratorError
from trunkline.orchestrator.limits import STATE_TIMEOUT

if TYPE_CHECKING:
    from trunkline import MessageBus, StateManager, sync


class Connections:
    """Connects the bus. The `Membership` connects the state store, since that may be away.

    Args:
        config: has the addresses.
        bus, state: objects in place of the addresses; see `Orchestrator`.

    Raises:
        BusDisconnectedError: the bus cannot be reached.
        OrchestratorError: an object is connected in another loop than that of `trunkline.sync`.
    """

    def __init__(
        self,
        config: OrchestratorConfig,
        bus: MessageBus | sync.MessageBus | None,
        state: StateManager | sync.StateManager | None,
    ) -> None:
        self.state, self.has_shared_state = _state(state, config.state_address)
        self.bus = _bus(bus, config.bus_address)
        self.lent = (None if bus is None else self.bus), _face(state)
        """The objects, which agents in threads use in place of addresses; None where there is an address."""
        self._has_shared_bus = self.bus is not None and self.bus.is_open
        if self.bus is not None:
            self.bus.connect()

    def close(self) -> None:
        """Disconnects the clients that others have not connected; idempotent."""
        if self.bus is not None and not self._has_shared_bus:
            self.bus.disconnect()
        state = self.lent[1]
        if state is not None and not self.has_shared_state:
            state.disconnect()


# The clients are loaded where there is something to connect to: most of what an orchestrator would load are they.


def _bus(bus: MessageBus | sync.MessageBus | None, address: str | None) -> sync.MessageBus | None:
    if bus is not None:
        from trunkline import sync

        if isinstance(bus, sync.MessageBus):
            return bus
        _check_free("message_bus", bus)
        return sync.MessageBus.over(bus)
    if address is not None:
        from trunkline import sync

        return sync.MessageBus(address)
    return None


def _state(state: StateManager | sync.StateManager | None, address: str | None) -> tuple[StateManager | None, bool]:
    """Returns the store, and whether others have connected it."""
    if state is not None:
        from trunkline import sync

        if isinstance(state, sync.StateManager):
            return state.asynchronous, state.is_open
        _check_free("state_manager", state)
        return state, False
    if address is not None:
        from trunkline import GrpcStateManager

        return GrpcStateManager(address, timeout=STATE_TIMEOUT), False
    return None, False


def _face(state: StateManager | sync.StateManager | None) -> sync.StateManager | None:
    if state is None:
        return None
    from trunkline import StateManager, sync

    return sync.StateManager.over(state) if isinstance(state, StateManager) else state


def _check_free(field: str, linked: MessageBus | StateManager) -> None:
    try:
        is_connected = linked.is_connected
    except NotImplementedError:  # a class of the user's own, which does not tell
        return
    if is_connected:
        raise OrchestratorError(
            f"{field} is connected already, in another event loop than the orchestrator's: hand it over before it is "
            f"connected, or share it as trunkline.sync.{'MessageBus' if field == 'message_bus' else 'StateManager'}"
            ".over(…)",
            details={"field": field},
        )
