"""Interceptor: what every call passes on its way to its handler."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

if TYPE_CHECKING:  # only the stubs know what these are made of
    Handler = grpc.RpcMethodHandler[Any, Any]


class Interceptor(aio.ServerInterceptor):
    """Puts a wrapper in the place of each handler, made once for each that is registered."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}
        """By method: the handler that was found and its wrapper; bounded by the number of registered methods."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """See grpc.aio."""
        handler = await continuation(handler_call_details)
        if handler is None or not self._concerns(handler_call_details):
            return handler
        method = handler_call_details.method
        known = self._wrapped.get(method)
        # Generic handlers make a new RpcMethodHandler for each call; registered ones stay the same.
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, self._wrap(handler, method))
        return known[1]

    def _concerns(self, details: grpc.HandlerCallDetails) -> bool:
        """Whether a call is to pass the wrapper; else it goes to the handler itself."""
        return True

    @abstractmethod
    def _wrap(self, handler: Handler, method: str) -> Handler:
        """Makes the wrapper."""


def with_behaviour(handler: Handler, wrap: Callable[[Any], Any]) -> Handler:
    """Returns a handler that does what `wrap` makes of what it does, and is like it in all else."""
    sides = ("unary", "stream")
    kind = f"{sides[bool(handler.request_streaming)]}_{sides[bool(handler.response_streaming)]}"
    found: Any = handler
    return found._replace(**{kind: wrap(getattr(handler, kind))})  # type: ignore[no-any-return]
