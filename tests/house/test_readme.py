"""What README.md shows is true: its Python runs, its commands answer, against real programs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.tools import find
from tests.programs import RunningProgram, command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [(match["mark"] or "", match["language"], match["text"]) for match in BLOCK.finditer(README)]

SCRIPTS = {mark: text for mark, language, text in BLOCKS if language == "python"}
LINES = [line for mark, language, text in BLOCKS if language == "sh" and not mark for line in text.splitlines()]
GRPCURL = [line for line in LINES if line.startswith("grpcurl ")]
COMMANDS = [line for line in LINES if line.startswith("trunkline ") and line.split()[1] not in ("up", "subscribe")]

BUS, STATE, SIDECAR, LINE = "7431", "7432", ".trunkline/sidecar.sock", ".trunkline/channel.sock"
SECONDS = 30.0


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The three programs; maps the addresses that the README names to theirs."""
    folder = tmp_path_factory.mktemp("readme")
    bus = RunningProgram("bus", cwd=folder)
    state = RunningProgram("state", "--path", str(folder / "state.db"), cwd=folder)
    line, socket = str(folder / "line.sock"), str(folder / "grpc.sock")
    running = [bus, state]
    try:
        upstreams = ("--bus-address", bus.start().address, "--state-address", state.start().address)
        options = (*upstreams, "--socket-path", line)
        running.append(RunningProgram("sidecar", *options, address=f"unix:{socket}", cwd=folder))
        running[-1].start()
        yield {
            BUS: bus.address.rpartition(":")[2],
            STATE: state.address.rpartition(":")[2],
            SIDECAR: socket,
            LINE: line,
        }
    finally:
        for program in running:
            program.end()


def localized(text: str, programs: dict[str, str]) -> str:
    """The README's text with the ports of the running programs."""
    for port in (BUS, STATE):
        text = text.replace(f"localhost:{port}", f"localhost:{programs[port]}")
        text = text.replace(f'"127.0.0.1:{port}"', f'"127.0.0.1:{programs[port]}"')
    return text.replace(SIDECAR, programs[SIDECAR]).replace(LINE, programs[LINE])


def run(arguments: list[str], programs: dict[str, str]) -> str:
    """Runs a command that must succeed; returns what it wrote."""
    addresses = {"TRUNKLINE_BUS": f"127.0.0.1:{programs[BUS]}", "TRUNKLINE_STATE": f"127.0.0.1:{programs[STATE]}"}
    done = subprocess.run(
        arguments,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **addresses},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def grpcurl() -> str:
    """The real grpcurl; `make test` brings it."""
    found = find("grpcurl")
    if found is None:
        assert not os.environ.get("CI"), "grpcurl is missing: python scripts/tools.py grpcurl"
        pytest.skip("grpcurl is missing: python scripts/tools.py grpcurl")
    return found


@contextmanager
def agent(programs: dict[str, str]) -> Iterator[None]:
    """The README's agent, running and subscribed."""
    process = subprocess.Popen([sys.executable, "-c", localized(SCRIPTS["agent.py"], programs)])
    try:
        deadline = time.monotonic() + SECONDS
        while "conductor:agent:coding-01" not in run(command(["subscriptions"]), programs):
            assert time.monotonic() < deadline, "the agent never subscribed"
            assert process.poll() is None, "the agent ended"
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def test_the_readme_has_what_this_file_looks_for() -> None:
    """No example is lost from these tests by a change of its form."""
    assert set(SCRIPTS) == {
        *("agent.py", "coordinator.py", "blocking.py", "channel.py", "external.py", "worker.py", "team.py"),
    }
    assert len(GRPCURL) >= 6
    assert len(COMMANDS) >= 2


def test_the_agent_answers_the_coordinator(programs: dict[str, str]) -> None:
    """Request, publish, subscribe and state, as shown."""
    with agent(programs):
        said = run([sys.executable, "-c", localized(SCRIPTS["coordinator.py"], programs)], programs)
    assert said.splitlines() == ["measured: {'lines': 2}", "heard: {'files': 1}", "kept: {'lines': 2}"]


def test_the_worker_is_given_its_task_again(programs: dict[str, str]) -> None:
    """A stored task, a handler that fails once, and the second attempt, as shown."""
    said = run([sys.executable, "-c", localized(SCRIPTS["worker.py"], programs)], programs)
    assert {"stored False", "attempt 1 of {'file': 'main.py'}", "attempt 2 of {'file': 'main.py'}"} <= set(
        said.splitlines()
    )


