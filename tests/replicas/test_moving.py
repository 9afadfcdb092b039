"""Streams that are asked to move to another replica, for their age and at SIGTERM: nothing is lost, doubled, out of
order or failed."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis import servers
from tests.redis.replicas import Replicas
from tests.replicas.balancer import Balancer, balanced
from trunkline import (
    AgentMessage,
    AgentState,
    ChangeType,
    DurableMessage,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
    Request,
)
from trunkline.v1 import bus_pb2, bus_pb2_grpc, message_pb2

PATIENT = ("--drain-seconds", "300")
"""A program that stops, and waits for somebody who does not leave, does so for longer than a test has patience."""
LASTING = ("--journal-lease-seconds", "20", "--replica-ttl", "60", *PATIENT)
"""However busy the machine is, no lease ends by itself."""


def numbered(number: int, sender: str = "publisher") -> AgentMessage:
    return AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id=sender, payload={"n": number})


def number_of(message: AgentMessage) -> int:
    number = message.payload["n"]
    assert isinstance(number, int)
    return number


async def until(there: Callable[[], bool]) -> None:
    """Waits until something is so, or it is too late."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while loop.time() < end and not there():  # noqa: ASYNC110  # nothing says so
        await asyncio.sleep(0.05)


@asynccontextmanager
async def replicas(count: int, *options: str) -> AsyncIterator[tuple[Replicas, Balancer]]:
    """So many replicas of a bus behind one address."""
    with servers.running(appendonly="yes", appendfsync="always") as redis:
        made = Replicas(redis, count, *LASTING, *options)
        try:
            await asyncio.to_thread(made.start)
            async with balanced(made.addresses) as balancer:
                yield made, balancer
        finally:
            await asyncio.to_thread(made.end)


