"""Domain errors, translated once: to a gRPC status with one google.rpc.ErrorInfo, or to an item inside a stream.

`trunkline.wire.status` is the inverse, on the client's side.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from trunkline.errors import (
    ERROR_DOMAIN,
    STATUS_DETAILS_KEY,
    InternalError,
    InvalidMessageError,
    OverloadedError,
    TrunklineError,
)
from trunkline.v1 import error_pb2
from trunklined.rpc.draining import Draining
from trunklined.rpc.identity import peer_of
from trunklined.rpc.interceptor import Interceptor
from trunklined.rpc.times import duration_of

MAX_TEXT_BYTES: Final = 512
MAX_DETAILS_BYTES: Final = 3072
"""The longest text of a status, and the longest status: it travels in HTTP/2 trailers, which peers limit to 8 KiB, in
base64, and its message twice, once percent-encoded (at worst three times its bytes)."""

Context = aio.ServicerContext[Any, Any]
if TYPE_CHECKING:
    from trunklined.rpc.interceptor import Handler


def to_item(error: TrunklineError) -> error_pb2.Error:
    """Returns the error as one item of a stream or a batch."""
    code: int = _code(error).value[0]
    return error_pb2.Error(reason=error.error_code, message=error.message, metadata=error.metadata(), code=code)


def to_status(error: TrunklineError) -> status_pb2.Status:
    """Returns the error as google.rpc.Status with one ErrorInfo (https://google.aip.dev/193), cut to fit trailers; and
    with a RetryInfo, which libraries of other languages know, where it says when to try again."""
    info = error_details_pb2.ErrorInfo(reason=error.error_code, domain=ERROR_DOMAIN)
    for key, value in error.metadata().items():
        info.metadata[_cut(key)] = _cut(value)
        if info.ByteSize() > MAX_DETAILS_BYTES:
            del info.metadata[_cut(key)]
    status = status_pb2.Status(code=_code(error).value[0], message=_cut(error.message))
    status.details.add().Pack(info)
    if isinstance(error, OverloadedError) and error.retry_after is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_of(error.retry_after)))
    return status


async def abort(context: Context, error: TrunklineError) -> NoReturn:
    """Ends the call with the error's status; raises `grpc.aio.AbortError`, as `context.abort` does."""
    status = to_status(error)
    trailers = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(_code(error), status.message, trailers)


def to_internal(error: Exception, where: str, caller: str | None = None) -> InternalError:
    """Logs an unexpected exception, and returns the error for the caller, which carries the log entry's id only.

    Args:
        caller: who it was, for the log.
    """
    error_id = secrets.token_hex(8)
    structlog.get_logger().error("unexpected error", where=where, caller=caller, error_id=error_id, exc_info=error)
    return InternalError(
        f"something unexpected went wrong in the service; its log has it as {error_id}", details={"error_id": error_id}
    )


class CallObserver(Protocol):
    """An observer of every call; see `trunklined.rpc.metrics.RpcMetrics`."""

    def started(self, method: str) -> None:
        """Is called when a call of a method, such as "/trunkline.v1.BusService/Publish", begins."""

    def finished(self, method: str, code: str, seconds: float, *, streaming: bool) -> None:
        """Is called when the call ends, with the name of its status, such as "OK"."""


class ErrorInterceptor(Interceptor):
    """Turns what the handler of a call raises into a status.

    A call that the program does not take, or cuts off, because it stops ends with UNAVAILABLE (see `Draining`). A
    `TrunklineError` becomes its own status; a request that is no protobuf INVALID_MESSAGE; any other exception
    INTERNAL with an id that the log has too. Handlers may be coroutines or async generators; their own (de)serializers
    stay.
    """

    def __init__(self, observer: CallObserver | None = None, draining: Draining | None = None) -> None:
        super().__init__()
        self._observer = observer
        self._draining = draining or Draining()

    def _wrap(self, handler: Handler, method: str) -> Handler:
        decode = handler.request_deserializer
        if handler.request_streaming:
            # A frame that cannot be decoded raises where the handler reads it.
            if handler.response_streaming:
                serve = self._streaming(handler.stream_stream, method)
                return grpc.stream_stream_rpc_method_handler(serve, decode, handler.response_serializer)
            answer = self._unary(handler.stream_unary, method)
            return grpc.stream_unary_rpc_method_handler(answer, decode, handler.response_serializer)
        if decode is not None:
            decode = _decoder(decode)
        if handler.response_streaming:
            serve = self._streaming(handler.unary_stream, method)
            return grpc.unary_stream_rpc_method_handler(serve, decode, handler.response_serializer)
        answer = self._unary(handler.unary_unary, method)
        return grpc.unary_unary_rpc_method_handler(answer, decode, handler.response_serializer)

    def _unary(self, behaviour: Any, method: str) -> Any:
        async def answer(request: Any, context: Context) -> Any:
            with _Call(self._observer, method, context, streaming=False):
                task = None
                try:
                    task = self._draining.admit(method)
                    return await behaviour(_checked(request), context)
                except aio.AbortError:
                    raise
                except asyncio.CancelledError:
                    await self._cut_off(task, context)
                    raise
                except Exception as error:  # noqa: BLE001  # the border: nothing but a status may pass
                    if task is not None:
                        self._draining.end(task)  # only its answer is left, as it is of a call that succeeds
                    await abort(context, _expected(error, method, context))
                finally:
                    if task is not None:
                        self._draining.end(task)

        return answer

    def _streaming(self, behaviour: Any, method: str) -> Any:
        async def serve(request: Any, context: Context) -> None:
            with _Call(self._observer, method, context, streaming=True):
                task = None
                try:
                    task = self._draining.admit(method)
                    answers = behaviour(_checked(request), context)
                    if hasattr(answers, "__aiter__"):
                        async with aclosing(answers):
                            async for response in answers:
                                await context.write(response)
                    else:
                        await answers
                except aio.AbortError:
                    raise
                except asyncio.CancelledError:
                    await self._cut_off(task, context)
                    raise
                except Exception as error:  # noqa: BLE001  # the border: nothing but a status may pass
                    await abort(context, _expected(error, method, context))
                finally:
                    if task is not None:
                        self._draining.end(task)

        return serve

    async def _cut_off(self, task: asyncio.Task[object] | None, context: Context) -> None:
        """Ends a call with its error where the program cancelled it because its time was over."""
        error = self._draining.error_of(task)
        if error is not None and task is not None:
            task.uncancel()
            await abort(context, error)


class _Call:
    """Reports one call to the observer."""

    __slots__ = ("_began", "_context", "_method", "_observer", "_streaming")

    def __init__(self, observer: CallObserver | None, method: str, context: Context, *, streaming: bool) -> None:
        self._observer = observer
        self._method = method
        self._context = context
        self._streaming = streaming
        self._began = time.perf_counter()

    def __enter__(self) -> None:
        if self._observer:
            self._observer.started(self._method)

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self._observer is None:
            return
        if exc_type is None or issubclass(exc_type, aio.AbortError):
            code = self._context.code()
            name = code.name if isinstance(code, grpc.StatusCode) else "OK"
        else:
            name = "CANCELLED"
        seconds = time.perf_counter() - self._began
        self._observer.finished(self._method, name, seconds, streaming=self._streaming)


class _Undecodable:
    """Stands for a request that is no protobuf; grpc would answer with the exception's text."""

    __slots__ = ()


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decoded(raw: bytes) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            return _Undecodable()

    return decoded


def _checked(request: Any) -> Any:
    if type(request) is _Undecodable:
        raise _undecodable()
    return request


def _expected(error: Exception, method: str, context: Context) -> TrunklineError:
    if isinstance(error, TrunklineError):
        return error
    if isinstance(error, DecodeError):
        return _undecodable()
    return to_internal(error, method, peer_of(context))


def _undecodable() -> InvalidMessageError:
    return InvalidMessageError("the request is not the protobuf message that this call takes")


def _code(error: TrunklineError) -> grpc.StatusCode:
    return grpc.StatusCode[error.status]


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= MAX_TEXT_BYTES:
        return raw.decode()
    return raw[: MAX_TEXT_BYTES - 3].decode("utf-8", "ignore") + "…"
