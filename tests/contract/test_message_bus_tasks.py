"""What every bus promises of tasks: work that outlives whoever submitted it and whoever does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.contract.conftest import MakeBus
from tests.patience import PATIENCE
from trunkline import (
    Accepted,
    AgentMessage,
    Backoff,
    Cancellation,
    DurableSettings,
    Failure,
    InvalidMessageError,
    MessageBus,
    NoRespondersError,
    Part,
    Postponed,
    Progress,
    Request,
    RequestCancelledError,
    RequestFailedError,
    RequestTimeoutError,
    Result,
    SubscriptionNotFoundError,
    TaskNotFoundError,
)

SETTINGS = DurableSettings(ack_wait=30, max_deliveries=3, backoff=Backoff(0.0, 1.0, 0.0))


@pytest.fixture
def work(channel: str) -> str:
    """The name of a durable subscription of this test alone."""
    return channel.replace(":", "-")


def job(n: object = 0, **words: Any) -> AgentMessage:
    return AgentMessage(message_type="job", sender_id="tests", payload={"n": n}, **words)


async def test_a_task_is_done_and_its_life_is_told(bus: MessageBus, other: MessageBus, channel: str, work: str) -> None:
    async def handler(request: Request) -> AsyncGenerator[str, None]:
        request.progress(0.5, "half")
        yield "one"
        yield "two"
        request.set_result({"n": request.payload["n"], "attempt": request.attempt})

    await other.respond(channel, handler, durable=work, name="worker-1", settings=SETTINGS)
    task = await bus.submit(channel, job(7))
    result = await task.result(PATIENCE)
    assert result is not None
    assert result.payload == {"n": 7, "attempt": 1}
    assert result.sender_id == "worker-1"
    events = [event async for event in bus.task(task.id).events()]
    assert [type(each) for each in events] == [Accepted, Progress, Part, Part, Result]
    assert [each.number for each in events] == [1, 2, 3, 4, 5]
    assert [each.text for each in events if isinstance(each, Part)] == ["one", "two"]
    assert [event async for event in task.events(after=3)] == events[3:]
    info = await task.status()
    assert (info.state, info.responder, info.attempt, info.durable) == ("done", "worker-1", 1, work)
    assert info.progress is not None
    assert (info.progress.fraction, info.progress.text) == (0.5, "half")
    assert info.end == events[-1]
    assert [each.id async for each in bus.tasks(durable=work)] == [task.id]
    assert [each.id async for each in bus.tasks(durable=work, state="waiting")] == []


async def test_a_callback_of_subscribe_does_tasks_too(bus: MessageBus, channel: str, work: str) -> None:
    done: list[Any] = []

    async def callback(message: AgentMessage) -> None:
        done.append(message.payload["n"])

    await bus.subscribe(channel, callback, durable=work, settings=SETTINGS)
    task = await bus.submit(channel, job(3))
    assert await task.result(PATIENCE) is None
    assert done == [3]


async def test_what_a_handler_raises_is_tried_again_unless_it_says_otherwise(
    bus: MessageBus, other: MessageBus, channel: str, work: str
) -> None:
    class BadInputError(ValueError):
        retryable = False
        code = "BAD"

    async def handler(request: Request) -> None:
        if request.attempt == 1:
            raise OSError("busy")
        raise BadInputError("never")

    await other.respond(channel, handler, durable=work, settings=SETTINGS)
    task = await bus.submit(channel, job())
    with pytest.raises(RequestFailedError) as failed:
        await task.result(PATIENCE)
    assert failed.value.details["request_id"] == task.id
    assert (failed.value.details["type"], failed.value.details["text"]) == ("BadInputError", "never")
    kinds = [event async for event in task.events()]
    assert [type(each) for each in kinds] == [Accepted, Postponed, Accepted, Failure]
    postponed = kinds[1]
    assert isinstance(postponed, Postponed)
    assert (postponed.attempt, postponed.error) == (1, "OSError: busy")
    letters = [letter async for letter in bus.dead_letters(durable=work)]
    assert [letter.error for letter in letters] == ["BadInputError: never"]


async def test_one_that_waits_is_cancelled(bus: MessageBus, other: MessageBus, channel: str, work: str) -> None:
    await bus.create_durable(work, channel, settings=SETTINGS)
    task, kept = await bus.submit(channel, job(1)), await bus.submit(channel, job(2))
    info = await other.task(task.id).cancel(by="me", reason="no need")
    assert info.state == "cancelled"
    seen: list[Any] = []

    async def handler(request: Request) -> None:
        seen.append(request.payload["n"])

    await other.respond(channel, handler, durable=work)
    await kept.result(PATIENCE)
    assert seen == [2]
    with pytest.raises(RequestCancelledError) as cancelled:
        await task.result(PATIENCE)
    assert cancelled.value.details == {"request_id": task.id, "by": "me", "reason": "no need"}
    (event,) = [each async for each in task.events()]
    assert isinstance(event, Cancellation)


async def test_the_handler_of_one_that_runs_is_cancelled_and_may_clean_up(
    bus: MessageBus, other: MessageBus, channel: str, work: str
) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    await other.respond(channel, handler, durable=work, settings=SETTINGS)
    task = await bus.submit(channel, job())
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        await task.cancel(by="me")
        with pytest.raises(RequestCancelledError):
            await task.result()
        await cleaned.wait()
        # Whoever worked on it goes on.
        begun.clear()
        again = await bus.submit(channel, job())
        await begun.wait()
        await again.cancel()


async def test_one_that_waits_in_a_client_is_cancelled(
    bus: MessageBus, other: MessageBus, channel: str, work: str
) -> None:
    """It is leased, and not begun."""
    begun, go = asyncio.Event(), asyncio.Event()
    seen: list[Any] = []

    async def handler(request: Request) -> None:
        seen.append(request.payload["n"])
        begun.set()
        await go.wait()

    await bus.create_durable(work, channel, settings=SETTINGS)
    tasks = [await bus.submit(channel, job(n)) for n in range(3)]
    await other.respond(channel, handler, durable=work, concurrency=1)
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        await tasks[1].cancel()
        go.set()
        with pytest.raises(RequestCancelledError):
            await tasks[1].result()
        await tasks[2].result()
    assert seen == [0, 2]


async def test_an_end_is_waited_for_no_longer_than_asked(bus: MessageBus, channel: str, work: str) -> None:
    await bus.create_durable(work, channel)
    task = await bus.submit(channel, job())
    with pytest.raises(RequestTimeoutError):
        await task.result(0.05)
    assert (await task.status()).state == "waiting"


async def test_the_same_message_is_the_same_task(bus: MessageBus, channel: str, work: str) -> None:
    await bus.create_durable(work, channel)
    message = job()
    first, second = await bus.submit(channel, message), await bus.submit(channel, message)
    assert first.id == second.id == message.message_id
    assert (await bus.durable(work)).waiting == 1


async def test_what_is_refused(bus: MessageBus, channel: str, work: str) -> None:
    with pytest.raises(NoRespondersError):
        await bus.submit(channel, job())
    with pytest.raises(SubscriptionNotFoundError):
        await bus.submit(channel, job(), durable=work)
    with pytest.raises(TaskNotFoundError):
        await bus.task("never").status()
    with pytest.raises(TaskNotFoundError):
        await bus.task("never").result(PATIENCE)
    with pytest.raises(TaskNotFoundError):
        await bus.task("never").cancel()
    for keep in (0, 0.5, 8 * 86_400, float("nan")):
        with pytest.raises(InvalidMessageError, match="keep"):
            await bus.submit(channel, job(), keep=keep)
    with pytest.raises(InvalidMessageError, match="state"):
        _ = [each async for each in bus.tasks(state="odd")]  # type: ignore[arg-type]
    await bus.create_durable(work, channel)
    await bus.create_durable(f"{work}-2", channel)
    with pytest.raises(InvalidMessageError, match="several"):
        await bus.submit(channel, job())
    await bus.submit(channel, job(), durable=work)
    await bus.delete_durable(work)
    await bus.delete_durable(f"{work}-2")


async def test_one_that_is_closed_gives_its_task_to_another(
    new_bus: MakeBus, bus: MessageBus, bus_kind: str, channel: str, work: str
) -> None:
    if bus_kind == "memory":
        pytest.skip("a bus in memory is client and service in one: with the client it is gone")
    begun = asyncio.Event()

    async def standing(request: Request) -> None:
        request.progress(0.9)
        begun.set()
        await asyncio.sleep(3600)

    async def quick(request: Request) -> dict[str, int]:
        request.progress(0.1)
        return {"attempt": request.attempt}

    async with new_bus() as worker:
        await worker.respond(channel, standing, durable=work, settings=SETTINGS)
        task = await bus.submit(channel, job())
        await asyncio.wait_for(begun.wait(), PATIENCE)
    await bus.respond(channel, quick, durable=work)
    result = await task.result(PATIENCE)
    assert result is not None
    assert result.payload == {"attempt": 2}
