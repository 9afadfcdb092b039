"""Reads of a state service over Redis."""

from __future__ import annotations

import asyncio

import redis

from tests.conftest import StartProgram
from tests.redis.servers import running
from tests.redis.test_state_faults import agent, serve
from trunkline import GrpcStateManager, StateError

RECORDS = 50
READS = 600


async def test_what_one_client_reads_at_once_shares_round_trips(start_program: StartProgram) -> None:
    """Each is answered with its own record, also what is not there; Redis is asked seldom."""
    with running() as server, redis.Redis.from_url(server.url) as client:
        service = await asyncio.to_thread(serve, start_program, server.url)
        async with GrpcStateManager(service.address) as state:
            for number in range(RECORDS):
                await state.save_agent_state(agent(f"a{number}"))
            client.config_resetstat()
            wanted = [f"a{number % (RECORDS + 1)}" for number in range(READS)]
            found = await asyncio.gather(*map(state.get_agent_state, wanted))
        stats = client.info("commandstats")
    assert [each.agent_id if each is not None else None for each in found] == [
        id if id != f"a{RECORDS}" else None for id in wanted
    ]
    assert isinstance(stats, dict)
    assert stats["cmdstat_hmget"]["calls"] < READS / 4


async def test_reads_fail_with_a_clear_error_when_redis_is_gone(start_program: StartProgram) -> None:
    """Each of many, and those that come later; the stream stays."""
    with running() as server:
        service = await asyncio.to_thread(serve, start_program, server.url, "--redis-wait", "0")
        async with GrpcStateManager(service.address) as state:
            await state.save_agent_state(agent("a"))
            await asyncio.to_thread(server.kill)
            for _ in range(2):
                answers = await asyncio.gather(
                    *(state.get_agent_state("a") for _ in range(200)), return_exceptions=True
                )
                assert {type(answer).__name__ for answer in answers} == {"StorageUnavailableError"}
                assert all(isinstance(answer, StateError) for answer in answers)
            await asyncio.to_thread(server.start)
