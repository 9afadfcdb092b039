"""history and history-stats against a real orchestrator."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cli.conftest import Trunkline
from tests.cli.watching import watching
from tests.orchestrator.program import Agent, Serve

AGENTS: list[Agent] = [
    ("good", "Finishing", {}),
    ("bad", "Failing", {"complaint": "it hurts\n\x1b[31m\u202ebadly"}),
    ("calm", "Ticking", {}),
]

ENDED = {"good": "completed", "bad": "failed"}


def test_history_is_a_table_of_what_happened(serve: Serve, trunkline: Trunkline) -> None:
    """The oldest first; what agents say is harmless on a terminal."""
    serve(agents=AGENTS, start=["good", "bad"], until=ENDED)
    shown = trunkline("history").stdout
    titles = shown.splitlines()[3]
    assert titles.split() == ["SEQ", "TIME", "CATEGORY", "TYPE", "AGENT", "SEV", "DETAILS"]
    assert "ValueError: it hurts\\n\\x1b[31m\\u202ebadly" in shown
    assert "\x1b" not in shown
    sequences = [int(line.split()[0]) for line in shown.splitlines()[5:]]
    assert sequences == list(range(1, len(sequences) + 1))


def test_history_shows_what_is_asked_for(serve: Serve, trunkline: Trunkline) -> None:
    """By agent, by type in any case, after a sequence, the last ones; as a table and as the wire's answer."""
    serve(agents=AGENTS, start=["good", "bad"], until=ENDED)
    data = json.loads(trunkline("history", "--agent", "bad", "--format", "json").stdout)["data"]
    assert {event["agent"] for event in data["events"]} == {"bad"}
    assert data["count"] == len(data["events"]) > 2
    assert data["filters"] == {"agent": "bad"}
    (error,) = json.loads(trunkline("history", "--type", "agent_error", "--format", "json").stdout)["data"]["events"]
    assert (error["agent"], error["severity"]) == ("bad", "ERROR")
    after = ("history", "--after-seq", str(error["seq"] - 1), "--format", "json")
    assert json.loads(trunkline(*after).stdout)["data"]["events"][0] == error
    last = trunkline("history", "--last", "2", "--agent", "bad").stdout
    assert last.startswith("Event History (2 events)\nFilters: last=2, agent=bad\n")
    assert trunkline("history", "--type", "NOTHING").stdout.endswith("\nNo events found\n")


def test_a_long_history_is_complete(serve: Serve, trunkline: Trunkline) -> None:
    """It is asked for in pieces, and is one answer."""
    serve(
        agents=[(f"a{number}", "Finishing", {}) for number in range(100)],
        start=[f"a{n}" for n in range(100)],
        until={f"a{n}": "completed" for n in range(100)},
    )
    data = json.loads(trunkline("history", "--format", "json").stdout)["data"]
    assert data["count"] == data["last_seq"] > 400
    assert [event["seq"] for event in data["events"]] == list(range(1, data["count"] + 1))
    assert data["filters"] == {}


def test_history_stats_count(serve: Serve, trunkline: Trunkline) -> None:
    """By type, the most frequent first; of one agent where it is named."""
    serve(agents=AGENTS, start=["good", "bad"], until=ENDED)
    data = json.loads(trunkline("history-stats", "--format", "json").stdout)["data"]
    assert data["statistics"]["by_type"]["AGENT_ERROR"] == 1
    assert sum(data["statistics"]["by_type"].values()) == data["capacity_info"]["total_events"]
    shown = trunkline("history-stats", "--agent", "good").stdout
    assert "AGENT_RESULT               1\n" in shown
    assert "AGENT_ERROR" not in shown


def test_history_is_followed(serve: Serve, trunkline: Trunkline, environment: dict[str, str]) -> None:
    """It begins with what was, and goes on with what comes, each event once; Ctrl-C ends it without a traceback."""
    serve(agents=AGENTS, start=["good"], until={"good": "completed"})
    with watching(environment, "--format", "json", "--agent", "calm", "--last", "5") as (watcher, stdout, stderr):
        trunkline("start", "calm")
        trunkline("stop", "calm")
        told: list[str] = []
        while told.count("COMMAND_EXECUTED") < 2:
            told.append(json.loads(stdout.readline())["type"])
        assert len(told) == len(set(told)) + 1, told
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(20) == 130
        assert "Traceback" not in stderr.read()


@pytest.mark.parametrize(("before", "then"), [(["good", "bad"], ["calm"]), (["calm"], ["good", "bad", "calm"])])
def test_an_orchestrator_that_comes_back_is_followed_again(
    serve: Serve, environment: dict[str, str], before: list[str], then: list[str]
) -> None:
    """Said on standard error; its sequences begin anew, and nothing of it is missed, whether it has more events by then
    than it had before, or fewer."""
    first = serve(agents=AGENTS, start=before, until=ENDED if "bad" in before else None)
    with watching(environment, "--last", "1") as (_, stdout, stderr):
        assert stdout.readline()
        first.process.kill()
        assert "connection lost" in stderr.readline()
        serve(agents=AGENTS, start=then)
        assert "connected again" in stderr.readline()
        assert any(line.split()[0] == "1" for line in iter(stdout.readline, ""))


def test_bad_options_are_wrong_usage(trunkline: Trunkline) -> None:
    """Before anybody is asked."""
    for wrong in (("--last", "0"), ("--last", "10001"), ("--after-seq", "-1"), ("--follow", "--interval", "0")):
        said = trunkline("history", *wrong)
        assert said.returncode == 2
        assert "Error: " in said.stderr


def test_following_nobody_fails_at_once(trunkline: Trunkline) -> None:
    """Who is not there at the start is an error; later it may come back."""
    said = trunkline("history", "--follow", "--socket", "/nowhere/o.sock")
    assert said.returncode == 5
    assert "there is no socket /nowhere/o.sock" in said.stderr
