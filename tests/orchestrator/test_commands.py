"""The commands of a real orchestrator, with right arguments and with all kinds of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.channel.clients import LineClient, line
from tests.orchestrator.program import Agent, Serve, ServedOrchestrator, ask, serving
from tests.orchestrator.sample_agents import Finishing, Ticking
from trunkline.errors import MessageTooLargeError, TrunklineError
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator import CommandError, Orchestrator, Permissions
from trunkline.orchestrator.commands.audit import AuditLog, Caller
from trunkline.orchestrator.commands.commands import CommandHandler, parse
from trunkline.orchestrator.permissions import ALL_COMMANDS

ODD_NAMES = ["a b", "--odd", "ünï", "日本", '"quoted"', "it's", "{brace", "$(id)", "*", "a=b", "x" * 255]
NONSENSE = "no such command"


@pytest.fixture(scope="module")
def orchestrator(serve_for_all: Serve) -> ServedOrchestrator:
    """One for all tests here: whatever is asked of it, it goes on."""
    agents: list[Agent] = [(name, "Ticking", {}) for name in ["runs", "idle", *ODD_NAMES]]
    agents.append(("needy", "Ticking", {"dependencies": ["runs"]}))
    return serve_for_all(agents=agents, start=["runs"], config={"max_workers": 2})


@pytest.fixture
def client(orchestrator: ServedOrchestrator) -> Iterator[LineClient]:
    with LineClient(orchestrator.socket) as client:
        yield client
        assert ask(client, "status", "runs")["data"]["alive"] is True


@pytest.mark.parametrize(
    ("command", "args", "wanted"),
    [
        (NONSENSE, [], "there is no command 'no such command'; there are commands, dependencies,"),
        ("", [], "there is no command ''"),
        ("PS", [], "there is no command 'PS'"),
        ("x" * 2_000, [], "there is no command 'xxx"),
        ("ps", ["runs"], "there is no option 'runs'; there are --page-size, --page-token"),
        ("ps", ["--page-size", "0"], "--page-size is '0', it must be a whole number between 1 and 100000"),
        ("ps", ["--page-size", "9" * 1_000], "--page-size is '999"),
        ("ps", ["--page-size", "\u0661"], "--page-size is "),
        ("ps", ["--page-size"], "option --page-size needs a value"),
        ("ps", ["--page-token", "nobody"], "page token 'nobody' is none that was given out here"),
        ("stats", ["--page-size", "-1"], "--page-size is '-1'"),
        ("list", ["--all"], "there is no option '--all'"),
        ("status", ["a", "b"], "takes the name of one agent; given: 'a', 'b'"),
        ("start", [], "takes the name of one agent; given: none"),
        ("start", [""], "takes the name of one agent; given: ''"),
        ("stop", [], "takes the name of one agent; given: none"),
        ("stop", ["runs", "idle"], "takes the name of one agent; given: 'runs', 'idle'"),
        ("report", ["now"], "takes no argument, not 'now'"),
        ("dependencies", ["runs"], "takes no argument, not 'runs'"),
        ("commands", ["x" * 900], "takes no argument, not 'xxx"),
        ("shutdown", ["--now"], "takes no argument, not '--now'"),
        ("history", ["--last", "0"], "--last is '0', it must be a whole number between 1 and 10000"),
        ("history", ["--last", "1.5"], "--last is '1.5'"),
        ("history", ["--last", "1", "--first", "1"], "--last and --first do not go together"),
        ("history", ["--after-seq", "-1"], "--after-seq is '-1'"),
        ("history", ["--after-seq", str(2**63)], "--after-seq is '9223372036854775808'"),
        ("history", ["--since", "1"], "there is no option '--since'; there are --last, --first, --agent"),
        ("history", ["{]"], "the options '{]' are no JSON"),
        ("history", ['{"last": [1]}'], "'last' must be text or a whole number, not '[1]'"),
        ("history", [{"last": True}], "'last' must be text or a whole number, not 'true'"),
        ("history-stats", ["--agent"], "option --agent needs a value"),
        ("ps", [None], "an argument must be text, not null"),
        ("ps", [1.5], "an argument must be text, not 1.5"),
        ("ps", [["x"]], 'an argument must be text, not ["x"]'),
        ("ps", ["x"] * 17, "the command has 17 arguments, at most 16 are allowed"),
        ("status", ["y" * 1_025], "has 1025 characters, at most 1024 are allowed"),
    ],
)
def test_wrong_arguments_are_named(client: LineClient, command: str, args: list[Any], wanted: str) -> None:
    """With what is right, and without an end: the text of others is cut."""
    answer = ask(client, command, *args)
    assert (answer["status"], answer["error_code"]) == ("error", "INVALID_COMMAND")
    assert wanted in answer["message"]
    assert len(answer["message"]) < 400


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        ("", "the command is empty"),
        ("   ", "the command is empty"),
        ("ps 'x", "cannot be read: No closing quotation"),
        ("{}", "the payload must be"),
        ("[]", "the payload must be"),
        ('"ps"', "the payload must be"),
        ('{"command": "ps"', "the payload is no JSON"),
        ('{"command": 3}', "the payload must be"),
        ('{"command": "ps", "args": "x"}', 'args must be a list, not "x"'),
        ('{"command": "ps", "args": {"x": 1}}', "args must be a list, not {"),
        ("[" * 100_000, "the payload is no JSON"),
        ("\x00", "there is no command '\\x00'"),
    ],
)
def test_what_is_no_command_is_told_so(client: LineClient, payload: str, wanted: str) -> None:
    """Whatever it is."""
    client.send(line(payload))
    assert wanted in client.read_error()


@pytest.mark.parametrize("command", ["status", "start", "stop"])
@pytest.mark.parametrize("name", ["nobody", "runs ", "RUNS", "ru\nns", "\x1b[31m", "💥", "run\udcffs", "../runs", "*x"])
def test_an_agent_that_is_not_there_is_named(client: LineClient, command: str, name: str) -> None:
    """As what it is: names are compared as they stand."""
    answer = ask(client, command, name)
    assert answer["error_code"] == "AGENT_NOT_FOUND"
    assert repr(name) in answer["message"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_agents_with_odd_names_are_served_like_others(client: LineClient, name: str) -> None:
    """Started, shown, filtered by, and stopped."""
    assert ask(client, "start", name)["message"] == f"Agent '{name}' started successfully"
    assert ask(client, "status", name)["data"]["started"] is True
    assert ask(client, "history", f"--agent={name}")["data"]["count"] > 0
    assert ask(client, "history", {"agent": name, "last": 1})["data"]["events"][0]["agent"] == name
    assert ask(client, "stop", name)["message"] == f"Agent '{name}' stopped successfully"


def test_starting_and_stopping_twice_says_how_it_stands(client: LineClient) -> None:
    """Not an error of the arguments, but of the agent's state."""
    assert ask(client, "start", "runs")["error_code"] == "AGENT_STATE"
    answer = ask(client, "stop", "idle")
    assert (answer["error_code"], answer["message"]) == (
        "AGENT_STATE",
        "agent 'idle' does not run: it is registered",
    )


