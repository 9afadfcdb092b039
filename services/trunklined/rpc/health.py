"""grpc.health.v1: reports whether each service takes calls (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).

grpcio's own servicer is not used: the first watcher that leaves takes the others' notifications with it, and watchers
delay the stop of a server until the end of its grace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

Response = health_pb2.HealthCheckResponse
Context = aio.ServicerContext[Any, Any]

SERVICE_NAME = "grpc.health.v1.Health"
INSECURE = "trunkline-insecure"
"""The metadata of an answer that says what is missing."""


class Health(health_pb2_grpc.HealthServicer):
    """The health of some services and of the whole program (""). NOT_SERVING until `serve`.

    Args:
        service_names: of the services.
        insecure: what is missing where others than this machine are served, which answers say in their metadata.
    """

    def __init__(self, service_names: Sequence[str], insecure: str = "") -> None:
        self._insecure = insecure
        self._services = frozenset(service_names) | {""}
        self._down: set[str] = set()
        """Services that do not serve although the program does."""
        self._serving = False
        self._ended = False
        self._changed = asyncio.Event()

    def serve(self) -> None:
        """Reports SERVING from now on."""
        self._turn(serving=True)

    def end(self) -> None:
        """Reports NOT_SERVING from now on, also to watchers, whose calls end."""
        self._ended = True
        self._turn(serving=False)

    def turn(self, service: str, *, serving: bool) -> None:
        """Sets whether one service serves while the program does; a sidecar's does not without its upstream."""
        (self._down.discard if serving else self._down.add)(service)
        self._notify()

    def _turn(self, *, serving: bool) -> None:
        self._serving = serving
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._services:
            return Response(status=Response.SERVICE_UNKNOWN)
        serving = self._serving and service not in self._down
        return Response(status=Response.SERVING if serving else Response.NOT_SERVING)

    async def Check(  # noqa: N802  # the wire's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Returns the status of a service; NOT_FOUND for an unknown service."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service[:255]!r} here")
        if self._insecure:
            context.set_trailing_metadata(((INSECURE, self._insecure),))
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