class Work:
    """Agents at work of every kind, behind one address: what each heard, and which of their calls failed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.failed: list[BaseException] = []
        self.lost: list[BaseException] = []
        """Connections that were lost."""
        self.live: defaultdict[str, list[int]] = defaultdict(list)
        self.grouped: list[int] = []
        self.stored: list[int] = []
        self.attempts: Counter[int] = Counter()
        self.published = {"live": 0, "stored": 0, "grouped": 0}
        self.answered = 0
        self.followed: list[list[str]] = []
        """Of requests that were followed to their end, the kinds of their events."""
        self.goes_on = True

    def bus(self) -> GrpcMessageBus:
        return GrpcMessageBus(self._address, connect_timeout=PATIENCE, on_disconnected=self.lost.append)

    async def run(self, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> None:
        """Begins to work, until `goes_on` is False."""
        subscriber, responder, publisher, asker, worker = [
            await stack.enter_async_context(self.bus()) for _ in range(5)
        ]

        async def on_live(message: AgentMessage) -> None:
            self.live[message.sender_id].append(number_of(message))

        async def on_grouped(message: AgentMessage) -> None:
            self.grouped.append(number_of(message))

        async def on_stored(message: DurableMessage) -> None:
            self.attempts[message.attempt] += 1
            self.stored.append(number_of(message))

        async def answer(request: Request) -> dict[str, Any]:
            await asyncio.sleep(0.02)
            return {"n": request.payload["n"]}

        async def answer_slowly(request: Request) -> dict[str, Any]:
            for step in range(10):
                request.progress(step / 10, "")
                await asyncio.sleep(0.1)
            return {}

        await responder.respond("slow:>", answer_slowly, concurrency=2)
        await subscriber.subscribe("live:*", on_live)
        await subscriber.subscribe("grouped:*", on_grouped, group="one", credit=64)
        await worker.subscribe("stored:>", on_stored, durable="workers", concurrency=4)
        await responder.respond("ask:>", answer, concurrency=4)
        tasks.create_task(self._repeat(self._publish_live, publisher, "a"))
        tasks.create_task(self._repeat(self._publish_live, asker, "b"))
        tasks.create_task(self._repeat(self._publish_grouped, publisher))
        tasks.create_task(self._repeat(self._store, publisher))
        tasks.create_task(self._repeat(self._follow, asker))
        for _ in range(3):
            tasks.create_task(self._repeat(self._ask, asker))

    async def _repeat(self, action: Callable[..., Any], *arguments: Any) -> None:
        while self.goes_on:
            try:
                await action(*arguments)
            except Exception as error:  # noqa: BLE001  # whatever a caller hears
                self.failed.append(error)
            await asyncio.sleep(0.005)

    async def _publish_live(self, bus: GrpcMessageBus, sender: str) -> None:
        number = self.published.get(sender, 0)
        self.published[sender] = number + 1
        await bus.publish("live:news", numbered(number, sender))

    async def _publish_grouped(self, bus: GrpcMessageBus) -> None:
        self.published["grouped"] += 1
        await bus.publish("grouped:news", numbered(self.published["grouped"] - 1))

    async def _store(self, bus: GrpcMessageBus) -> None:
        self.published["stored"] += 1
        await bus.publish("stored:work", numbered(self.published["stored"] - 1), stored=True)

    async def _ask(self, bus: GrpcMessageBus) -> None:
        reply = await bus.request("ask:me", numbered(self.answered), timeout=PATIENCE)
        assert "n" in reply.payload
        self.answered += 1

    async def _follow(self, bus: GrpcMessageBus) -> None:
        events = [type(event).__name__ async for event in bus.request_stream("slow:me", numbered(0), timeout=PATIENCE)]
        self.followed.append(events)

    async def until_heard(self) -> None:
        """Waits until all that was published has come; then looks that it came once, and in order."""
        await until(
            lambda: (
                len(self.live["a"]) >= self.published["a"]
                and len(self.live["b"]) >= self.published["b"]
                and len(set(self.stored)) >= self.published["stored"]
                and len(self.grouped) >= self.published["grouped"]
            )
        )

    def check(self) -> None:
        """Nothing failed, was lost, came twice or, of what each subscriber gets, out of order."""
        assert self.failed == []
        assert self.followed
        for events in self.followed:
            assert (events[0], events[-1]) == ("Accepted", "Result")
            assert events.count("Accepted") == 1
        assert self.lost == []
        for sender in ("a", "b"):
            assert faults(self.live[sender], self.published[sender]) == ([], [], [])
        assert sorted(self.grouped) == list(range(self.published["grouped"]))  # what waits for a member is overtaken
        assert sorted(self.stored) == list(range(self.published["stored"]))
        assert set(self.attempts) == {1}


def faults(heard: list[int], published: int) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Numbers that did not come, or nobody published, that came more than once, and pairs of which the later came
    first."""
    lost = sorted(set(range(published)) ^ set(heard))
    doubled = [number for number, times in Counter(heard).items() if times > 1]
    return lost, doubled, [(one, other) for one, other in pairwise(heard) if other < one]


@pytest.mark.parametrize("count", [2, 3])
async def test_old_streams_move_under_load(count: int) -> None:
    async with replicas(count, "--max-stream-age", "1.5") as (_, balancer), AsyncExitStack() as stack:
        work = Work(balancer.address)
        async with asyncio.TaskGroup() as tasks:
            await work.run(stack, tasks)
            await asyncio.sleep(8)
            work.goes_on = False
        await work.until_heard()
        work.check()


async def stop(program: RunningProgram) -> None:
    """Stops a program, which ends by itself: nobody holds it up."""
    assert await asyncio.to_thread(program.stop, PATIENCE) == 0


async def roll(made: Replicas) -> None:
    """Stops each replica, and starts it again."""
    for program in made.programs:
        await asyncio.sleep(1)
        await stop(program)
        await asyncio.to_thread(program.start)
        await asyncio.to_thread(made.settle)
    await asyncio.sleep(1)


async def roll_under_work(made: Replicas, address: str) -> None:
    """Does so while agents work behind an address, and looks at what they heard."""
    work = Work(address)
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            await work.run(stack, tasks)
            await roll(made)
            work.goes_on = False
        await work.until_heard()
        work.check()


