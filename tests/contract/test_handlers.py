"""How a handler ends: it can end only its own message, whatever it raises, on every bus and every face."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from tests.bus.durable.calls import eventually
from tests.contract.conftest import ADDRESS_OF
from tests.contract.durables import AT_ONCE, store
from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    BusNotConnectedError,
    DurableMessage,
    DurableSettings,
    InvalidMessageError,
    MessageBus,
)

LONE = "bad \ud83d"
"""A text that UTF-8 cannot say."""


async def _awaits_what_was_cancelled(_: AgentMessage) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def _awaits_a_cancelled_task(_: AgentMessage) -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def _raises_cancelled(_: AgentMessage) -> None:
    raise asyncio.CancelledError("not mine")


async def _cancels_its_own_task(_: AgentMessage) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


async def _is_cancelled_by_somebody_else(_: AgentMessage) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.sleep(60)


async def _raises_generator_exit(_: AgentMessage) -> None:
    raise GeneratorExit


async def _awaits_a_generator_exit(_: AgentMessage) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(GeneratorExit())
    await future


async def _exits(_: AgentMessage) -> None:
    raise SystemExit(3)


async def _raises_lone_surrogate(_: AgentMessage) -> None:
    raise ValueError(LONE)


class _UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


async def _raises_what_cannot_be_said(_: AgentMessage) -> None:
    raise _UnspeakableError


FAILURES: dict[Callable[[AgentMessage], Awaitable[None]], str] = {
    _awaits_what_was_cancelled: "CancelledError",
    _awaits_a_cancelled_task: "CancelledError",
    _raises_cancelled: "CancelledError: not mine",
    _cancels_its_own_task: "CancelledError",
    _is_cancelled_by_somebody_else: "CancelledError",
    _raises_generator_exit: "GeneratorExit",
    _awaits_a_generator_exit: "GeneratorExit",
    _exits: "SystemExit: 3",
    _raises_lone_surrogate: r"ValueError: bad \ud83d",
    _raises_what_cannot_be_said: "_UnspeakableError, whose text cannot be read: RuntimeError",
}
"""Handlers that end in one way each, and what an attempt says of it."""


@pytest.fixture(params=FAILURES, ids=lambda each: each.__name__.strip("_"))
def fails(request: pytest.FixtureRequest) -> Callable[[AgentMessage], Awaitable[None]]:
    """A handler that fails in one of the ways that Python allows."""
    handler: Callable[[AgentMessage], Awaitable[None]] = request.param
    return handler


@pytest.mark.parametrize("group", [None, "team"])
async def test_a_live_handler_ends_only_its_own_message(
    bus: MessageBus,
    other: MessageBus,
    channel: str,
    group: str | None,
    fails: Callable[[AgentMessage], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The message's failure is logged with its reason, the publisher sees nothing, and the next message comes."""
    inbox = Inbox()

    async def work(message: AgentMessage) -> None:
        await inbox(message)
        if message.payload["n"] == 1:
            await fails(message)

    await bus.subscribe(channel, work, group=group)
    for n in (1, 2):
        await other.publish(channel, numbered(n))
    await inbox.have(2)
    assert inbox.numbers == [1, 2]
    logged = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each for each in logged if FAILURES[fails] in each.getMessage()]


async def test_a_durable_handler_ends_only_its_own_message(
    bus: MessageBus, channel: str, name: str, fails: Callable[[AgentMessage], Awaitable[None]]
) -> None:
    """Each failure is an attempt with its true reason; at the end a dead letter; the next message is done."""
    inbox = Inbox()

    async def work(message: DurableMessage) -> None:
        if message.payload["n"] == 1:
            await fails(message)
        await inbox(message)

    settings = DurableSettings(max_deliveries=2, backoff=AT_ONCE.backoff)
    await bus.subscribe(channel, work, durable=name, settings=settings)
    await store(bus, channel, numbered(1), numbered(2))
    await inbox.have(1)
    await eventually(lambda: bus.count_dead_letters(durable=name), bool)
    letters = [each async for each in bus.dead_letters(durable=name)]
    assert [letter.message.payload["n"] for letter in letters] == [1]
    assert [attempt.error for attempt in letters[0].attempts] == [FAILURES[fails]] * 2
    assert inbox.numbers == [2]
    await eventually(lambda: bus.durable(name), lambda now: not now.leased and now.acked == 1)


