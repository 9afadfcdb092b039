"""The bus and the store over Redis without a service between: each program is a replica itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from uuid import uuid4

import pytest

from tests.patience import PATIENCE
from tests.programs import hold_port
from trunkline import (
    AgentMessage,
    AgentState,
    Durability,
    NoRespondersError,
    RedisMessageBus,
    RedisStateManager,
    StorageError,
)


@pytest.fixture
def prefix() -> str:
    return f"in-process-{uuid4().hex}"


def message(n: int = 0) -> AgentMessage:
    return AgentMessage(message_type="work", sender_id="tests", payload={"n": n})


async def test_what_one_publishes_the_other_hears(redis_url: str, prefix: str) -> None:
    async with RedisMessageBus(redis_url, prefix=prefix) as one, RedisMessageBus(redis_url, prefix=prefix) as other:
        heard: asyncio.Queue[AgentMessage] = asyncio.Queue()
        await other.subscribe("work:*", heard.put)
        for n in range(100):
            await one.publish("work:a", message(n))
        got = [(await asyncio.wait_for(heard.get(), PATIENCE)).payload["n"] for _ in range(100)]
        assert got == list(range(100))


async def test_a_request_is_answered_by_another_process(redis_url: str, prefix: str) -> None:
    async with RedisMessageBus(redis_url, prefix=prefix) as one, RedisMessageBus(redis_url, prefix=prefix) as other:
        with pytest.raises(NoRespondersError):
            await one.request("work:double", message(1), timeout=PATIENCE)

        async def double(request: AgentMessage) -> dict[str, str]:
            return {"of": f"{request.payload}" * 2}

        await other.respond("work:double", double)
        answer = await one.request("work:double", message(21), timeout=PATIENCE)
        assert answer.payload == {"of": "{'n': 21}{'n': 21}"}


async def test_what_is_stored_outlives_everybody(redis_url: str, prefix: str) -> None:
    """Stored by one that does not own the journal, taken by one that came when all had left."""
    async with RedisMessageBus(redis_url, prefix=prefix) as one, RedisMessageBus(redis_url, prefix=prefix) as other:
        await one.create_durable("work", "work:*")
        receipt = await other.publish("work:a", message(7), stored=True)
        assert receipt.durability is Durability.STORED
    async with RedisMessageBus(redis_url, prefix=prefix) as late:
        heard: asyncio.Queue[AgentMessage] = asyncio.Queue()
        await late.subscribe("work:*", heard.put, durable="work")
        assert (await asyncio.wait_for(heard.get(), PATIENCE)).payload == {"n": 7}


async def test_when_one_is_killed_another_owns_the_journal(redis_url: str, prefix: str) -> None:
    code = f"""
import asyncio
from trunkline import AgentMessage, RedisMessageBus

async def main():
    async with RedisMessageBus({redis_url!r}, prefix={prefix!r}) as bus:
        await bus.create_durable("work", "work:*")
        first = AgentMessage(message_type="work", sender_id="first", payload={{"n": 1}})
        await bus.publish("work:a", first, stored=True)
        print("stored", flush=True)
        await asyncio.sleep({PATIENCE})

asyncio.run(main())
"""
    first = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    try:
        assert first.stdout is not None
        assert await asyncio.wait_for(first.stdout.readline(), PATIENCE) == b"stored\n"
        async with RedisMessageBus(redis_url, prefix=prefix) as second:
            heard: asyncio.Queue[AgentMessage] = asyncio.Queue()
            os.kill(first.pid, signal.SIGKILL)
            await second.subscribe("work:*", heard.put, durable="work")
            await second.publish("work:a", message(2), stored=True)
            got = [(await asyncio.wait_for(heard.get(), PATIENCE)).payload["n"] for _ in range(2)]
            assert got == [1, 2]
    finally:
        with suppress(ProcessLookupError):
            first.kill()
        await first.wait()


async def test_a_bus_can_be_connected_again(redis_url: str, prefix: str) -> None:
    bus = RedisMessageBus(redis_url, prefix=prefix)
    for _ in range(2):
        async with bus:
            assert bus.is_connected
            await bus.publish("work:a", message())
        assert not bus.is_connected


async def test_two_stores_over_one_redis_are_one(redis_url: str, prefix: str) -> None:
    async with RedisStateManager(redis_url, prefix=prefix) as one, RedisStateManager(redis_url, prefix=prefix) as other:
        await one.save_agent_state(AgentState(agent_id="a", agent_type="tests"))
        found = await other.get_agent_state("a")
        assert found is not None
        assert found.agent_type == "tests"
    async with RedisStateManager(redis_url, prefix=prefix) as late:
        assert await late.get_agent_state("a") is not None


@pytest.mark.parametrize("made", [RedisMessageBus, RedisStateManager])
@pytest.mark.parametrize("wrong", ["", "http://127.0.0.1", "redis://127.0.0.1:nowhere/0", "redis://127.0.0.1:1/x"])
def test_a_wrong_url_is_refused_by_name(made: type[RedisMessageBus | RedisStateManager], wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^redis_url "):
        made(wrong)


@pytest.mark.parametrize("made", [RedisMessageBus, RedisStateManager])
def test_a_wrong_prefix_is_refused_by_name(made: type[RedisMessageBus | RedisStateManager]) -> None:
    with pytest.raises(ValueError, match=r"^prefix "):
        made(prefix="a b")


@pytest.mark.parametrize("made", [RedisMessageBus, RedisStateManager])
async def test_where_no_redis_is_connect_says_so(made: type[RedisMessageBus | RedisStateManager]) -> None:
    with hold_port() as held:
        port = held.getsockname()[1]
        client = made(f"redis://:secret@127.0.0.1:{port}/0")
        with pytest.raises(StorageError, match=f"127.0.0.1:{port}") as caught:
            await client.connect()
        assert "secret" not in str(caught.value)
        assert not client.is_connected
