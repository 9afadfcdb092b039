"""The TypeScript client: its own tests, and the agent of its README, run from the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import StartProgram
from tests.polyglot.agents import check_agent, check_example
from tests.polyglot.languages import build
from tests.polyglot.typescript import TYPESCRIPT_CLIENT, node, run


@pytest.mark.timeout(900)
def test_its_own_tests_pass() -> None:
    """`node --test`, against programs that it starts; the compiler is its linter."""
    build("typescript")
    files = sorted(str(each) for each in (TYPESCRIPT_CLIENT / "dist" / "test").glob("*.test.js"))
    assert files
    assert "# fail 0" in run(node(), "--test", "--test-reporter=tap", "--test-concurrency=1", *files)


@pytest.fixture(scope="module")
def agent_from_readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package beside the client's that has the README's agent alone, with the address as its argument."""
    build("typescript")
    folder = tmp_path_factory.mktemp("agent")
    (block,) = re.findall(r"```ts\n(.*?)```", (TYPESCRIPT_CLIENT / "README.md").read_text(), re.DOTALL)
    assert block.count('"127.0.0.1:7431"') == 1
    (folder / "agent.ts").write_text(block.replace('"127.0.0.1:7431"', "process.argv[2]!"))
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules" / "@types").mkdir(parents=True)
    (folder / "node_modules" / "trunkline").symlink_to(TYPESCRIPT_CLIENT)
    (folder / "node_modules" / "@types" / "node").symlink_to(TYPESCRIPT_CLIENT / "node_modules" / "@types" / "node")
    compiler = str(TYPESCRIPT_CLIENT / "node_modules" / "typescript" / "bin" / "tsc")
    options = ("--strict", "--target", "ES2023", "--module", "NodeNext", "--types", "node", "--skipLibCheck")
    run(node(), compiler, *options, "agent.ts", folder=folder)
    return folder / "agent.js"


async def test_the_ten_line_agent_loses_nothing(
    agent_from_readme: Path, start_program: StartProgram, tmp_path: Path
) -> None:
    """It is killed and started again, and so is its bus: each task that was receipted has its result."""
    server = start_program("bus", "--path", str(tmp_path / "bus.db"))
    await check_agent(lambda address: [node(), str(agent_from_readme), address], server)


async def test_the_example_does_its_job(start_program: StartProgram) -> None:
    """It answers requests, and keeps the results of tasks where Python finds them."""
    build("typescript")
    program = str(TYPESCRIPT_CLIENT / "dist" / "examples" / "measure.js")
    bus = start_program("bus", "--engine", "memory").address
    state = start_program("state", "--engine", "memory").address
    await check_example(lambda *addresses: [node(), program, *addresses], bus, state, "measure-typescript")
