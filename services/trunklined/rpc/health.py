"""grpc.health.v1: reports whether each service takes calls (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).

grpcio's own servicer is not used: the first watcher that leaves takes the others' notifications with it, and watchers
delay the stop of a server until the end of its grace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

Response = health_pb2.HealthCheckResponse
Context = aio.ServicerContext[Any, Any]

SERVICE_NAME = "grpc.health.v1.Health"
INSECURE = "trunkline-insecure"
"""The metadata of an answer that says what is missing."""
WHY: Final = "trunkline-not-serving"
"""The metadata of an answer NOT_SERVING that says why."""
MAX_WHY: Final = 250
"""Characters of that; `trunkline health` reads no more."""

STARTING: Final = "it is starting"
STOPPING: Final = "it is stopping"


class Health(health_pb2_grpc.HealthServicer):
    """The health of some services and of the whole program (""). NOT_SERVING until `serve`.

    Args:
        service_names: of the services.
        insecure: what is missing where others than this machine are served, which answers say in their metadata.
    """

    def __init__(self, service_names: Sequence[str], insecure: str = "") -> None:
        self._insecure = insecure
        self._services = frozenset(service_names) | {""}
        self._down: dict[str, str] = {}
        """Why a service does not serve although the program does."""
        self._why = STARTING
        """Why the program does not serve; empty: it does."""
        self._ended = False
        self._changed = asyncio.Event()

    def serve(self) -> None:
        """Reports SERVING from now on."""
        self._turn("")

    def end(self) -> None:
        """Reports NOT_SERVING from now on, also to watchers, whose calls end."""
        self._ended = True
        self._turn(STOPPING)

    def turn(self, service: str, why: str) -> None:
        """Sets why one service does not serve while the program does; empty: it serves. A sidecar's does not without
        its upstream. Whoever reaches the health may read it."""
        self._down[service] = why
        self._notify()

    def _turn(self, why: str) -> None:
        self._why = why
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._services:
            return Response(status=Response.SERVICE_UNKNOWN)
        return Response(status=Response.NOT_SERVING if self._trouble(service) else Response.SERVING)

    def _trouble(self, service: str) -> str:
        return self._why or self._down.get(service, "")

    async def Check(  # noqa: N802  # the wire's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Returns the status of a service, and in the metadata why it does not serve; NOT_FOUND for an unknown one."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service[:255]!r} here")
        said = ((INSECURE, self._insecure), (WHY, _in_ascii(self._trouble(request.service))))
        context.set_trailing_metadata(tuple(each for each in said if each[1]))
        return self._response(request.service)

    async def Watch(  # noqa: N802  # the wire's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yields the current status, and each change."""
        last = None
        while True:
            changed, ended = self._changed, self._ended  # as they are now: a yield may take long
            response = self._response(request.service)
            if response != last:
                yield response
                last = response
            if ended:
                return
            await changed.wait()


def _in_ascii(why: str) -> str:
    """Returns a reason as metadata takes it: printable ASCII, in one line."""
    return "".join(each if " " <= each <= "~" else ascii(each)[1:-1] for each in why)[:MAX_WHY]
