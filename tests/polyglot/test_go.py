"""The Go client: its own checks and tests, and the agent of its README, compiled from the page."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.tools import find
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.polyglot.go import GO_CLIENT, go
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


@contextmanager
def running(program: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program, and kills it in the end."""
    process = subprocess.Popen([program, *arguments], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_it_is_formatted_and_vetted() -> None:
    """gofmt would change nothing, and vet finds nothing."""
    go("vet", "./...")
    gofmt = Path(str(find("go"))).with_name("gofmt")
    unformatted = subprocess.run([gofmt, "-l", "."], cwd=GO_CLIENT, capture_output=True, text=True, check=True).stdout
    assert unformatted == ""


@pytest.mark.timeout(900)
def test_its_own_tests_pass() -> None:
    """`go test`, against programs that it starts."""
    assert "ok" in go("test", "-count=1", "-timeout=600s", "./...")


@pytest.fixture(scope="module")
def agent_from_readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module beside the client's that has the README's agent alone, with the address as its argument."""
    folder = tmp_path_factory.mktemp("agent")
    (block,) = re.findall(r"```go\n(package main.*?)```", (GO_CLIENT / "README.md").read_text(), re.DOTALL)
    assert block.count('"127.0.0.1:7431"') == 1
    (folder / "main.go").write_text(block.replace('"127.0.0.1:7431"', "os.Args[1]"))
    for name in ("go.mod", "go.sum"):  # what it needs is what the client needs: nothing is asked for
        (folder / name).write_bytes((GO_CLIENT / name).read_bytes())
    go("mod", "edit", "-module=agent", "-require=trunkline@v0.0.0", f"-replace=trunkline={GO_CLIENT}", folder=folder)
    go("build", "-o", "agent", ".", folder=folder)
    return folder / "agent"


def task(number: int) -> AgentMessage:
    return AgentMessage(
        message_type=MessageType.TASK_ASSIGNMENT,
        sender_id="test",
        payload={"name": f"file-{number}", "source": "line\n" * number},
    )


async def test_the_ten_line_agent_loses_nothing(
    agent_from_readme: Path, start_program: StartProgram, tmp_path: Path
) -> None:
    """It is killed and started again, and so is its bus: each task that was receipted has its result."""
    server = start_program("bus", "--path", str(tmp_path / "bus.db"))
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
        with running(agent_from_readme, server.address):
            await asyncio.gather(*(bus.publish("tasks:go", task(each), stored=True) for each in range(third)))
            await until(third // 2)
        await asyncio.gather(*(bus.publish("tasks:go", task(third + each), stored=True) for each in range(third)))
        with running(agent_from_readme, server.address) as agent:
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
            assert await asyncio.to_thread(agent.wait, PATIENCE) == 0
    assert lines == {f"file-{each}": each for each in range(3 * third)}


async def test_the_example_does_its_job(start_program: StartProgram, tmp_path: Path) -> None:
    """It answers requests, and keeps the results of tasks where Python finds them."""
    program = tmp_path / "measure"
    go("build", "-o", str(program), "./examples/measure")
    bus_address = start_program("bus", "--engine", "memory").address
    state_address = start_program("state", "--engine", "memory").address
    async with GrpcMessageBus(bus_address) as bus, GrpcStateManager(state_address) as state:
        with running(program, bus_address, state_address):
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
    assert kept.agent_id == "measure-go"
    assert kept.output_data == {"lines": 3}
