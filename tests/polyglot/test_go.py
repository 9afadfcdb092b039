"""The Go client: its own checks and tests, and the agent of its README, compiled from the page."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from scripts.bench.peers.nats_synced import NatsSynced
from scripts.bench.processes import end, free_port, start_server
from scripts.tools import find
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.polyglot.agents import check_agent, check_example
from tests.polyglot.go import GO_CLIENT, GO_LOAD, go
from tests.polyglot.languages import BUILT, build


def test_it_is_formatted_and_vetted() -> None:
    """gofmt would change nothing, and vet finds nothing."""
    for module in (GO_CLIENT, GO_LOAD):
        go("vet", "./...", folder=module)
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


async def test_the_ten_line_agent_loses_nothing(
    agent_from_readme: Path, start_program: StartProgram, tmp_path: Path
) -> None:
    """It is killed and started again, and so is its bus: each task that was receipted has its result."""
    server = start_program("bus", "--path", str(tmp_path / "bus.db"))
    await check_agent(lambda address: [str(agent_from_readme), address], server)


async def test_the_example_does_its_job(start_program: StartProgram) -> None:
    """It answers requests, and keeps the results of tasks where Python finds them."""
    build("go")
    bus = start_program("bus", "--engine", "memory").address
    state = start_program("state", "--engine", "memory").address
    await check_example(lambda *addresses: [str(BUILT / "measure"), *addresses], bus, state, "measure-go")


async def test_the_load_program_measures_our_services_and_nats(start_program: StartProgram, tmp_path: Path) -> None:
    """A row for each kind of call, with what each cost the service."""
    build("go")
    bus, state = start_program("bus", "--engine", "memory"), start_program("state", "--engine", "memory")
    port = free_port()
    nats = await start_server(NatsSynced().server("bus", port, tmp_path), port, tmp_path / "nats.log", {})
    pids = (f"-bus-pid={bus.process.pid}", f"-state-pid={state.process.pid}", f"-nats-pid={nats.pid}")
    places = (f"-bus={bus.address}", f"-state={state.address}", f"-nats=127.0.0.1:{port}")
    command = [str(BUILT / "trunkline-load"), *places, *pids, "-count=200", "-in-flight=8"]
    try:
        done = await asyncio.to_thread(
            subprocess.run, command, check=True, capture_output=True, text=True, timeout=PATIENCE
        )
    finally:
        await end(nats)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    kinds = ["publish-stream", "publish-stored", "subscribe", "request", "save", "get"]
    ours = ["publish-unary", *kinds[:4], "request-unary", *kinds[4:]]
    assert [row[0] for row in rows] == [*ours, *(f"nats-{kind}" for kind in kinds)]
    assert all(float(figure) >= 0 for row in rows for figure in row[1:])
