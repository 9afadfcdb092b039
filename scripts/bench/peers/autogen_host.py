"""AutoGen's host, as a program: `python -m scripts.bench.peers.autogen_host PORT`, in AutoGen's environment."""

from __future__ import annotations

import sys

import uvloop
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntimeHost


async def serve(port: int) -> None:
    """Serves until it is ended."""
    host = GrpcWorkerAgentRuntimeHost(f"127.0.0.1:{port}")
    host.start()
    await host.stop_when_signal(grace=0)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
