"""The clients that commands use, for the addresses that were chosen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from trunkline.cli.settings import CONNECT_SECONDS, Settings

if TYPE_CHECKING:
    from trunkline import GrpcMessageBus, GrpcStateManager


def bus_client(chosen: Settings, *, wait_for_ready: bool = False, **listeners: Any) -> GrpcMessageBus:
    """Returns a client of the bus that is not connected.

    Args:
        wait_for_ready: `connect` waits some seconds for a bus that cannot be reached yet.
        listeners: `on_disconnected`, `on_reconnected`.
    """
    _quieten_grpc()
    from trunkline import GrpcMessageBus

    return GrpcMessageBus(chosen.bus, connect_timeout=CONNECT_SECONDS, wait_for_ready=wait_for_ready, **listeners)


def state_client(chosen: Settings, *, wait_for_ready: bool = False, **listeners: Any) -> GrpcStateManager:
    """Returns a client of the state service that is not connected; as `bus_client`."""
    _quieten_grpc()
    from trunkline import GrpcStateManager

    return GrpcStateManager(chosen.state, connect_timeout=CONNECT_SECONDS, wait_for_ready=wait_for_ready, **listeners)


def _quieten_grpc() -> None:
    """Keeps lines of gRPC's own off the terminal, unless they are asked for: errors of TLS say the same in words."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