async def test_a_rolling_restart_fails_nothing() -> None:
    async with replicas(3) as (made, balancer):
        await roll_under_work(made, balancer.address)


async def test_a_rolling_restart_behind_a_sidecar_fails_nothing(start_program: StartProgram, socket_dir: Path) -> None:
    async with replicas(2) as (made, balancer):
        state = await asyncio.to_thread(start_program, "state", "--engine", "memory")
        sidecar = await asyncio.to_thread(
            start_program,
            "sidecar",
            *("--bus-address", balancer.address, "--state-address", state.address),
            *("--socket-path", "", "--store-path", f"{socket_dir}/sidecar.db"),
            address=f"unix:{socket_dir}/sidecar.sock",
        )
        await roll_under_work(made, sidecar.address)


async def test_a_new_replica_gets_its_share() -> None:
    """Of eight clients, some are at the new one when each has been asked to move."""
    async with replicas(2, "--max-stream-age", "2") as (made, balancer), AsyncExitStack() as stack:
        buses = [GrpcMessageBus(balancer.address, connect_timeout=PATIENCE) for _ in range(8)]
        for bus in buses:
            await stack.enter_async_context(bus)
        late = RunningProgram("bus", "--engine", "redis", "--redis-url", made.redis.url, *LASTING)
        made.programs.append(late)
        await asyncio.to_thread(late.start)
        balancer.servers.append(late.address)
        await until(lambda: balancer.open.get(late.address, 0) >= 2)
        assert balancer.open[late.address] >= 2
        assert all(bus.is_connected for bus in buses)


async def test_who_cannot_move_stays_and_moves_later() -> None:
    async with replicas(2, "--max-stream-age", "0.5") as (_, balancer), AsyncExitStack() as stack:
        lost: list[BaseException] = []
        heard: list[int] = []
        bus = await stack.enter_async_context(
            GrpcMessageBus(balancer.address, connect_timeout=0.5, on_disconnected=lost.append)
        )

        async def on_live(message: AgentMessage) -> None:
            heard.append(number_of(message))

        there, balancer.servers = balancer.servers, []
        await bus.subscribe("live:news", on_live)
        for number in range(200):
            await bus.publish("live:news", numbered(number))
            await asyncio.sleep(0.01)
        assert bus.is_connected
        before = balancer.taken
        balancer.servers = there
        await until(lambda: balancer.taken > before)
        await bus.publish("live:news", numbered(200))
        await until(lambda: len(heard) == 201)
        assert heard == list(range(201))
        assert lost == []


async def test_a_client_that_is_closed_while_it_moves_leaves_nothing_behind() -> None:
    async with replicas(2, "--max-stream-age", "0.1") as (_, balancer):
        before = asyncio.all_tasks()
        for turn in range(20):
            async with GrpcMessageBus(balancer.address, connect_timeout=PATIENCE) as bus:
                await bus.subscribe("live:news", _ignore)
                await bus.subscribe("stored:news", _ignore, durable="some")
                await asyncio.sleep(0.08 + turn * 0.005)
        await until(lambda: not sum(balancer.open.values()))
        assert not sum(balancer.open.values())
        await until(lambda: asyncio.all_tasks() <= before)
        assert asyncio.all_tasks() <= before


async def _ignore(message: AgentMessage) -> None:
    pass


async def test_a_replica_that_is_killed_while_streams_move_is_a_lost_connection() -> None:
    async with replicas(2, "--max-stream-age", "0.3") as (made, balancer), AsyncExitStack() as stack:
        heard: list[int] = []

        async def on_live(message: AgentMessage) -> None:
            heard.append(number_of(message))

        buses = [GrpcMessageBus(balancer.address, connect_timeout=PATIENCE) for _ in range(6)]
        for bus in buses:
            await stack.enter_async_context(bus)
            await bus.subscribe("live:news", on_live)
        await asyncio.sleep(0.5)
        killed = made.others[0]
        await asyncio.to_thread(killed.kill)
        async with asyncio.timeout(PATIENCE):
            for bus in buses:
                while True:  # until each of the six hears it
                    heard.clear()
                    await bus.publish("live:news", numbered(1))
                    await asyncio.sleep(0.2)
                    if len(heard) >= len(buses):
                        break
        assert len(heard) == len(buses)


