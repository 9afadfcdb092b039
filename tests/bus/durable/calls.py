"""What raw tests of durable delivery say over and over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import grpc

from tests.bus.calls import message
from tests.patience import PATIENCE
from trunkline.v1 import bus_pb2, dead_letter_pb2, durable_pb2
from trunkline.v1.bus_pb2 import DURABILITY_STORED, SubscribeRequest
from trunkline.v1.durable_pb2 import Position
from trunkline.v1.message_pb2 import Message

ALL, NEW = Position(all=True), Position(new=True)
T = TypeVar("T")


def seconds(wanted: float) -> dict[str, int]:
    """A duration, or a time, for the constructor of a message that has one."""
    whole = int(wanted // 1)
    return {"seconds": whole, "nanos": round((wanted - whole) * 1e9)}


def settings(
    ack_wait: float | None = None,
    max_deliveries: int | None = None,
    backoff: tuple[float, float, float] | None = None,
) -> durable_pb2.DurableSettings:
    """How a durable subscription delivers; backoff: initial, multiplier, maximum."""
    said = durable_pb2.DurableSettings(max_deliveries=max_deliveries)
    if ack_wait is not None:
        said.ack_wait.FromNanoseconds(round(ack_wait * 1e9))
    if backoff is not None:
        said.backoff.initial.FromNanoseconds(round(backoff[0] * 1e9))
        said.backoff.multiplier = backoff[1]
        said.backoff.maximum.FromNanoseconds(round(backoff[2] * 1e9))
    return said


async def store(stub: Any, channel: str, *messages: Message) -> list[Any]:
    """Publishes, stored; returns the receipts."""
    wanted = bus_pb2.PublishRequest(channel=channel, messages=messages, durability=DURABILITY_STORED)
    answer = await stub.Publish(wanted, timeout=PATIENCE)
    return list(answer.receipts)


async def store_all(stub: Any, channel: str, numbers: Iterable[object], **fields: Any) -> list[int]:
    """Stores a message for each number; returns their sequences."""
    return [receipt.sequence for receipt in await store(stub, channel, *(message(n, **fields) for n in numbers))]


async def create(stub: Any, name: str, pattern: str, **fields: Any) -> Any:
    """Makes a durable subscription; returns the answer."""
    wanted = durable_pb2.CreateDurableSubscriptionRequest(name=name, pattern=pattern, **fields)
    return await stub.CreateDurableSubscription(wanted, timeout=PATIENCE)


async def get(stub: Any, name: str) -> durable_pb2.DurableSubscription:
    """A durable subscription as it is now."""
    wanted = durable_pb2.GetDurableSubscriptionRequest(name=name)
    answer = await stub.GetDurableSubscription(wanted, timeout=PATIENCE)
    found: durable_pb2.DurableSubscription = answer.subscription
    return found


async def delete(stub: Any, name: str) -> None:
    wanted = durable_pb2.DeleteDurableSubscriptionRequest(name=name)
    await stub.DeleteDurableSubscription(wanted, timeout=PATIENCE)


async def seek(stub: Any, name: str, position: Position) -> Any:
    wanted = durable_pb2.SeekDurableSubscriptionRequest(name=name, position=position)
    return await stub.SeekDurableSubscription(wanted, timeout=PATIENCE)


async def settle(stub: Any, durable: str, **frame: Any) -> None:
    """`settle(stub, name, ack=Ack(...))`"""
    await stub.Settle(durable_pb2.SettleRequest(durable=durable, **frame), timeout=PATIENCE)


async def letters(stub: Any, **filter: Any) -> list[dead_letter_pb2.DeadLetter]:
    """The dead letters that match, the oldest first."""
    wanted = dead_letter_pb2.ListDeadLettersRequest(filter=dead_letter_pb2.DeadLetterFilter(**filter))
    answer = await stub.ListDeadLetters(wanted, timeout=PATIENCE)
    return list(reversed(answer.dead_letters))


async def get_when_dead(stub: Any, name: str, count: int) -> Any:
    """A durable subscription as it is when it has counted so many dead letters: in memory they can be found a moment
    before."""
    return await eventually(lambda: get(stub, name), lambda now: now.dead_lettered >= count)


async def redrive(stub: Any, *ids: int, **fields: Any) -> Any:
    """Redrives some, or all where no ids are said."""
    if not ids and "filter" not in fields:
        fields["filter"] = dead_letter_pb2.DeadLetterFilter()
    wanted = dead_letter_pb2.RedriveDeadLettersRequest(dead_letter_ids=ids, **fields)
    return await stub.RedriveDeadLetters(wanted, timeout=PATIENCE)


async def eventually(ask: Callable[[], Awaitable[T]], true: Callable[[T], object]) -> T:
    """The answer, when something is true of it: for what tells nobody when it happens."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await ask()
            if true(answer):
                return answer
            await asyncio.sleep(0.01)


