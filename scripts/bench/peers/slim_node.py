"""SLIM's data plane, as a program: `python -m scripts.bench.peers.slim_node PORT`."""

from __future__ import annotations

import asyncio
import sys

import slim_bindings as slim


async def serve(port: int) -> None:
    """Serves until it is ended."""
    slim.uniffi_set_event_loop(asyncio.get_running_loop())  # type: ignore[arg-type]
    slim.initialize_with_defaults()
    await slim.get_global_service().run_server_async(slim.new_insecure_server_config(f"127.0.0.1:{port}"))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
