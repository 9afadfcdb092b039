"""ps, list, start, stop, status, dependencies, commands and shutdown against a real orchestrator."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tests.cli.conftest import OnTerminal, Trunkline
from tests.orchestrator.program import Agent, Serve
from trunkline.message_channel import DEFAULT_SOCKET_PATH

AGENTS: list[Agent] = [
    ("WeatherAgent", "Ticking", {}),
    ("DataProcessor", "TickingProcess", {"dependencies": ["WeatherAgent"]}),
    ("AlertManager", "Ticking", {}),
    ("an idle one", "Ticking", {}),
]

PS = """\
Orchestrator Status: 2/2 agents running
Waiting in queue: 1

Name                  Status    Started  In Queue  State
-------------------------------------------------------------
WeatherAgent          ALIVE     YES      NO        ready
DataProcessor         ALIVE     YES      NO        ready
AlertManager          DEAD      NO       YES       waiting
an idle one           DEAD      NO       NO        registered
"""


def _serve(serve: Serve) -> None:
    """Two run, one waits, one was never started."""
    serve(agents=AGENTS, start=["WeatherAgent", "DataProcessor", "AlertManager"], config={"max_workers": 2})


def test_ps_is_the_table_that_scripts_know(serve: Serve, trunkline: Trunkline) -> None:
    """To the letter; `list` is the same."""
    _serve(serve)
    said = trunkline("ps")
    assert (said.returncode, said.stdout, said.stderr) == (0, PS, "")
    assert trunkline("list").stdout == PS


def test_ps_without_agents_says_so(serve: Serve, trunkline: Trunkline) -> None:
    """And nothing of a queue that is empty."""
    serve()
    assert trunkline("ps").stdout == "Orchestrator Status: 0/5 agents running\n\nNo agents registered\n"


def test_json_is_the_answer_as_it_stands_on_the_socket(serve: Serve, trunkline: Trunkline) -> None:
    """So that scripts which read it go on."""
    _serve(serve)
    data = json.loads(trunkline("ps", "--format", "json").stdout)
    assert data["status"] == "success"
    assert data["data"]["running_count"] == 2
    assert data["data"]["max_workers"] == 2
    assert data["data"]["waiting_count"] == 1
    assert data["data"]["agents"][2] == {
        "agent_name": "AlertManager",
        "alive": False,
        "started": False,
        "in_queue": True,
        "state": "waiting",
    }
    stopped = json.loads(trunkline("stop", "AlertManager", "--format", "json").stdout)
    assert stopped == {"status": "success", "message": "Agent 'AlertManager' stopped successfully"}


def test_agents_are_started_and_stopped(serve: Serve, trunkline: Trunkline) -> None:
    """One word more than the exit code; the second time it is an error."""
    serve(agents=[("--a b'ü", "Ticking", {})])
    assert trunkline("start", "--", "--a b'ü").stdout == "Agent '--a b'ü' started successfully\n"
    again = trunkline("start", "--", "--a b'ü")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == 'error: agent "--a b\'ü" is ready already (AGENT_STATE)\n'
    assert trunkline("stop", "--", "--a b'ü").stdout == "Agent '--a b'ü' stopped successfully\n"
    assert trunkline("stop", "--", "--a b'ü").returncode == 1


def test_status_tells_a_fact_a_line(serve: Serve, trunkline: Trunkline) -> None:
    """Of an agent, and of the orchestrator, with the words that scripts know."""
    _serve(serve)
    lines = trunkline("status", "DataProcessor").stdout.splitlines()
    assert lines[:4] == ["Agent: DataProcessor", "Alive: True", "Started: True", "In Queue: False"]
    assert "Dependencies: WeatherAgent" in lines
    assert "Kind: process" in lines
    lines = trunkline("status").stdout.splitlines()
    wanted = ["Total Agents: 4", "Running Agents: 2", "Max Workers: 2", "Waiting Agents: 1"]
    assert lines[1:6] == [*wanted, "Command Interface: Enabled"]
    assert "name" not in json.loads(trunkline("status", "--format", "json").stdout)["data"]


def test_dependencies_and_commands_are_listed(serve: Serve, trunkline: Trunkline) -> None:
    """Also where there are none, or all."""
    serve()
    assert trunkline("dependencies").stdout == "No dependencies configured\n"
    assert trunkline("commands").stdout.startswith("All commands are allowed\n\nAllowed commands (12):\n  commands\n")
    serve(socket="other.sock", agents=AGENTS)
    assert trunkline("dependencies").stdout == "Agent Dependencies:\n  DataProcessor -> WeatherAgent\n"


def test_what_is_not_allowed_is_denied(serve: Serve, trunkline: Trunkline) -> None:
    """With what is."""
    serve(registered=1, config={"allowed_commands": "monitoring"})
    denied = trunkline("stop", "agent-00000", "--format", "json")
    assert denied.returncode == 1
    assert json.loads(denied.stderr)["error_code"] == "PERMISSION_DENIED"
    shown = trunkline("commands").stdout
    assert "Restricted commands (5):\n  dependencies\n  report\n  shutdown\n  start\n  stop\n" in shown
    assert trunkline("dependencies").returncode == 1


def test_shutdown_ends_it(serve: Serve, trunkline: Trunkline) -> None:
    """The next command finds nobody."""
    orchestrator = serve(agents=[("p", "TickingProcess", {})], start=["p"])
    assert trunkline("shutdown").stdout == "Shutdown initiated\n"
    assert orchestrator.process.wait(20) == 0
    assert trunkline("ps").returncode == 5


def test_ten_thousand_agents_are_all_there(
    serve: Serve, trunkline: Trunkline, on_terminal: OnTerminal, environment: dict[str, str], socket_dir: Path
) -> None:
    """In a pipe as they are; on a terminal through a pager; each once, in their order."""
    pager = socket_dir / "pager"
    pager.write_text("#!/bin/sh\necho paged; exec cat\n")
    pager.chmod(0o755)
    environment["PAGER"] = str(pager)
    serve(registered=10_000)
    names = [f"agent-{number:05}" for number in range(10_000)]
    lines = trunkline("ps").stdout.splitlines()
    assert [line.split()[0] for line in lines[4:]] == names
    data = json.loads(trunkline("ps", "--format", "json").stdout)["data"]
    assert [agent["agent_name"] for agent in data["agents"]] == names
    assert "next_page_token" not in data
    code, shown = on_terminal("ps")
    assert code == 0
    assert shown.startswith("paged\n")
    assert [line.split()[0] for line in shown.splitlines()[5:]] == names
    assert "paged" not in on_terminal("status")[1]


@pytest.mark.parametrize("command", ["start", "stop", "status"])
def test_an_unknown_agent_is_exit_code_3(serve: Serve, trunkline: Trunkline, command: str) -> None:
    """Said on standard error, for scripts as JSON; nothing on standard output."""
    serve()
    said = trunkline(command, "nobody\x1b[31m")
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr == "error: no agent 'nobody\\x1b[31m' is registered (AGENT_NOT_FOUND)\n"
    said = trunkline(command, "nobody", "--format", "json")
    assert (said.returncode, said.stdout) == (3, "")
    assert json.loads(said.stderr)["error_code"] == "AGENT_NOT_FOUND"


def test_the_help_names_the_socket_that_is_asked_by_default(trunkline: Trunkline) -> None:
    """The one that older programs have."""
    assert f"TRUNKLINE_SOCKET; {DEFAULT_SOCKET_PATH}" in " ".join(trunkline("ps", "--help").stdout.split())


def test_one_orchestrator_or_a_fleet_is_asked_not_both(serve: Serve, trunkline: Trunkline) -> None:
    """A bus in the environment alone is no fleet; on the command line it and a socket are too much."""
    orchestrator = serve(registered=1)
    assert "agent-00000" in trunkline("ps").stdout
    for arguments in (
        ("ps", "--bus", "127.0.0.1:1", "--socket", orchestrator.socket),
        ("--bus", "127.0.0.1:1", "stats", "--once", "--socket", orchestrator.socket),
        ("history", "--state", "127.0.0.1:1", "--socket", orchestrator.socket, "--follow"),
    ):
        said = trunkline(*arguments)
        assert said.returncode == 2
        assert "--socket names one orchestrator, --bus and --state a fleet: say one of them" in said.stderr
    for command in ("commands", "history-stats"):
        said = trunkline(command, "--bus", "127.0.0.1:1")
        assert said.returncode == 2
        assert f"{command} asks one orchestrator" in said.stderr


def test_text_that_utf8_cannot_say_breaks_no_answer(serve: Serve, trunkline: Trunkline) -> None:
    """Of an agent that sends it and then fails with it: it is escaped, in JSON for strict readers too."""
    serve(agents=[("bad", "Saying", {"complaint": "bad \ud83d"})], start=["bad"], until={"bad": "failed"})
    for arguments in (["history"], ["report"]):
        said = trunkline(*arguments)
        assert (said.returncode, said.stderr) == (0, "")
        assert "bad \\ud83d" in said.stdout
    history = trunkline("history", "--format", "json")
    assert msgspec.json.decode(history.stdout)["status"] == "success"
    status = trunkline("status", "bad", "--format", "json")
    assert msgspec.json.decode(status.stdout)["data"]["last_error"] == "ValueError: bad \\ud83d"


def test_an_argument_that_is_no_utf8_is_named_escaped(serve: Serve, trunkline: Trunkline) -> None:
    """As the shell hands it over; no traceback."""
    serve()
    said = trunkline("status", "a\udcff", "--format", "json")
    assert said.returncode == 3
    assert msgspec.json.decode(said.stderr)["error_code"] == "AGENT_NOT_FOUND"
    assert "a\\udcff" in said.stderr.replace("\\\\", "\\")