def test_a_start_that_must_wait_says_for_what(client: LineClient) -> None:
    """And the one that waits can be stopped."""
    assert ask(client, "start", "needy")["status"] == "success"
    answer = ask(client, "start", "idle")
    assert answer["message"] == "Agent 'idle' is waiting: 2 of 2 agents run"
    assert ask(client, "ps")["data"]["waiting_count"] == 1
    assert ask(client, "stop", "idle")["status"] == "success"
    assert ask(client, "stop", "needy")["status"] == "success"


def test_who_had_something_changed_stands_in_the_history(client: LineClient) -> None:
    """What failed too; questions do not."""
    ask(client, "start", "idle")
    ask(client, "start", "idle")
    ask(client, "stop", "idle")
    told = ask(client, "history", "--agent=idle", "--last=20")["data"]["events"]
    commands = [event for event in told if event["category"] == "COMMAND"][-3:]
    assert [(event["type"], event["details"]["command"]) for event in commands] == [
        ("COMMAND_EXECUTED", "start"),
        ("COMMAND_FAILED", "start"),
        ("COMMAND_EXECUTED", "stop"),
    ]
    assert {event["details"]["via"] for event in commands} == {"socket"}


def test_shutdown_answers_and_ends_everything(socket_dir: Path) -> None:
    """Also a process; the socket is gone."""
    with serving(socket_dir) as serve:
        orchestrator = serve(agents=[("p", "TickingProcess", {})], start=["p"])
        assert orchestrator.ask("shutdown") == {"status": "success", "message": "Shutdown initiated"}
        assert orchestrator.process.wait(20) == 0
    assert not Path(orchestrator.socket).exists()


