"""Clients: the bus and the state store of an agent, connected at first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, overload

from trunkline.addresses import check_target
from trunkline.agents.errors import AgentError

if TYPE_CHECKING:
    from trunkline import sync

T = TypeVar("T")


class Clients:
    """The clients of one life of an agent.

    Args:
        agent: its name.
        bus_address, state_address: None where the agent has none.

    Raises:
        InvalidAddressError: one of them is no address.
    """

    def __init__(self, agent: str, bus_address: str | None, state_address: str | None) -> None:
        self._agent = agent
        self._bus_address = None if bus_address is None else check_target(bus_address)
        self._state_address = None if state_address is None else check_target(state_address)
        self._bus: sync.MessageBus | None = None
        self._state: sync.StateManager | None = None
        self._lent: tuple[sync.MessageBus | None, sync.StateManager | None] = (None, None)

    def lend(self, bus: sync.MessageBus | None, state: sync.StateManager | None) -> None:
        """Takes shared clients in the place of the addresses; they stay connected at the end of this life."""
        self._lent = bus, state

    @property
    def bus(self) -> sync.MessageBus:
        """The bus, connected. Raises AgentError without an address, BusDisconnectedError where it cannot be reached."""
        if self._bus is None:
            from trunkline import sync

            bus = self._lent[0] or sync.MessageBus(self._address("bus", self._bus_address))
            bus.connect()
            self._bus = bus
        return self._bus

    @property
    def state(self) -> sync.StateManager:
        """The state store, connected. Raises AgentError, StateDisconnectedError likewise."""
        if self._state is None:
            from trunkline import sync

            state = self._lent[1] or sync.StateManager(self._address("state", self._state_address))
            state.connect()
            self._state = state
        return self._state

    def disconnect(self) -> None:
        """Disconnects the clients that are not shared; idempotent."""
        try:
            if self._bus is not None and self._bus is not self._lent[0]:
                self._bus.disconnect()
        finally:
            if self._state is not None and self._state is not self._lent[1]:
                self._state.disconnect()

    def _address(self, kind: str, address: str | None) -> str:
        if address is None:
            raise AgentError(
                f"agent {self._agent!r} has no {kind}: it was given no {kind}_address", details={"agent": self._agent}
            )
        return address


class Connected(Generic[T]):
    """A class attribute of an agent that gives one of its clients. Unlike a property it may be overridden by an
    instance attribute that a subclass sets under the same name."""

    def __init__(self, get: Callable[[Clients], T]) -> None:
        self._get = get

    @overload
    def __get__(self, agent: None, owner: type) -> Self: ...

    @overload
    def __get__(self, agent: Any, owner: type) -> T: ...

    def __get__(self, agent: Any, owner: type) -> Self | T:
        return self if agent is None else self._get(agent._clients)


bus: Final[Connected[sync.MessageBus]] = Connected(lambda clients: clients.bus)
"""The bus, connected at first use and disconnected at the end of the life."""

state: Final[Connected[sync.StateManager]] = Connected(lambda clients: clients.state)
"""The state store, connected and disconnected likewise."""
