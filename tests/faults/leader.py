"""One of several processes that elect a leader: `python leader.py ADDRESS NAME`. It says what it does.

Whoever leads writes as often as it can, and does not look at its own clock: that an old leader's writes are refused is
left to the service. It ends with standard input.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from trunkline import GrpcStateManager, LeaseInfo, StateError, TaskResult

LEADER = "leader"
TTL = 1.0


def say(**words: object) -> None:
    """One line to whoever started this."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def lead(state: GrpcStateManager, name: str) -> None:
    """Waits until it leads, and writes until it does no more."""
    lease = await state.acquire(LEADER, ttl=TTL, wait=True, holder=name)
    fence = LeaseInfo(lease.name, lease.number, name, TTL)
    say(leads=lease.number)
    try:
        while True:
            work = TaskResult(task_id="work", agent_id=name, status="in_progress", metadata={"number": lease.number})
            await state.save_task_result(work, fence=fence)
            await asyncio.sleep(0.01)
    except StateError as error:
        say(over=lease.number, why=error.error_code, held=lease.is_held)
    finally:
        lease.abandon()


async def run(address: str, name: str) -> None:
    """Leads again and again."""
    async with GrpcStateManager(address) as state:
        say(ready=True)
        while True:
            try:
                await lead(state, name)
            except StateError as error:
                say(failed=error.error_code)
                await asyncio.sleep(0.1)


async def main() -> None:
    """Ends with standard input."""
    running = asyncio.ensure_future(run(*sys.argv[1:]))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    running.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(main())
