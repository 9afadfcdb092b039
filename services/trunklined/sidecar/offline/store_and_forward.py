"""StoreAndForward: what takes stored publishes while the bus is away, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc

from trunklined.forwarding.forwarder import Forwarder
from trunklined.sidecar.config import Settings
from trunklined.sidecar.offline.backlog import Backlog
from trunklined.sidecar.offline.calls import PublishingCalls
from trunklined.sidecar.offline.drain import Drain
from trunklined.sidecar.offline.holder import Holder
from trunklined.sidecar.offline.routing import Routing
from trunklined.sidecar.offline.stuck import StuckCall

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # not subscriptable at run time


@dataclass(frozen=True, slots=True)
class StoreAndForward:
    """Holds stored publishes while the bus is away, and hands them on when it is back."""

    routing: Routing
    backlog: Backlog
    drain: Drain
    handlers: dict[str, Handler]
    """Of the calls that are served here, by their names."""

    @classmethod
    def of(cls, settings: Settings, bus: Forwarder) -> Self:
        """Makes one before the bus that a forwarder leads to."""
        routing = Routing()
        backlog = Backlog(Path(settings.store_path), settings.max_stored_messages, settings.max_stored_bytes)
        calls = PublishingCalls(bus, routing, Holder(routing, backlog, settings.max_message_bytes))
        drain = Drain(backlog, routing, bus)
        return cls(
            routing, backlog, drain, {**calls.handlers(), "Stuck": StuckCall(bus, backlog, drain.relay).handler()}
        )
