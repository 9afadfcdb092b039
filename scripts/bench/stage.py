"""Stage: one run of one peer: a fresh server, fresh roles, an empty folder, and all of it gone afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from scripts.bench import peers
from scripts.bench.contender import Contender
from scripts.bench.peer import Peer, Service
from scripts.bench.processes import Role, end, free_port, start_server

RUN_SECONDS: Final = 90.0
"""A run that is not done by then has failed."""


class Stage:
    """Where one run takes place. Made by `stage()`."""

    def __init__(self, contender: Contender, service: Service, port: int, scratch: Path) -> None:
        self.waiting = contender.waiting
        self._most = contender.most
        self.peer: Peer = peers.load(contender.peer)
        self.port = port
        self._order = {"peer": contender.peer, "service": service, "port": port}
        self._scratch = scratch
        self._environment = contender.environment
        self._roles: list[Role] = []
        self.pids: list[int] = []
        """Of the contender's servers: of those beneath, then its own; none where it needs none."""

    def at_most(self, count: int) -> int:
        """So many, or as many as the contender does at the most."""
        return count if self._most is None else min(count, self._most)

    async def role(self, name: str, **order: int) -> Role:
        """Starts a role and waits until it is ready."""
        log = self._scratch / f"{len(self._roles)}-{name}.log"
        role = await Role.start(name, {**self._order, **order}, log, self._environment, self.peer.python())
        self._roles.append(role)
        return role

    async def end_roles(self) -> None:
        """Ends all roles."""
        await asyncio.gather(*(role.end() for role in self._roles))


@asynccontextmanager
async def stage(contender: Contender, service: Service, kept: Path | None = None) -> AsyncIterator[Stage]:
    """A stage with the contender's server running.

    Args:
        kept: its folder, made where there is none, and left there; None: an empty one.
    """
    async with AsyncExitStack() as stack:
        if kept is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-bench-")))
        else:
            scratch = kept
            scratch.mkdir(parents=True, exist_ok=True)
        port = free_port()
        made = Stage(contender, service, port, scratch)
        program = made.peer.server(service, port, scratch)
        for number, server in enumerate([*made.peer.beneath(service, scratch), *([program] if program else [])]):
            log = scratch / f"server-{number}.log"
            process = await start_server(server, server.port or port, log, contender.environment)
            stack.push_async_callback(end, process)
            made.pids.append(process.pid)
        stack.push_async_callback(made.end_roles)
        yield made
