"""Draining: what becomes of calls while a program stops."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

from trunkline.errors import BusDisconnectedError, StateDisconnectedError, TrunklineError

CUT_SECONDS: Final = 1.0
"""What calls that are cut off get to end with their error."""

BUS_FINISHING_METHODS: Final = tuple(
    f"/trunkline.v1.BusService/{name}" for name in ("Publish", "Settle", "Respond", "Cancel")
)
"""Unary calls that may finish what runs in a bus: the reply or answer to a request, its end, the ack of a message."""

LONG_STREAMS: Final = frozenset(
    f"/trunkline.v1.{name}"
    for name in (
        *("BusService/OpenStream", "BusService/PublishStream", "BusService/Subscribe"),
        *("StateService/OpenStateStream", "StateService/Watch"),
    )
)
"""Calls that stay for as long as their client does."""

_ERRORS: Final[Mapping[str, type[TrunklineError]]] = {
    "trunkline.v1.BusService": BusDisconnectedError,
    "trunkline.v1.StateService": StateDisconnectedError,
}
"""By service. Others (health, reflection) answer to the end."""


class Draining:
    """The calls that run, and the refusal of new ones.

    A call that meets a program which stops ends with UNAVAILABLE and the reason of its service, as a call does whose
    connection is lost: so every client that retries does so, and goes elsewhere. gRPC's own end of a server would cut
    calls off with CANCELLED, which looks like the caller's own doing.

    Args:
        finishing_methods: see `trunklined.rpc.server.TakesFinishingCalls`.
    """

    def __init__(self, finishing_methods: Collection[str] = ()) -> None:
        self._finishing_methods = frozenset(finishing_methods)
        self._running: dict[asyncio.Task[object], TrunklineError] = {}
        self._cut: set[asyncio.Task[object]] = set()
        self._refuses = False
        self._refuses_streams = False
        self._fewer = asyncio.Event()

    def admit(self, method: str) -> asyncio.Task[object] | None:
        """Takes note of a call, which runs in the present task, until `end`; None for one that is never cut off.

        Args:
            method: such as "/trunkline.v1.BusService/Publish".

        Raises:
            BusDisconnectedError, StateDisconnectedError: the program takes no new calls.
        """
        error = self._error(method)
        if error is None:
            return None
        if (self._refuses and method not in self._finishing_methods) or (
            self._refuses_streams and method in LONG_STREAMS
        ):
            raise error
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = error
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """Takes note that a call has ended; idempotent."""
        self._running.pop(task, None)
        self._cut.discard(task)
        self._fewer.set()

    def error_of(self, task: asyncio.Task[object] | None) -> TrunklineError | None:
        """Returns the error of a call that was cancelled because its time was over; None for any other."""
        return self._running[task] if task is not None and task in self._cut else None

    def refuse_streams(self) -> None:
        """Refuses new long streams from now on: those that are open move elsewhere."""
        self._refuses_streams = True

    def refuse(self) -> None:
        """Refuses new calls from now on, but those that may finish what runs."""
        self._refuses = True

    async def finish(self, seconds: float) -> None:
        """Waits until no call runs, `seconds` at most, and cuts off what runs then."""
        with suppress(TimeoutError):  # the calls that are left had their time
            async with asyncio.timeout(seconds):
                await self._until_none()
        for task in self._running:
            self._cut.add(task)
            task.cancel()
        with suppress(TimeoutError):  # of a call that does not let itself be cancelled
            async with asyncio.timeout(CUT_SECONDS):
                await self._until_none()

    async def _until_none(self) -> None:
        while self._running:
            self._fewer.clear()
            await self._fewer.wait()

    @staticmethod
    def _error(method: str) -> TrunklineError | None:
        cls = _ERRORS.get(method.strip("/").partition("/")[0])
        return None if cls is None else cls("the service is shutting down")