@given(st.text())
def test_whatever_comes_is_a_command_or_told_why_not(payload: str) -> None:
    """Nothing else is ever raised."""
    with suppress(CommandError):
        command, args = parse(payload)
        assert isinstance(command, str)
        assert all(isinstance(arg, str) for arg in args)


@given(st.text(min_size=1, max_size=50), st.lists(st.text(max_size=50), max_size=16))
def test_a_command_in_json_arrives_as_it_is(command: str, args: list[str]) -> None:
    """With whatever characters."""
    assert parse(json.dumps({"command": command, "args": args})) == (command, args)


# What a served orchestrator cannot be brought to do: its insides, asked without a socket.


@pytest.fixture
def unserved() -> Iterator[Orchestrator]:
    with Orchestrator(Orchestrator.Config(max_workers=2)) as orchestrator:
        orchestrator.register_agent(Ticking, "a")
        yield orchestrator


def _ask(orchestrator: Orchestrator, command: str, reply: Any) -> None:
    handler = CommandHandler(
        orchestrator.reporting,
        Permissions(),
        AuditLog(None),
        start=orchestrator.starting,
        stop=orchestrator.stopping,
        shut_down=orchestrator.shutting_down,
    )
    handler.handle(ServiceMessage("cli", "COMMAND", command), Caller("cli", "socket"), reply)


def test_an_answer_that_is_too_large_is_replaced_by_one_that_says_so(unserved: Orchestrator) -> None:
    """With what to ask for instead."""
    answers: list[dict[str, Any]] = []

    def reply(answer: dict[str, Any]) -> None:
        answers.append(answer)
        if answer["status"] == "success":
            raise MessageTooLargeError("the line has 5000000 bytes, at most 4194304 are allowed")

    _ask(unserved, "ps", reply)
    (_, answer) = answers
    assert answer["error_code"] == "MESSAGE_TOO_LARGE"
    assert answer["message"].endswith("ask for less with --page-size or --last")


def test_an_answer_that_is_too_large_for_the_socket_is_an_answer(socket_dir: Path) -> None:
    """Nobody waits for ever for what could not be sent, and the next command is served."""
    names = {"registered": 2_000, "prefix": "💥" * 200}
    with serving(socket_dir) as serve, LineClient(serve(**names).socket) as client:
        answer = ask(client, "ps")
        assert (answer["status"], answer["error_code"]) == ("error", "MESSAGE_TOO_LARGE")
        assert "ask for less with --page-size" in answer["message"]
        assert len(ask(client, "ps", "--page-size", 10)["data"]["agents"]) == 10


def test_what_nobody_expected_stays_in_the_log(
    unserved: Orchestrator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer has an id to find it by, and nothing else of it."""

    def broken() -> dict[str, Any]:
        raise RuntimeError("secret")

    answers: list[dict[str, Any]] = []
    monkeypatch.setattr(unserved.reporting, "report", broken)
    _ask(unserved, "report", answers.append)
    (answer,) = answers
    assert answer["error_code"] == "INTERNAL"
    assert "secret" not in answer["message"]
    assert answer["message"].split()[-1] in caplog.text
    assert "secret" in caplog.text


def test_somebody_who_has_gone_hinders_nobody(unserved: Orchestrator, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged."""

    def gone(answer: dict[str, Any]) -> None:
        raise TrunklineError("the client that asked has gone")

    _ask(unserved, "ps", gone)
    assert "the client that asked has gone" in caplog.text


def test_a_result_that_is_too_large_is_shown_by_its_length(unserved: Orchestrator) -> None:
    """A small one as it is."""
    unserved.register_agent(Finishing, "small", returned={"n": 1})
    unserved.register_agent(Finishing, "large", returned="x" * 1_000_000)
    unserved.start()
    assert unserved.stop_agent("a") == "stopped"
    assert unserved.join(20)
    assert unserved.reporting.agent_status("small")["result"] == {"n": 1}
    status = unserved.reporting.agent_status("large")
    assert (status["result"], status["result_length"]) == (None, 1_000_002)


def test_every_command_is_served(unserved: Orchestrator) -> None:
    """What is allowed and what is there are the same; shutdown comes last."""
    for command in sorted(ALL_COMMANDS - {"shutdown", "start", "stop"}):
        answers: list[dict[str, Any]] = []
        _ask(unserved, command, answers.append)
        assert answers[0]["status"] == "success", command
