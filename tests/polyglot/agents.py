"""What the ten-line agent and the example of each language are held to."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    AgentMessage,
    DurableMessage,
    DurableSettings,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
    TaskResult,
)

TASKS = 60

Command = Sequence[str]


@contextmanager
def running(command: Command) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program, and kills it in the end."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def task(number: int) -> AgentMessage:
    return AgentMessage(
        message_type=MessageType.TASK_ASSIGNMENT,
        sender_id="test",
        payload={"name": f"file-{number}", "source": "line\n" * number},
    )


async def check_agent(command: Callable[[str], Command], server: RunningProgram, interrupted: int = 0) -> None:
    """The agent is killed and started again, and so is its bus: each task that was receipted has its result.

    Args:
        command: the agent's, with the address of the bus.
        server: the bus.
        interrupted: the code that the agent ends with after SIGINT.
    """
    results: Counter[str] = Counter()
    lines: dict[str, int] = {}
    arrived, restored = asyncio.Event(), asyncio.Event()

    async def keep(result: DurableMessage) -> None:
        name, counted = result.payload["name"], result.payload["lines"]
        assert isinstance(name, str)
        assert isinstance(counted, int)
        results[name] += 1
        lines[name] = counted
        arrived.set()

    async def until(count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(results) < count:
                arrived.clear()
                await arrived.wait()

    async with GrpcMessageBus(server.address, connect_timeout=PATIENCE, on_reconnected=restored.set) as bus:
        settings = DurableSettings(ack_wait=1.0, max_deliveries=100)
        await bus.create_durable("measurers", "tasks:>", settings=settings)
        await bus.subscribe("results", keep, durable="ledger")
        third = TASKS // 3
        with running(command(server.address)):
            await asyncio.gather(*(bus.publish("tasks:go", task(each), stored=True) for each in range(third)))
            await until(third // 2)
        await asyncio.gather(*(bus.publish("tasks:go", task(third + each), stored=True) for each in range(third)))
        with running(command(server.address)) as agent:
            await until(2 * third)
            server.kill()
            server.start()
            async with asyncio.timeout(PATIENCE):
                await restored.wait()
            await asyncio.gather(
                *(bus.publish("tasks:go", task(2 * third + each), stored=True) for each in range(third))
            )
            await until(3 * third)
            agent.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(agent.wait, PATIENCE) == interrupted
    assert lines == {f"file-{each}": each for each in range(3 * third)}


async def check_example(
    command: Callable[[str, str], Command], bus_address: str, state_address: str, name: str
) -> None:
    """It answers requests, and keeps the results of tasks where Python finds them."""
    async with GrpcMessageBus(bus_address) as bus, GrpcStateManager(state_address) as state:
        with running(command(bus_address, state_address)):
            reply = await bus.request("measure:ask", task(7), timeout=PATIENCE, wait_for_responder=True)
            assert reply.payload == {"lines": 7}
            changes = state.watch()
            await bus.create_durable("measure", "measure:tasks")
            await bus.publish("measure:tasks", task(3), stored=True)
            async with asyncio.timeout(PATIENCE):
                async for change in changes:
                    if change.id == "file-3":
                        break
    kept = change.record
    assert isinstance(kept, TaskResult)
    assert kept.agent_id == name
    assert kept.output_data == {"lines": 3}
