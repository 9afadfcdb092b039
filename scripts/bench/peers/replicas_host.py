"""Two replicas of our bus over a redis-server, as one program: `… replicas_host PORT SECOND_PORT FOLDER`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from scripts.bench.peer import Server
from scripts.bench.processes import end, free_port, start_server

PIDS = "pids.json"
"""The file that says, when all are ready, which processes they are, Redis's last, and Redis's port."""


async def serve(port: int, second: int, folder: Path) -> None:
    """Serves until it is ended; the first replica is the last that is ready."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    redis_port = free_port()
    options = {"bind": "127.0.0.1", "port": str(redis_port), "dir": str(folder), "save": "", "appendonly": "no"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    redis = await start_server(Server(("redis-server", *words)), redis_port, folder / "redis.log", os.environ)
    replicas = []
    try:
        for its_port in (second, port):
            settings = {
                "TRUNKLINE_BUS_ADDRESS": f"127.0.0.1:{its_port}",
                "TRUNKLINE_BUS_ENGINE": "memory",
                "TRUNKLINE_BUS_REDIS_URL": f"redis://127.0.0.1:{redis_port}",
            }
            program = Server((sys.executable, "-m", "trunklined", "bus"), settings)
            replicas.append(await start_server(program, its_port, folder / f"bus-{its_port}.log", os.environ))
        partial = folder / f"{PIDS}.new"
        partial.write_text(json.dumps({"pids": [*(each.pid for each in replicas), redis.pid], "redis": redis_port}))
        partial.rename(folder / PIDS)
        await stop.wait()
    finally:
        await asyncio.gather(*(end(process) for process in (*replicas, redis)))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