class Got(NamedTuple):
    """One delivered message."""

    n: str
    sequence: int
    attempt: int
    channel: str
    priority: int


class Holder:
    """A subscriber of a durable subscription on a stream of its own."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.got: list[Got] = []
        """What came and was not taken yet."""
        self.refused: list[Any] = []
        self.cancelled: list[Any] = []
        """The tasks of which it was told that somebody cancelled them."""
        self.frames: list[int] = []
        """Messages of each frame."""
        self.ack_wait = 0.0

    async def _step(self) -> None:
        frame = await asyncio.wait_for(self.call.read(), PATIENCE)
        assert frame is not grpc.aio.EOF, "the stream ended"
        match frame.WhichOneof("frame"):
            case "started":
                self.ack_wait = frame.started.ack_wait.ToNanoseconds() / 1e9
            case "deliveries":
                several = frame.deliveries
                self.frames.append(len(several.messages))
                for offset, each in enumerate(several.messages):
                    sequence = several.first_sequence + offset
                    self.got.append(Got(each.json, sequence, several.attempt, several.channel, several.priority))
            case "refused":
                self.refused.append(frame.refused)
            case "changed":
                self.ack_wait = frame.changed.ack_wait.ToNanoseconds() / 1e9
            case "task_cancelled":
                self.cancelled.append(frame.task_cancelled)
            case other:
                raise AssertionError(f"{other} was not expected")

    async def take(self, count: int = 1) -> list[Got]:
        """The next messages."""
        while len(self.got) < count:
            await self._step()
        taken, self.got = self.got[:count], self.got[count:]
        return taken

    async def take_numbers(self, count: int) -> list[str]:
        """Their payloads."""
        return [each.n for each in await self.take(count)]

    async def refusal(self) -> Any:
        """The next refusal."""
        while not self.refused:
            await self._step()
        return self.refused.pop(0)

    async def cancellation(self) -> Any:
        """The next task that was cancelled."""
        while not self.cancelled:
            await self._step()
        return self.cancelled.pop(0)

    async def report(self, got: Got, *events: dict[str, Any]) -> None:
        """Tells of the life of a task."""
        frame = {"sequence": got.sequence, "attempt": got.attempt, "events": events}
        await self.call.write(SubscribeRequest(report=frame))

    async def say(self, kind: str, got: Iterable[Got], **words: Any) -> None:
        """Settles messages: ack, nak, terminate, extend, release; one frame for each attempt."""
        by_attempt: dict[int, list[int]] = {}
        for each in got:
            by_attempt.setdefault(each.attempt, []).append(each.sequence)
        for attempt, sequences in by_attempt.items():
            frame = {"sequences": sequences, "attempt": attempt, **words}
            await self.call.write(SubscribeRequest(**{kind: frame}))

    async def ack(self, got: Iterable[Got]) -> None:
        await self.say("ack", got)

    async def grant(self, messages: int) -> None:
        await self.call.write(SubscribeRequest(credit=SubscribeRequest.Credit(messages=messages)))

    async def ended(self) -> Any:
        """The error that the stream ends with, behind whatever still came."""
        try:
            while True:
                await self._step()
        except grpc.aio.AioRpcError as error:
            return error


@asynccontextmanager
async def holding(stub: Any, name: str, pattern: str, **start: Any) -> AsyncIterator[Holder]:
    """A subscriber that has started; its stream is cancelled at the end."""
    call = stub.Subscribe()
    await call.write(SubscribeRequest(start=SubscribeRequest.Start(pattern=pattern, durable=name, **start)))
    holder = Holder(call)
    await holder._step()
    assert holder.ack_wait > 0, "started comes first, and says how long a lease is"
    try:
        yield holder
    finally:
        call.cancel()


async def left(stub: Any, name: str) -> durable_pb2.DurableSubscription:
    """A durable subscription, when no subscriber is connected any more."""
    return await eventually(lambda: get(stub, name), lambda found: not found.subscribers)
