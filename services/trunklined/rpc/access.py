"""The interceptor that every call passes: who makes it, and whether they may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from grpc import aio
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from trunkline.errors import InvalidMessageError, TrunklineError, UnauthenticatedError
from trunkline.text import safe_text
from trunklined.access.control import AccessControl
from trunklined.access.gate import Costs, Gate, enter
from trunklined.access.identity import Identity
from trunklined.access.rights import Need, Rules
from trunklined.rpc.identity import identify
from trunklined.rpc.interceptor import Interceptor, with_behaviour
from trunklined.rpc.long_work import check_lists

if TYPE_CHECKING:
    from trunklined.rpc.interceptor import Handler

Context = aio.ServicerContext[Any, Any]

HEALTH: Final = "/grpc.health."
REFLECTION: Final = "/grpc.reflection."


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a program says of its calls.

    Args:
        rules: what each request, and each item of a stream, asks for.
        types: by the full name of a request, the class that the gate reads it with where that is not the public one:
            one that leaves what is large unread.
        administration: names of the calls that the audit log records where they succeed, too.
        costs: what each request, and each item of a stream, uses of the caller's limits; see `Costs`.
        waiting: names of the unary calls that count what waits in them themselves.
    """

    rules: Rules
    types: Mapping[str, Any] = field(default_factory=dict)
    administration: Collection[str] = ()
    costs: Costs = field(default_factory=dict)
    waiting: Collection[str] = ()


class AccessInterceptor(Interceptor):
    """Finds out who makes each call, and refuses those that may not. Health is for everybody.

    Args:
        control: knows who may do what.
        guarded: the program's calls. None: the program has no permissions, as one that only hands calls on.
        open_reflection: whether reflection is for everybody, too.
    """

    def __init__(
        self, control: AccessControl, guarded: Guarded | None = None, *, open_reflection: bool = False
    ) -> None:
        super().__init__()
        self._control = control
        self._guarded = guarded or Guarded({})
        self._open_reflection = open_reflection

    def _concerns(self, details: grpc.HandlerCallDetails) -> bool:
        method = details.method
        return not (method.startswith(HEALTH) or (method.startswith(REFLECTION) and self._open_reflection))

    def _wrap(self, handler: Handler, method: str) -> Handler:
        wrap = self._streaming if handler.request_streaming or handler.response_streaming else self._unary
        return with_behaviour(handler, lambda behaviour: wrap(behaviour, method, handler.request_streaming))

    def _unary(self, behaviour: Any, method: str, _: bool) -> Any:
        name = method.rpartition("/")[2]
        is_administration = name in self._guarded.administration
        counts_itself = name in self._guarded.waiting
        read = self._reader(method)

        async def answer(request: Any, context: Context) -> Any:
            identity = await self._identify(context, name)
            gate = Gate(self._control, identity, name, _goes_on)
            enter(gate)
            if self._control.policy is None and not is_administration:
                return await behaviour(request, context)
            message = read(request)
            gate.check_message(message)
            slots = None if counts_itself else gate.open_call(is_stream=False)
            try:
                if not is_administration:
                    return await behaviour(request, context)
                return await self._recorded(behaviour(request, context), identity, name, message)
            finally:
                if slots is not None:
                    slots.give_back()

        return answer

    def _streaming(self, behaviour: Any, method: str, is_stream: bool) -> Any:
        name = method.rpartition("/")[2]
        read = None if is_stream else self._reader(method)

        async def serve(request: Any, context: Context) -> Any:
            identity = await self._identify(context, name)
            task = asyncio.current_task()
            assert task is not None
            ends: list[TrunklineError] = []

            def end(error: TrunklineError) -> None:
                if not ends:
                    ends.append(error)
                    task.cancel()

            gate = self._control.open(identity, name, end)
            enter(gate)
            slots = None
            try:
                slots = gate.open_call(is_stream=True)
                if method.startswith(REFLECTION):
                    gate.check((Need("inspect", "reflection"),))
                elif read is not None and self._control.policy is not None:
                    gate.check_message(read(request), stays=True)
                answers = behaviour(request, context)
                if hasattr(answers, "__aiter__"):
                    async with aclosing(answers):
                        async for response in answers:
                            await context.write(response)
                    return None
                return await answers
            except asyncio.CancelledError:
                if ends:
                    task.uncancel()
                    raise ends[0] from None
                raise
            finally:
                if slots is not None:
                    slots.give_back()
                self._control.close(gate)

        return serve

    async def _identify(self, context: Context, name: str) -> Identity:
        try:
            return await identify(context, self._control, name)
        except UnauthenticatedError as error:
            self._control.refused(Identity("", "anonymous", context.peer()), name, error)
            raise

    async def _recorded(self, call: Awaitable[Any], identity: Identity, name: str, message: Any) -> Any:
        """Awaits an act of administration, and records how it ended."""
        try:
            answer = await call
        except TrunklineError as error:
            self._control.done(identity, name, self._object_of(message), error)
            raise
        self._control.done(identity, name, self._object_of(message), None)
        return answer

    def _object_of(self, message: Any) -> str:
        """What an act was done to: what it needs rights for."""
        rule = self._guarded.rules.get(message.DESCRIPTOR.full_name)
        return ", ".join(dict.fromkeys(str(need).partition(" ")[2] for need in rule(message))) if rule else ""

    def _reader(self, method: str) -> Callable[[Any], Any]:
        """Returns what reads a request that the handler takes encoded."""
        service, _, name = method.strip("/").partition("/")
        kind: Any = None

        def read(request: Any) -> Any:
            nonlocal kind
            if not isinstance(request, bytes):
                return request
            if kind is None:
                wanted = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name].input_type
                kind = self._guarded.types.get(wanted.full_name) or message_factory.GetMessageClass(wanted)
            check_lists(request, kind, _invalid)
            try:
                return kind.FromString(request)
            except DecodeError:
                raise InvalidMessageError("the request is not the protobuf message that this call takes") from None

        return read


def _invalid(field: str, problem: str, value: object) -> TrunklineError:
    return InvalidMessageError(f"{field} {problem}", details={"field": field, "value": str(value)})


def _goes_on(_: TrunklineError) -> None:
    """A call with one answer is not ended in between."""


class AccessCollector(Collector):
    """Tells how many were refused, and whether files can be taken."""

    def __init__(self, control: AccessControl) -> None:
        self._control = control

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics. Runs in the metrics server's thread."""
        denials = CounterMetricFamily(
            "trunkline_access_denials", "Calls and items that were refused.", labels=["identity", "why"]
        )
        for name, why, count in self._control.refusals.counts():
            denials.add_metric([safe_text(name), why], count)
        yield denials
        failures = CounterMetricFamily(
            "trunkline_access_file_failures", "Changed files of access that could not be taken.", labels=["what"]
        )
        failures.add_metric(["access_file"], self._control.failures)
        failures.add_metric(["tokens"], self._control.proof.failures)
        yield failures
