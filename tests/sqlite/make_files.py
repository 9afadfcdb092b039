"""Makes the files that tests/sqlite/test_kept_files.py opens, as this version of the programs writes them.

    python -m tests.sqlite.make_files

Run it once for each new version of a format, before the version is counted up, and never for one that is there.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from tests.programs import RunningProgram
from trunkline import (
    AgentMessage,
    AgentState,
    Backoff,
    DurableMessage,
    DurableSettings,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
    TaskResult,
    TaskStatus,
    WorkflowState,
)
from trunklined.bus.engines.sqlite_schema import FORMAT as JOURNAL
from trunklined.state.engines.sqlite_schema import FORMAT as STORE

HERE = Path(__file__).resolve().parent / "files"


def message(n: int, **words: object) -> AgentMessage:
    """A task."""
    return AgentMessage(message_type=MessageType.TASK_ASSIGNMENT, sender_id="maker", payload={"n": n}, **words)


async def fill_journal(address: str) -> None:
    """Something in each table: waiting, leased, to be tried again, held back, of a busy key, and a dead letter."""
    hold = asyncio.Event()

    async def work(given: DurableMessage) -> None:
        n = given.payload["n"]
        if n == 0:
            await given.terminate("made to be dead")
        elif n == 1:
            raise TimeoutError("made to be tried again")
        else:
            await hold.wait()

    settings = DurableSettings(ack_wait=600, backoff=Backoff(initial=86_400, maximum=86_400))
    async with GrpcMessageBus(address) as bus:
        await bus.create_durable("work", "kept:>", settings=settings)
        for n in range(6):
            await bus.publish("kept:a", message(n, priority="high" if n == 5 else "medium"), stored=True)
        for n in (6, 7):
            await bus.publish("kept:b", message(n), stored=True, ordering_key="k")
        await bus.publish("kept:c", message(8), stored=True, deliver_after=300 * 86_400)
        await bus.subscribe("kept:>", work, durable="work", settings=settings, concurrency=4, credit=5)
        while not [letter async for letter in bus.dead_letters()]:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        raise SystemExit  # without giving back what is held


async def fill_store(address: str) -> None:
    """A record of each kind, one of them changed and one deleted, and a message that waits for a bus."""
    async with GrpcStateManager(address) as state:
        await state.save_agent_state(AgentState(agent_id="coding-01", agent_type="coding"))
        await state.save_agent_state(AgentState(agent_id="coding-01", agent_type="coding", error_count=2))
        await state.save_agent_state(AgentState(agent_id="gone", agent_type="coding"))
        await state.delete_agent_state("gone")
        await state.save_workflow_state(WorkflowState(workflow_id="wf-1"))
        await state.save_task_result(
            TaskResult(task_id="t-1", agent_id="coding-01", status=TaskStatus.COMPLETED, output_data={"lines": 3}),
            publish=[("kept:done", message(1))],
        )


def make(name: str, version: int, fill: object, *options: str) -> None:
    """One file, by the real program, stopped gracefully; its bus is killed, so that what is leased stays so."""
    folder = Path(tempfile.mkdtemp())
    program = RunningProgram(name, "--path", f"{folder}/{name}.db", *options).start()
    try:
        asyncio.run(fill(program.address))  # type: ignore[operator]
    except SystemExit:
        program.kill()
        program.restart()
        time.sleep(0.5)
    finally:
        program.stop()
    HERE.mkdir(exist_ok=True)
    shutil.copy(folder / f"{name}.db", HERE / f"{name}-v{version}.db")


if __name__ == "__main__":
    make("bus", JOURNAL.version, fill_journal)
    make("state", STORE.version, fill_store, "--bus-address", "127.0.0.1:1")
