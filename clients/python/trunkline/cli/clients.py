"""The clients that commands use, for the addresses that were chosen."""

from __future__ import annotations

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
    from trunkline import GrpcMessageBus

    return GrpcMessageBus(chosen.bus, connect_timeout=CONNECT_SECONDS, wait_for_ready=wait_for_ready, **listeners)


def state_client(chosen: Settings, *, wait_for_ready: bool = False, **listeners: Any) -> GrpcStateManager:
    """Returns a client of the state service that is not connected; as `bus_client`."""
    from trunkline import GrpcStateManager

    return GrpcStateManager(chosen.state, connect_timeout=CONNECT_SECONDS, wait_for_ready=wait_for_ready, **listeners)
