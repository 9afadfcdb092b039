"""What the guides for people who come from elsewhere show is true: their programs run, their names exist."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import pytest

from tests.conductor.test_seed_program import SHOWN
from tests.house.guide import GUIDES, Guide
from tests.house.names import check_name
from tests.programs import PYTHON, RunningProgram

CONDUCTOR = "from-conductorai.md"
PYORCHESTRATE = "from-pyorchestrate.md"
NAMES = {
    CONDUCTOR: (
        *SHOWN,
        *("connect", "disconnect", "publish", "subscribe", "unsubscribe", "request", "is_connected", "published_count"),
        *("save_agent_state", "get_agent_state", "list_agent_states", "delete_agent_state"),
        *("save_workflow_state", "get_workflow_state", "save_task_result", "get_task_result"),
        *("conductor:agent:{id}", "conductor:phase:{name}", "conductor:workflow:{id}", "conductor:broadcast"),
        *("conductor:dlq", "conductor:response", "conductor:errors"),
        *("message_id", "message_type", "sender_id", "recipient_id", "payload", "correlation_id", "priority"),
        *("timestamp", "ttl_seconds", "metadata", "is_expired", "create_response", "to_dict"),
        *("is_available", "total_tasks", "success_rate", "is_running", "is_complete", "duration_seconds"),
        *("completed_task_count", "failed_task_count"),
        *("REQUEST_TIMEOUT", "BUS_NOT_CONNECTED", "BUS_DISCONNECTED", "MESSAGE_BUS_ERROR", "STATE_ERROR"),
    ),
    PYORCHESTRATE: (
        *("BaseAgent", "BaseProcessAgent", "BaseThreadAgent", "LoopingProcessAgent", "LoopingThreadAgent"),
        *(
            "PeriodicProcessAgent",
            "PeriodicThreadAgent",
            "PoolAgent",
            "Config",
            "Plugin",
            "StateEvents",
            "ControlEvents",
        ),
        *("setup", "execute", "cycle", "runner", "run", "on_stop", "on_close", "on_message", "send_message", "logger"),
        *("start_event", "ready_event", "close_event", "stop_event", "setup_event", "execute_event", "kwargs"),
        *("RecoverableException", "NonRecoverableException", "LoggerConfig", "BaseClassConfig", "validate"),
        *("ValidationResult", "ValidationSeverity", "ValidationPolicy", "ConfigValidationError"),
        *("limit", "execution_interval", "delay_compensation", "logger_config", "validation_policy"),
        *("PluginManager", "ZeroMQPubSub", "OrchestratorHeartbeatPlugin", "Orchestrator", "RunMode", "AgentEntry"),
        *("max_workers", "check_interval", "run_mode", "enable_command_interface", "command_socket_path"),
        *("allowed_commands", "history_max_events", "register_agent", "custom_plugin", "add_dependency", "report"),
        *("validate_dependencies", "start", "stop", "join", "simple_join", "finalize", "register_event", "emit"),
        *("handle_agent_message", "msg_channel", "command_channel", "event_manager", "memory", "get_agent", "is_alive"),
        *("EventManager", "OrchestratorEvent", "AgentEvent", "EventStore", "EventRecord", "DependencyGraph"),
        *("MessageChannel", "ServiceMessage", "send", "receive", "close", "CLIENT_RECEIVE_TIMEOUT"),
        *(f"pyorchestrate {name}" for name in ("ps", "start", "stop", "status", "report", "stats", "history")),
        *(f"pyorchestrate {name}" for name in ("history-stats", "dependencies", "commands", "shutdown", "create")),
        *("pyorchestrate-web", "--socket", "--format"),
    ),
}
"""What people know, of each guide: each has its row."""

SECONDS = 60.0
PROGRAMS = [pytest.param(guide, name, id=name) for guide in GUIDES for name in guide.programs]
ROWS = [pytest.param(code, id=code) for guide in GUIDES for _, here in guide.rows for code in here]
FRAGMENTS = [pytest.param(text, id=guide.path.name) for guide in GUIDES for text in guide.fragments]

Place = Callable[[Guide], Path]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A bus and a state service; maps the addresses that guides name to theirs."""
    folder = tmp_path_factory.mktemp("services")
    running = {
        "127.0.0.1:7431": RunningProgram("bus", cwd=folder),
        "127.0.0.1:7432": RunningProgram("state", cwd=folder),
    }
    try:
        yield {shown: program.start().address for shown, program in running.items()}
    finally:
        for program in running.values():
            program.end()


@pytest.fixture
def place(tmp_path: Path, services: dict[str, str]) -> Place:
    """Writes a guide's programs into a directory of this test."""

    def write(guide: Guide) -> Path:
        for name, text in guide.programs.items():
            localized = reduce(lambda done, each: done.replace(*each), services.items(), text)
            (tmp_path / name).write_text(localized)
        return tmp_path

    return write


def _run(arguments: list[str], folder: Path, **environment: str) -> str:
    """Runs what must succeed; returns what it printed."""
    done = subprocess.run(
        arguments,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(("guide", "name"), PROGRAMS)
def test_its_program_runs(guide: Guide, name: str, place: Place) -> None:
    """As shown: it ends by itself and prints what is shown, or serves while the commands are given that are shown."""
    folder = place(guide)
    if name in guide.serving:
        _serve(guide, name, folder)
    else:
        said = _run([sys.executable, name], folder)
        assert said == guide.outputs.get(name, said)


def _serve(guide: Guide, name: str, folder: Path) -> None:
    commands = folder / "bin"
    commands.mkdir()
    script = commands / "trunkline"
    script.write_text(f'#!/bin/sh\nexec {" ".join(PYTHON)} trunkline.cli "$@"\n')
    script.chmod(0o700)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen([sys.executable, name], cwd=folder, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            assert any(line.strip() == "ready" for line in program.stdout), f"{name} never said that it is ready"
            for line in guide.commands[name]:
                _run(["/bin/sh", "-c", line], folder, PATH=path)
        finally:
            program.terminate()


@pytest.mark.parametrize("text", FRAGMENTS)
def test_its_fragments_are_python(text: str) -> None:
    """What only shows how something is written; imports that it shows exist."""
    compile(text, "fragment", "exec")
    for line in text.splitlines():
        if line.startswith(("from trunkline", "import trunkline")):
            exec(line, {})


@pytest.mark.parametrize("code", ROWS)
def test_every_name_in_its_tables_exists(code: str) -> None:
    """With the arguments that are shown."""
    check_name(code)


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in NAMES.items() for name in names])
def test_every_name_that_people_know_has_its_row(page: str, name: str) -> None:
    """In the column "there"."""
    (guide,) = (each for each in GUIDES if each.path.name == page)
    known = {code.partition("(")[0] for there, _ in guide.rows for code in there}
    assert name in known


def test_nothing_is_lost_by_a_change_of_form() -> None:
    """The examples and tables that these tests look for are there."""
    (guide,) = (each for each in GUIDES if each.path.name == CONDUCTOR)
    assert set(guide.programs) == {"team.py", "team_over_grpc.py", "failures.py"} == set(guide.outputs)
    assert len(guide.rows) > 50
    (guide,) = (each for each in GUIDES if each.path.name == PYORCHESTRATE)
    assert set(guide.programs) == {"weather.py", "counter.py", "service.py", "supervised.py", "fleet.py"}
    assert (guide.serving, len(guide.commands["service.py"])) == ({"service.py"}, 13)
    assert len(guide.rows) > 90
    for each in GUIDES:
        assert each.programs
        assert each.rows
        assert set(each.outputs) | set(each.commands) <= set(each.programs)