async def test_only_its_own_cancellation_ends_a_worker(bus: MessageBus, channel: str, name: str) -> None:
    """disconnect tears a handler off, and what it had is given back as failed, at once."""
    began = asyncio.Event()
    ended: list[str] = []

    async def work(message: DurableMessage) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("torn off")
            raise

    await bus.subscribe(channel, work, durable=name)
    await store(bus, channel, numbered(1))
    await asyncio.wait_for(began.wait(), PATIENCE)
    async with asyncio.timeout(PATIENCE):
        await bus.disconnect()
    assert ended == ["torn off"]


UNGRACEFUL = """
import asyncio, sys
from trunkline import AgentMessage, GrpcMessageBus, InMemoryMessageBus

async def main(address, name):
    bus = InMemoryMessageBus() if address == "memory" else GrpcMessageBus(address)
    await bus.connect()
    began = [asyncio.Event(), asyncio.Event()]

    async def live(message):
        began[0].set()
        await asyncio.Event().wait()

    async def durable(message):
        began[1].set()
        await asyncio.Event().wait()

    await bus.subscribe(name, live)
    await bus.subscribe(name, durable, durable=name)
    message = AgentMessage(message_type="x", sender_id="s")
    publish = asyncio.ensure_future(bus.publish(name, message, stored=True))
    for each in began:
        await each.wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", ["memory", "grpc", "sidecar"])
async def test_a_program_that_ends_without_disconnecting_ends(
    request: pytest.FixtureRequest, kind: str, name: str
) -> None:
    """The end of its event loop tears its callbacks off, and nobody takes their place: it ends, and in silence."""
    address = "memory" if kind == "memory" else request.getfixturevalue(ADDRESS_OF[kind])
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UNGRACEFUL, address, name, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        said = await asyncio.wait_for(program.communicate(), PATIENCE)
    except TimeoutError:
        program.kill()
        await program.wait()
        raise
    assert (program.returncode, *said) == (0, b"", b"")


@pytest.mark.parametrize("verb", ["nak", "terminate"])
async def test_a_reason_that_is_no_utf_8_is_escaped(bus: MessageBus, channel: str, name: str, verb: str) -> None:
    """nak and terminate take any text; the attempt shows what it could not say as an escape."""

    async def work(message: DurableMessage) -> None:
        await (message.nak(LONE) if verb == "nak" else message.terminate(LONE))

    await bus.subscribe(channel, work, durable=name, settings=DurableSettings(max_deliveries=1))
    await store(bus, channel, numbered(1))
    await eventually(lambda: bus.count_dead_letters(durable=name), bool)
    letters = [each async for each in bus.dead_letters(durable=name)]
    assert letters[0].error == r"bad \ud83d"


@pytest.mark.parametrize("callback", [None, print, lambda _: None, Inbox, 7])
@pytest.mark.parametrize("durable", [False, True])
async def test_a_callback_that_is_no_async_function_is_refused_at_once(
    bus: MessageBus, channel: str, name: str, callback: Any, durable: bool
) -> None:
    """subscribe: TypeError, instead of a callback that loses or kills every message."""
    with pytest.raises(TypeError, match="must be an async function"):
        await (bus.subscribe(channel, callback, durable=name) if durable else bus.subscribe(channel, callback))


async def test_methods_partials_and_callable_objects_are_callbacks(bus: MessageBus, channel: str) -> None:
    """subscribe: whatever is asynchronous when it is called."""
    inbox = Inbox()

    class Agent:
        async def on_message(self, message: AgentMessage) -> None:
            await inbox(message)

    async def named(name: str, message: AgentMessage) -> None:
        await inbox(message)

    for callback in (inbox, Agent().on_message, functools.partial(named, "x")):
        await bus.subscribe(channel, callback)
    await bus.publish(channel, numbered(1))
    await inbox.have(3)


Step = Callable[[], AsyncGenerator[Any, None]]


@pytest.fixture(params=["live", "durable"])
def messages(request: pytest.FixtureRequest, bus: MessageBus, channel: str, name: str) -> Step:
    """An iterator over a channel, live or durable."""
    if request.param == "durable":
        return lambda: bus.messages(channel, durable=name)
    return lambda: bus.messages(channel)


async def test_an_iterator_survives_a_cancelled_step_and_loses_nothing(
    bus: MessageBus, channel: str, messages: Step
) -> None:
    """messages: `asyncio.wait_for` around a step is how one looks whether there is something."""
    async with aclosing(messages()) as stream:
        taken: list[object] = []
        for n in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.1)
            await bus.publish(channel, numbered(n), stored=True)
            taken.append((await asyncio.wait_for(anext(stream), PATIENCE)).payload["n"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.1)
    assert taken == [0, 1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_iterator_ends_with_its_bus(bus: MessageBus, messages: Step) -> None:
    """messages: BusNotConnectedError once, then it is over, as of any iterator."""
    stream = messages()
    step = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.1)
    await bus.disconnect()
    with pytest.raises(BusNotConnectedError):
        await asyncio.wait_for(step, PATIENCE)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_iterator_that_is_forgotten_ends_its_interest(bus: MessageBus, channel: str) -> None:
    """messages: `break` out of `async for` is enough, if late."""
    await bus.subscribe(channel, Inbox())

    async def first() -> None:
        async for _ in bus.messages(channel):
            break

    looking = asyncio.ensure_future(first())
    await eventually(lambda: _subscribers(bus, channel), lambda count: count == 2)
    await bus.publish(channel, numbered(1))
    await asyncio.wait_for(looking, PATIENCE)
    del looking
    await eventually(lambda: _subscribers(bus, channel), lambda count: count == 1)


async def _subscribers(bus: MessageBus, channel: str) -> int:
    return len([each async for each in bus.subscriptions(channel)])


@pytest.mark.parametrize("field", ["payload", "metadata"])
@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"x", {1}, (1, 2), {1: "x"}, object(), [[float("nan")]]],
    ids=["nan", "inf", "bytes", "set", "tuple", "key", "object", "deep"],
)
async def test_what_json_cannot_say_is_refused_when_it_is_published(
    bus: MessageBus, channel: str, field: str, value: Any
) -> None:
    """publish: also what was put into the payload after the message was made, instead of arriving as something else."""
    message = numbered(1)
    getattr(message, field)["value"] = value
    for publish in (
        bus.publish(channel, message),
        bus.publish(channel, message, stored=True),
        bus.request(channel, message, timeout=1),
    ):
        with pytest.raises(InvalidMessageError, match="value"):
            await publish


async def test_a_request_that_was_cancelled_is_no_error_of_flush(bus: MessageBus, channel: str) -> None:
    """flush: tells of publishes alone; an answer to a request that is forgotten is dropped."""
    await bus.subscribe(channel, Inbox())
    request = asyncio.ensure_future(bus.request(channel, numbered(1), timeout=0.2))
    await asyncio.sleep(0.05)
    request.cancel()
    nobody = asyncio.ensure_future(bus.request(f"{channel}:nobody", numbered(1), timeout=0.2))
    await asyncio.sleep(0)
    nobody.cancel()
    await asyncio.sleep(0.3)
    await bus.flush()


async def test_what_a_worker_forwards_and_acks_is_not_lost(
    bus: MessageBus, other: MessageBus, channel: str, name: str
) -> None:
    """publish: the same message stored on two channels is two messages, each of them once."""
    inbox = Inbox()

    async def forward(message: DurableMessage) -> None:
        receipt = await bus.publish(f"{channel}:done", message, stored=True)
        assert not receipt.duplicate
        again = await bus.publish(f"{channel}:done", message, stored=True)
        assert again.duplicate
        await message.ack()

    async def finish(message: DurableMessage) -> None:
        await inbox(message)

    await other.subscribe(f"{channel}:done", finish, durable=f"{name}-done")
    await bus.subscribe(channel, forward, durable=name)
    await store(other, channel, *map(numbered, range(5)))
    await inbox.have(5)
    await eventually(lambda: bus.durable(f"{name}-done"), lambda now: now.acked == 5)
    assert sorted(inbox.numbers) == list(range(5))