async def test_calls_and_watches_of_state_move_with_their_streams() -> None:
    """By age, and by a restart of each replica."""
    options = ("--engine", "redis", "--max-stream-age", "1", *PATIENT, "--redis-url")
    with servers.running(appendonly="yes", appendfsync="always") as redis:
        programs = [RunningProgram("state", *options, redis.url) for _ in range(2)]
        try:
            for program in programs:
                await asyncio.to_thread(program.start)
            async with balanced([program.address for program in programs]) as balancer, AsyncExitStack() as stack:
                await _write_and_watch(balancer.address, stack, programs)
        finally:
            for program in programs:
                await asyncio.to_thread(program.end)


async def _write_and_watch(address: str, stack: AsyncExitStack, programs: list[RunningProgram]) -> None:
    lost: list[BaseException] = []
    writer, watcher = [
        await stack.enter_async_context(
            GrpcStateManager(address, connect_timeout=PATIENCE, timeout=PATIENCE, on_disconnected=lost.append)
        )
        for _ in range(2)
    ]
    written = 0
    seen: list[int] = []
    goes_on, synced = True, asyncio.Event()

    async def write() -> None:
        nonlocal written
        while goes_on:
            state = AgentState(agent_id="one", agent_type="coding", error_count=written + 1)
            await writer.save_agent_state(state)
            written += 1
            kept = await writer.get_agent_state("one")
            assert kept is not None
            assert kept.error_count == written  # it reads what it wrote, wherever that was
            await asyncio.sleep(0.005)

    async def watch() -> None:
        changes = watcher.watch("agent_state", id="one")
        async with aclosing(changes):  # type: ignore[type-var]
            async for change in changes:
                if change.type is ChangeType.SYNCED:
                    synced.set()
                elif isinstance(change.record, AgentState):
                    seen.append(change.record.error_count)

    watching = asyncio.create_task(watch())
    await asyncio.wait_for(synced.wait(), PATIENCE)
    writing = asyncio.create_task(write())
    await asyncio.sleep(3)
    for program in programs:
        await stop(program)
        await asyncio.to_thread(program.start)
    goes_on = False
    await writing
    await until(lambda: bool(seen) and seen[-1] == written)
    watching.cancel()
    assert lost == []
    assert seen == list(range(1, written + 1))


async def test_a_client_that_ignores_it_is_ended_behind_the_grace() -> None:
    async with (
        replicas(2, "--max-stream-age", "0.5", "--stream-grace-seconds", "0.5") as (_, balancer),
        grpc.aio.insecure_channel(balancer.address) as line,
    ):
        call = bus_pb2_grpc.BusServiceStub(line).Subscribe()
        await call.write(bus_pb2.SubscribeRequest(start=bus_pb2.SubscribeRequest.Start(pattern="raw:>")))
        async with asyncio.timeout(PATIENCE):
            kinds = [(await call.read()).WhichOneof("frame"), (await call.read()).WhichOneof("frame")]
            assert kinds == ["started", "move"]
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "did not move" in str(ended.value.details())


