"""Connections: the bus and the state store of an orchestrator."""

from __future__ import annotations

from trunkline import GrpcStateManager, MessageBus, StateManager, sync
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.errors import OrchestratorError
from trunkline.orchestrator.limits import STATE_TIMEOUT


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
        self.bus: sync.MessageBus | None = None
        if isinstance(bus, sync.MessageBus):
            self.bus = bus
        elif bus is not None:
            _check_free("message_bus", bus)
            self.bus = sync.MessageBus.over(bus)
        elif config.bus_address is not None:
            self.bus = sync.MessageBus(config.bus_address)
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


def _state(state: StateManager | sync.StateManager | None, address: str | None) -> tuple[StateManager | None, bool]:
    """Returns the store, and whether others have connected it."""
    if isinstance(state, sync.StateManager):
        return state.asynchronous, state.is_open
    if state is not None:
        _check_free("state_manager", state)
        return state, False
    return (None if address is None else GrpcStateManager(address, timeout=STATE_TIMEOUT)), False


def _face(state: StateManager | sync.StateManager | None) -> sync.StateManager | None:
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
