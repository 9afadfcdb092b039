"""The Java client: its own tests, and the agent of its README, compiled from the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.tools import find
from tests.conftest import StartProgram
from tests.polyglot import commands
from tests.polyglot.agents import check_agent, check_example
from tests.polyglot.java import JAVA_CLIENT, classpath, java, maven
from tests.polyglot.languages import build

INTERRUPTED = 130
"""What Java ends with after SIGINT, when its shutdown hooks are done."""


@pytest.mark.timeout(900)
def test_its_own_tests_pass() -> None:
    """JUnit, against programs that it starts; the compiler's warnings fail the build."""
    build("java")
    assert re.search(r"Tests run: [1-9]\d*, Failures: 0, Errors: 0, Skipped: 0", maven("surefire:test"))


@pytest.fixture(scope="module")
def agent_from_readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the classes of the README's agent alone, with the address as its argument."""
    build("java")
    folder = tmp_path_factory.mktemp("agent")
    (block,) = re.findall(r"```java\n(import .*?)```", (JAVA_CLIENT / "README.md").read_text(), re.DOTALL)
    assert block.count('"127.0.0.1:7431"') == 1
    (folder / "Agent.java").write_text(block.replace('"127.0.0.1:7431"', "arguments[0]"))
    compiler = Path(str(find("java"))).with_name("javac")
    commands.run([str(compiler), "-Werror", "-Xlint:all", "-cp", classpath(), "Agent.java"], folder, {})
    return folder


async def test_the_ten_line_agent_loses_nothing(
    agent_from_readme: Path, start_program: StartProgram, tmp_path: Path
) -> None:
    """It is killed and started again, and so is its bus: each task that was receipted has its result."""
    server = start_program("bus", "--path", str(tmp_path / "bus.db"))
    program, *flags, _, _ = java()
    command = [program, *flags, "-cp", f"{agent_from_readme}:{classpath()}", "Agent"]
    await check_agent(lambda address: [*command, address], server, interrupted=INTERRUPTED)


async def test_the_example_does_its_job(start_program: StartProgram) -> None:
    """It answers requests, and keeps the results of tasks where Python finds them."""
    build("java")
    bus = start_program("bus", "--engine", "memory").address
    state = start_program("state", "--engine", "memory").address
    await check_example(lambda *addresses: [*java("Measure"), *addresses], bus, state, "measure-java")
