"""A responder that moves from one stream to another: what began is answered where it came from, and all else comes
again, once; credit is granted to the stream that needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.patience import PATIENCE
from trunkline import Request
from trunkline.bus.grpc.frames import parse_frame
from trunkline.bus.grpc.responder import ResponderSubscription, Way
from trunkline.errors import RequestNotFoundError
from trunkline.v1 import bus_pb2, error_pb2, message_pb2
from trunkline.wire.opaque import bus_passthrough

WINDOW = 4


class Line:
    """One stream: what is sent on it, item by item."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def item(self, id: int, size: int = 0) -> Any:
        self.sent.append(bus_passthrough()["OpenStreamRequest"]().items.add(id=id))
        return self.sent[-1]

    @property
    def credit(self) -> int:
        return sum(each.subscribe.credit.messages for each in self.sent)

    @property
    def answered(self) -> list[str]:
        return [each.subscribe.respond.request_id for each in self.sent if each.subscribe.HasField("respond")]


def came(frame: bus_pb2.SubscribeResponse) -> Any:
    """A frame as a client reads it."""
    item = bus_pb2.OpenStreamResponse.ServerItem(subscription=frame)
    return parse_frame(bus_pb2.OpenStreamResponse(items=[item]).SerializeToString()).items[0].subscription


def requested(*ids: str) -> Any:
    """Requests that a service hands out."""
    frame = bus_pb2.SubscribeResponse()
    frame.deliveries.channel = "ask:me"
    for index, id in enumerate(ids):
        frame.deliveries.messages.add(message_id=id, sender_id="asker", correlation_id=id, json="{}")
        frame.deliveries.requests.add(index=index, attempt=1).timeout.seconds = 60
    return came(frame)


def called_off(id: str) -> Any:
    """The service wants no answer any more."""
    called = bus_pb2.SubscribeResponse.CalledOff(request_id=id)
    return came(bus_pb2.SubscribeResponse(called_off=called))


def refused(id: str) -> Any:
    """An answer was refused: another was first."""
    error = error_pb2.Error(reason=RequestNotFoundError.error_code)
    answer = bus_pb2.SubscribeResponse.RefusedResponse(request_id=id, error=error)
    return came(bus_pb2.SubscribeResponse(refused_response=answer))


def soon(subscription: ResponderSubscription) -> None:
    """Lets a subscription say what it has to, in the next turn of the loop."""
    asyncio.get_running_loop().call_soon(subscription.gather)


class Responder:
    """A subscription that answers requests on an old line, and its new one."""

    def __init__(self, callback: Callable[[Any], Awaitable[None]]) -> None:
        self.old, self.new = Line(), Line()
        self.subscription = ResponderSubscription(
            *(1, "ask:>", "", WINDOW, self.old.item, print, None, "responder"),
            lambda message, correlation_id: message_pb2.Message(message_id=message.message_id).SerializeToString(),
            soon,
        )
        self.here = Way(self.old.item, 1)
        self.there = Way(self.new.item, 7)
        self.left: list[bool] = []
        """Whether nothing is answered any more on the old line."""
        self.subscription.run(callback, WINDOW)

    def move(self) -> None:
        self.subscription.move(7, self.new.item, print)
        self.subscription.move_responder(soon)
        self.subscription.when_answered(self.here, lambda: self.left.append(True))

    async def until(self, there: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not there():  # noqa: ASYNC110  # nothing says so
                await asyncio.sleep(0)

    def end(self) -> None:
        self.subscription.stop()


async def test_what_was_taken_before_the_move_is_granted_to_the_new_stream() -> None:
    """Also where nothing more comes: the service may wait for that credit."""

    async def answer(request: Request) -> None:
        request.finish()

    moving = Responder(answer)
    moving.subscription.take_from(moving.there, requested("a", "b", "c", "d"))
    await moving.until(lambda: moving.new.answered.count("d") > 0)
    assert moving.new.credit == 0
    moving.move()
    await moving.until(lambda: moving.new.credit > 0)
    assert moving.new.credit == WINDOW
    assert moving.old.credit == 0
    moving.end()


async def test_what_began_is_answered_on_the_old_stream_and_all_else_on_the_new_one() -> None:
    begun: list[str | None] = []
    goes_on = asyncio.Event()

    async def answer(request: Request) -> None:
        begun.append(request.correlation_id)
        await goes_on.wait()
        request.finish()

    moving = Responder(answer)
    moving.subscription.take(requested("a", "b", "c", "d", "late"))  # one more than there are workers
    await moving.until(lambda: len(begun) == WINDOW)
    moving.subscription.take_from(moving.there, requested("late"))
    moving.move()
    moving.subscription.take_from(moving.here, called_off("late"))
    assert not moving.left
    goes_on.set()
    await moving.until(lambda: bool(moving.left) and "late" in moving.new.answered)
    assert begun == ["a", "b", "c", "d", "late"]
    assert set(moving.old.answered) == {"a", "b", "c", "d"}
    assert set(moving.new.answered) == {"late"}
    moving.end()


async def test_a_request_on_two_streams_is_answered_once() -> None:
    begun: list[str | None] = []

    async def answer(request: Request) -> None:
        begun.append(request.correlation_id)
        request.finish()

    moving = Responder(answer)
    moving.subscription.take(requested("a"))
    moving.subscription.take_from(moving.there, requested("a"))
    await moving.until(lambda: bool(moving.old.answered))
    moving.subscription.take_from(moving.there, called_off("a"))
    moving.move()
    await moving.until(lambda: bool(moving.left))
    assert begun == ["a"]
    assert moving.new.answered == []
    moving.end()


async def test_where_the_old_stream_has_lost_a_request_the_new_one_counts() -> None:
    """The service took it back before it heard that it was begun."""
    begun: list[str | None] = []

    async def answer(request: Request) -> None:
        begun.append(request.correlation_id)
        if len(begun) == 1:
            await asyncio.Event().wait()  # until it is called off
        request.finish()

    moving = Responder(answer)
    moving.subscription.take(requested("a"))
    moving.subscription.take_from(moving.there, requested("a"))
    await moving.until(lambda: bool(begun))
    moving.move()
    assert not moving.left
    moving.subscription.take_from(moving.here, refused("a"))
    await moving.until(lambda: bool(moving.new.answered))
    assert begun == ["a", "a"]
    assert moving.left
    moving.end()


async def test_a_stream_that_is_lost_takes_only_its_own_with_it() -> None:
    """What began on the stream before it is still answered there."""
    goes_on, begun = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> None:
        begun.set()
        await goes_on.wait()
        request.finish()

    moving = Responder(answer)
    moving.subscription.take(requested("a"))
    await moving.until(begun.is_set)
    moving.move()
    moving.subscription.stream_lost()
    goes_on.set()
    await moving.until(lambda: bool(moving.left))
    assert set(moving.old.answered) == {"a"}
    moving.end()
