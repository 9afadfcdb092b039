"""Store: the parts of store and forward, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from trunklined.sidecar.config import Settings
from trunklined.sidecar.forwarder import Forwarder
from trunklined.sidecar.offline.backlog import Backlog
from trunklined.sidecar.offline.gate import Gate
from trunklined.sidecar.offline.relay import Relay
from trunklined.sidecar.offline.stand_in import StandIn


@dataclass(frozen=True, slots=True)
class Store:
    """What takes stored publishes while the bus is away, and hands them on."""

    gate: Gate
    backlog: Backlog
    relay: Relay
    stand_in: StandIn

    @classmethod
    def of(cls, settings: Settings, bus: Forwarder) -> Self:
        """One before the bus that a forwarder leads to."""
        gate = Gate()
        backlog = Backlog(Path(settings.store_path), settings.max_stored_messages, settings.max_stored_bytes)
        return cls(gate, backlog, Relay(backlog, gate, bus), StandIn(bus, gate, backlog, settings.max_message_bytes))
