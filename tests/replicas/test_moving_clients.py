"""The clients of other languages move too, while they work: for the age of their streams, and at a rolling restart. See
test_moving.py, which has the Python client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest

from tests.conformance.test_clients import CASES
from tests.patience import PATIENCE
from tests.polyglot.languages import LANGUAGES
from tests.programs import RunningProgram
from tests.redis import servers
from tests.replicas.balancer import balanced
from tests.replicas.parts import Part, number_of, numbered, parts
from tests.replicas.test_moving import PATIENT, faults, replicas, roll, stop

LANGUAGES_HERE: Final = sorted(LANGUAGES.keys() - {"python"})
PARTS: Final = ("subscriber", "worker", "responder", "publisher", "asker")
REQUESTS: Final = 8
"""That are asked at once."""
PARTS_OF_ANSWER: Final = 300
"""Of a request that is followed: more than may be on their way and not read."""
CANNOT_FOLLOW: Final = CASES["a request and its whole life"].get("without", ())
"""Languages."""


@asynccontextmanager
async def staying(language: str, address: str, of: str, *names: str) -> AsyncIterator[dict[str, Part]]:
    """Parts, none of which loses its connection."""
    async with parts(language, address, of, *names) as made:
        yield made
        for each in made.values():
            assert await each.do("reconnections", of=of) == {"count": 0}


class Work:
    """What was published and asked for while streams moved, and whether it goes on."""

    def __init__(self, made: dict[str, Part]) -> None:
        self._parts = made
        self._follows = made["asker"].language not in CANNOT_FOLLOW
        self.published = {"live": 0, "grouped": 0, "stored": 0, "asker": 0}
        self.answered = 0
        self.goes_on = True

    async def begin(self) -> None:
        """Subscribes to all that will be published."""
        subscriber, worker, responder = (self._parts[name] for name in ("subscriber", "worker", "responder"))
        await subscriber.do("subscribe", name="live", pattern="live:*")
        await subscriber.do("subscribe", name="grouped", pattern="grouped:*", group="one", credit=64)
        await worker.do("subscribe", name="stored", pattern="stored:>", durable="workers")
        await responder.do("respond", pattern="ask:>", takes=0.02)
        if self._follows:
            await responder.do("respond", pattern="follow:>", parts=PARTS_OF_ANSWER)

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Publishes and asks, until it goes on no more."""
        for action in (self._publish, self._ask):
            tasks.create_task(self._repeat(action))

    async def _repeat(self, action: Callable[[], Any]) -> None:
        while self.goes_on:
            await action()

    async def _publish(self) -> None:
        publisher, published = self._parts["publisher"], self.published
        for channel, kind, stored in (
            ("live:a", "live", False),
            ("grouped:a", "grouped", False),
            ("stored:a", "stored", True),
        ):
            await publisher.do("publish", channel=channel, messages=[numbered(published[kind])], stored=stored)
            published[kind] += 1

    async def _ask(self) -> None:
        """Of what is asked at once, each request has its own answer; one is followed, and has all of its events."""
        asker = self._parts["asker"]
        names = [f"request-{at}" for at in range(REQUESTS)]
        for at, name in enumerate(names):
            words = {"channel": "ask:me", "message": numbered(at), "timeout": PATIENCE}
            await asker.do("request", later=name, **words)
        if self._follows:
            await asker.do("request_stream", later="life", channel="follow:me", message=numbered(0), timeout=PATIENCE)
        await asker.do("publish", channel="live:b", messages=[numbered(self.published["asker"], "asker")])
        self.published["asker"] += 1
        for at, name in enumerate(names):
            assert number_of(await asker.do("wait", **{"for": name})) == at
            self.answered += 1
        if self._follows:
            events = (await asker.do("wait", **{"for": "life"}))["events"]
            assert events == [["accepted", 1], ["progress", 1], ["part", PARTS_OF_ANSWER], ["result", 1]]

    async def check(self) -> None:
        """All that was published has come, once; of what each subscriber gets, one publisher's in order."""
        subscriber, worker = self._parts["subscriber"], self._parts["worker"]
        published = self.published
        await self._parts["publisher"].do("publish", channel="live:end", messages=[numbered(-1, "end")])
        total = published["live"] + published["asker"] + 1
        live = (await subscriber.do("expect", count=total, **{"from": "live"}))["messages"]
        for sender, kind in (("publisher", "live"), ("asker", "asker")):
            came = [number_of(each) for each in live if each["message"]["sender"] == sender]
            assert faults(came, published[kind]) == ([], [], [])
        grouped = (await subscriber.do("expect", count=published["grouped"], **{"from": "grouped"}))["messages"]
        assert sorted(map(number_of, grouped)) == list(range(published["grouped"]))
        stored = (await worker.do("expect", count=published["stored"], **{"from": "stored"}))["messages"]
        assert [each for each in stored if each["attempt"] != 1] == []
        assert faults(sorted(map(number_of, stored)), published["stored"]) == ([], [], [])
        assert self.answered >= REQUESTS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("language", LANGUAGES_HERE)
