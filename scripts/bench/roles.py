"""What runs in a role's process: `python -m scripts.bench.roles NAME ORDER`, where ORDER is JSON.

A role opens its peer, writes a line when it is ready, waits for a line, works, and writes a line of figures.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvloop

from scripts.bench import peers
from scripts.bench.resources import own_cpu_seconds

ROLES: Final[Mapping[str, str]] = {
    name: f"scripts.bench.{module}"
    for module, names in {
        "peer_roles": (
            *("publisher", "subscriber", "responder", "requester", "streamer", "asker"),
            *("saver", "getter", "storer", "consumer"),
        ),
        "wire_roles": ("stalled", "filler"),
        "channel_roles": ("thread_receiver", "process_receiver", "commanded", "commander"),
    }.items()
    for name in names
}
"""The module of each; loaded when it is played, since a peer's environment may lack what other roles need."""


async def play(name: str, order: Mapping[str, Any]) -> None:
    """Plays one role from beginning to end. To its figures comes `cpu`: seconds that it used, from the barrier on."""
    before = 0.0
    tell = _own_output()

    async def barrier() -> None:
        nonlocal before
        tell("ready", True)
        if not await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            raise EOFError("the coordinator is gone")
        before = own_cpu_seconds()

    role = getattr(importlib.import_module(ROLES[name]), name)
    peer = await peers.opened(order)
    try:
        figures = await role(peer, barrier, order)
        tell("result", {**figures, "cpu": own_cpu_seconds() - before})
    finally:
        await peer.close()


def _own_output() -> Callable[[str, object], None]:
    """What writes lines to the coordinator. From now on the standard output, which SLIM's log goes to, is the role's
    log."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(word: str, value: object) -> None:
        output.write(json.dumps({word: value}) + "\n")
        output.flush()

    return tell


if __name__ == "__main__":
    uvloop.run(play(sys.argv[1], json.loads(sys.argv[2])))
