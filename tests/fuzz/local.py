"""Both services in this process, so that what runs in them can be followed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.access.calls import CALLS
from tests.fuzz.bodies import right_body
from tests.fuzz.services import check_alive, send
from trunklined.bus import app as bus_app
from trunklined.bus.config import Settings as BusSettings
from trunklined.rpc.server import serving
from trunklined.state import app as state_app
from trunklined.state.config import Settings as StateSettings

CHECK_EVERY = 200


@contextmanager
def local_services() -> Iterator[Callable[[bytes], None]]:
    """Yields what sends a call: its number in the first byte, then its body.

    Raises:
        FuzzError: by what is yielded; see `send`.
    """
    loop = asyncio.new_event_loop()
    stack = AsyncExitStack()
    fed = 0
    with tempfile.TemporaryDirectory() as directory:
        channels = loop.run_until_complete(_start(stack, Path(directory)))

        def feed(data: bytes) -> None:
            nonlocal fed
            fed += 1
            call = CALLS[(data[0] if data else 0) % len(CALLS)]
            loop.run_until_complete(send(channels[call.service], call, data[1:]))
            if fed % CHECK_EVERY == 0:
                for name, channel in channels.items():
                    loop.run_until_complete(check_alive(channel, name))

        try:
            yield feed
        finally:
            loop.run_until_complete(stack.aclose())
            loop.close()


async def _start(stack: AsyncExitStack, directory: Path) -> dict[str, grpc.aio.Channel]:
    quiet: dict[str, Any] = {"log_level": "error", "drain_seconds": 0.0, "unready_seconds": 0.0, "engine": "sqlite"}
    bus = BusSettings(address=f"unix:{directory}/bus.sock", path=f"{directory}/bus.db", **quiet)
    state = StateSettings(address=f"unix:{directory}/state.sock", path=f"{directory}/state.db", **quiet)
    addresses = {
        "bus": await stack.enter_async_context(serving(bus_app.build(bus), bus)),
        "state": await stack.enter_async_context(serving(state_app.build(state), state)),
    }
    return {
        name: await stack.enter_async_context(grpc.aio.insecure_channel(address)) for name, address in addresses.items()
    }


def call_seeds() -> list[bytes]:
    """A right body of each call."""
    return [bytes([number]) + right_body(call) for number, call in enumerate(CALLS)]