def test_code_without_an_event_loop_runs(programs: dict[str, str]) -> None:
    """The synchronous face, as shown."""
    said = run([sys.executable, "-c", localized(SCRIPTS["blocking.py"], programs)], programs)
    assert "agent_id='script'" in said


def test_the_channel_of_threads_runs(programs: dict[str, str]) -> None:
    """MessageChannel with a thread, as shown."""
    said = run([sys.executable, "-c", localized(SCRIPTS["channel.py"], programs)], programs)
    assert "done: measure" in said


def test_an_external_program_is_heard_on_the_bus(programs: dict[str, str]) -> None:
    """A line on the sidecar's socket, as shown, is published on the target's channel."""
    listener = subprocess.Popen(
        command(
            ["--bus", f"127.0.0.1:{programs[BUS]}", "--format", "json", "subscribe", "conductor:agent:coordinator"]
        ),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while "conductor:agent:coordinator" not in run(command(["subscriptions"]), programs):
            assert time.monotonic() < deadline, "the listener never subscribed"
        run([sys.executable, "-c", localized(SCRIPTS["external.py"], programs)], programs)
        assert listener.stdout is not None
        assert "hello" in listener.stdout.readline()
    finally:
        listener.terminate()
        listener.communicate(timeout=SECONDS)


def test_the_agent_answers_grpcurl(programs: dict[str, str], grpcurl: str) -> None:
    """A request that is written by hand, as shown."""
    (text,) = (text for mark, _, text in BLOCKS if mark == "needs agent.py")
    with agent(programs):
        said = run([grpcurl, *shlex.split(localized(text, programs))[1:]], programs)
    assert '\\"lines\\":2' in said.replace(" ", "")


def test_a_subscription_by_grpcurl_shows_what_is_published(programs: dict[str, str], grpcurl: str) -> None:
    """Subscribe in one terminal, publish in another, as shown; the payload is plain text."""
    (stream,) = (text for mark, _, text in BLOCKS if mark == "streams")
    (publish,) = (line for line in GRPCURL if line.endswith("/Publish"))
    arguments = [grpcurl, *shlex.split(localized(stream, programs))[1:]]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        try:
            seen = ""
            while "started" not in seen:
                seen += subscriber.stdout.readline()
            run([grpcurl, *shlex.split(localized(publish, programs))[1:]], programs)
            while '"json"' not in seen:
                seen += subscriber.stdout.readline()
        finally:
            subscriber.terminate()
    assert '{\\"step\\": 1}' in seen


def test_the_team_counts(programs: dict[str, str], socket_dir: Path) -> None:
    """Two processes, one after the other is ready, and what they counted; then the socket answers, as shown."""
    path = f"{socket_dir}/team.sock"
    enabled = "enable_command_interface=True"
    text = SCRIPTS["team.py"].replace(enabled, f"{enabled}, command_socket_path={path!r}")
    script = socket_dir / "team.py"  # a spawned process imports the file
    script.write_text(text)
    counted = run([sys.executable, str(script)], programs).splitlines()
    assert sorted(counted) == ["first {'count': 5}", "second {'count': 5}"]
    script.write_text(text.replace("limit = 5", "limit = -1"))
    (shown,) = (text for mark, _, text in BLOCKS if mark == "needs team.py")
    team = subprocess.Popen([sys.executable, str(script)])
    try:
        deadline = time.monotonic() + SECONDS
        while not Path(path).exists():
            assert time.monotonic() < deadline, "the socket never came"
            time.sleep(0.01)
        for line in shown.splitlines():
            assert "first" in run(command([*shlex.split(line)[1:], "--socket", path]), programs)
        run(command(["shutdown", "--socket", path]), programs)
        assert team.wait(SECONDS) == 0
    finally:
        team.kill()
        team.wait()


@pytest.mark.parametrize("line", GRPCURL)
def test_grpcurl_answers(programs: dict[str, str], grpcurl: str, line: str) -> None:
    """Each command of grpcurl that ends by itself, as shown and in its order."""
    if line.endswith("/Get"):
        (save,) = (other for other in GRPCURL if other.endswith("/Save"))
        run([grpcurl, *shlex.split(localized(save, programs))[1:]], programs)
    assert run([grpcurl, *shlex.split(localized(line, programs))[1:]], programs).strip()


@pytest.mark.parametrize("line", COMMANDS)
def test_trunkline_answers(programs: dict[str, str], line: str) -> None:
    """Each command of trunkline that ends by itself, as shown."""
    assert run(command(shlex.split(line, comments=True)[1:]), programs).strip()