async def test_a_rolling_restart_under_work_fails_nothing(language: str) -> None:
    """Streams are old, and replicas stop and come back: no call fails, nothing is lost or doubled."""
    async with (
        replicas(3, "--max-stream-age", "2") as (made, balancer),
        staying(language, balancer.address, "bus", *PARTS) as there,
    ):
        work = Work(there)
        await work.begin()
        taken = balancer.taken
        async with asyncio.TaskGroup() as tasks:
            await work.run(tasks)
            await roll(made)
            work.goes_on = False
        await work.check()
        assert balancer.taken >= taken + len(PARTS)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
async def test_whoever_waits_for_the_next_owner_holds_up_none_that_stops(language: str) -> None:
    """All that a client has is at the owner of the journal: it leaves that, and what it has of the journal begins
    elsewhere only when that has ended."""
    async with replicas(2) as (made, balancer):
        owner, (other,) = made.settle(), made.others
        balancer.servers = [owner.address]
        async with staying(language, balancer.address, "bus", "worker", "publisher") as there:
            worker, publisher = there["worker"], there["publisher"]
            await worker.do("subscribe", name="stored", pattern="stored:>", durable="workers")
            await publisher.do("publish", channel="stored:a", messages=[numbered(0)], stored=True)
            balancer.servers = [other.address]
            await stop(owner)
            await publisher.do("publish", channel="stored:a", messages=[numbered(1)], stored=True)
            came = (await worker.do("expect", count=2, **{"from": "stored"}))["messages"]
            assert [(number_of(each), each["attempt"]) for each in came] == [(0, 1), (1, 1)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("language", LANGUAGES_HERE)
async def test_calls_and_watches_of_state_move_with_their_streams(language: str) -> None:
    """By age, and by a restart of each replica."""
    options = ("--engine", "redis", "--max-stream-age", "1", *PATIENT, "--redis-url")
    with servers.running(appendonly="yes", appendfsync="always") as redis:
        programs = [RunningProgram("state", *options, redis.url) for _ in range(2)]
        try:
            for program in programs:
                await asyncio.to_thread(program.start)
            async with (
                balanced([program.address for program in programs]) as balancer,
                staying(language, balancer.address, "state", "writer", "watcher") as there,
            ):
                await _write_and_watch(there["writer"], there["watcher"], programs)
        finally:
            for program in programs:
                await asyncio.to_thread(program.end)


async def _write_and_watch(writer: Part, watcher: Part, programs: list[RunningProgram]) -> None:
    changes = partial(watcher.do, "changes", **{"from": "all"})
    await watcher.do("watch", name="all")
    assert [each["type"] for each in (await changes())["changes"]] == ["synced"]
    written, goes_on = 0, True

    async def write() -> None:
        nonlocal written
        while goes_on:
            await writer.do("save", record={"id": "one", "type": "coding", "errors": str(written + 1)})
            written += 1
            kept = await writer.do("get", id="one")
            assert kept["record"]["errors"] == str(written)  # it reads what it wrote, wherever that was

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        await asyncio.sleep(3)
        for program in programs:
            await stop(program)
            await asyncio.to_thread(program.start)
        goes_on = False
    seen = [int(each["record"]["errors"]) for each in (await changes(count=written))["changes"]]
    assert seen == list(range(1, written + 1))
