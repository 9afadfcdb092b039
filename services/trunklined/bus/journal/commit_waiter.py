"""Synced: an answer that waits until the journal says that something is durable."""

from __future__ import annotations

import asyncio

from trunkline.errors import TrunklineError


class CommitWaiter:
    """Waits until the journal says that something is durable."""

    def __init__(self) -> None:
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(self, error: TrunklineError | None) -> None:
        """It is, or why not."""
        if self._settled.done():
            return
        if error is None:
            self._settled.set_result(None)
        else:
            self._settled.set_exception(error)

    async def wait(self) -> None:
        """Raises why not."""
        await self._settled
