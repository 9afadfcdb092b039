"""Stage: one run of one peer: a fresh server, fresh roles, an empty folder, and all of it gone afterwards."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from trunkline.bench import peers
from trunkline.bench.peer import Peer, Service
from trunkline.bench.processes import Role, end, free_port, start_server

RUN_SECONDS: Final = 90.0
"""A run that is not done by then has failed."""


class Stage:
    """Where one run takes place. Made by `stage()`."""

    def __init__(self, peer_name: str, service: Service, port: int, scratch: Path, python: str) -> None:
        self.peer: Peer = peers.load(peer_name)
        self._order = {"peer": peer_name, "service": service, "port": port}
        self._scratch = scratch
        self._python = python
        self._roles: list[Role] = []

    async def role(self, name: str, **order: int) -> Role:
        """Starts a role and waits until it is ready."""
        log = self._scratch / f"{len(self._roles)}-{name}.log"
        role = await Role.start(name, {**self._order, **order}, log, self._python)
        self._roles.append(role)
        return role

    async def end_roles(self) -> None:
        """Ends all roles."""
        await asyncio.gather(*(role.end() for role in self._roles))


@asynccontextmanager
async def stage(peer_name: str, service: Service, python: str = sys.executable) -> AsyncIterator[Stage]:
    """A stage with the peer's server running; `python` is what our own programs and all roles run on."""
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as folder:
        scratch = Path(folder)
        port = free_port()
        made = Stage(peer_name, service, port, scratch, python)
        wanted = made.peer.server(service, port, scratch, python)
        server = await start_server(wanted, port, scratch / "server.log") if wanted else None
        try:
            yield made
        finally:
            await made.end_roles()
            if server is not None:
                await end(server)