async def test_what_waits_for_a_group_that_leaves_goes_to_members_elsewhere() -> None:
    """Messages and the end of the last member come in one frame: they go to the other replica, which has one too."""
    heard: list[int] = []
    item = bus_pb2.OpenStreamRequest.ClientItem
    start = bus_pb2.SubscribeRequest.Start(pattern="shared:news", group="one", credit=100)
    async with replicas(2) as (made, _), AsyncExitStack() as stack:
        there, here = made.addresses
        line = await stack.enter_async_context(grpc.aio.insecure_channel(here))
        bus = await stack.enter_async_context(GrpcMessageBus(there))

        async def on_message(message: AgentMessage) -> None:
            heard.append(message.sequence)

        await bus.subscribe("shared:news", on_message, group="one", credit=100)
        call = bus_pb2_grpc.BusServiceStub(line).OpenStream()
        await call.write(bus_pb2.OpenStreamRequest(items=[item(id=1, subscribe=bus_pb2.SubscribeRequest(start=start))]))
        async with asyncio.timeout(PATIENCE):
            assert (await call.read()).items[0].subscription.HasField("started")
            messages = [message_pb2.Message(message_id=str(number), json="{}") for number in range(20)]
            publish = bus_pb2.PublishRequest(channel="shared:news", messages=messages)
            cancel = bus_pb2.OpenStreamRequest.Cancel()
            await call.write(bus_pb2.OpenStreamRequest(items=[item(id=2, publish=publish), item(id=1, cancel=cancel)]))
            ended = False
            while not ended:
                ended = any(each.WhichOneof("item") == "cancelled" for each in (await call.read()).items)
        await until(lambda: len(heard) == 20)
        assert len(set(heard)) == 20


async def test_what_waits_for_a_group_elsewhere_outlives_the_replica_where_it_waits() -> None:
    """The members there would take no more now: what waits is given to them before the replica leaves."""
    start = bus_pb2.SubscribeRequest.Start(pattern="shared:news", group="one", credit=2)
    async with replicas(2) as (made, _), AsyncExitStack() as stack:
        there, here = made.addresses
        lines = [await stack.enter_async_context(grpc.aio.insecure_channel(each)) for each in (there, here)]
        member = bus_pb2_grpc.BusServiceStub(lines[0]).Subscribe()
        await member.write(bus_pb2.SubscribeRequest(start=start))
        async with asyncio.timeout(PATIENCE):
            assert (await member.read()).HasField("started")
            messages = [message_pb2.Message(message_id=str(number), json="{}") for number in range(50)]
            await bus_pb2_grpc.BusServiceStub(lines[1]).Publish(
                bus_pb2.PublishRequest(channel="shared:news", messages=messages)
            )
            await stop(made.programs[1])
            await member.write(bus_pb2.SubscribeRequest(credit=bus_pb2.SubscribeRequest.Credit(messages=100)))
            heard: list[str] = []
            while len(heard) < 50:
                heard += [message.message_id for message in (await member.read()).deliveries.messages]
        assert heard == [str(number) for number in range(50)]


async def test_what_is_published_elsewhere_comes_behind_what_has_arrived() -> None:
    """A publisher goes on at a replica that has not read yet what it was sent: it waits until it has."""
    item = bus_pb2.OpenStreamRequest.ClientItem
    async with replicas(2) as (made, _), AsyncExitStack() as stack:
        there, here = made.addresses
        heard: list[int] = []

        async def on_live(message: AgentMessage) -> None:
            heard.append(number_of(message))

        bus = await stack.enter_async_context(GrpcMessageBus(here, connect_timeout=PATIENCE))
        await bus.subscribe("live:news", on_live)
        line = await stack.enter_async_context(grpc.aio.insecure_channel(there))
        call = bus_pb2_grpc.BusServiceStub(line).OpenStream()
        made.programs[1].pause()
        try:
            publish = bus_pb2.PublishRequest(
                channel="live:news", messages=[message_pb2.Message(message_id="1", json='{"n": 1}')]
            )
            ping = bus_pb2.OpenStreamRequest.Ping(sent=True)
            await call.write(bus_pb2.OpenStreamRequest(items=[item(publish=publish), item(id=1, ping=ping)]))
            answer = asyncio.ensure_future(call.read())
            done, _ = await asyncio.wait([answer], timeout=1)
            assert not done
        finally:
            made.programs[1].resume()
        async with asyncio.timeout(PATIENCE):
            assert (await answer).items[0].HasField("pong")
            await bus.publish("live:news", numbered(2))
        await until(lambda: len(heard) == 2)
        assert heard == [1, 2]
