"""report against a real orchestrator: Markdown for a colleague, what is wrong first."""

from __future__ import annotations

import json

from tests.cli.conftest import Trunkline
from tests.orchestrator.program import Agent, Serve

AGENTS: list[Agent] = [
    ("calm", "Ticking", {}),
    ("bad", "Failing", {"complaint": "a | b\n<script>\x1b[31m [x](http://evil)"}),
    ("needy", "Ticking", {"dependencies": ["bad"]}),
    ("waits", "Ticking", {}),
]


def test_what_is_wrong_comes_first(serve: Serve, trunkline: Trunkline) -> None:
    """Then how it fares, its agents with the bad ones first, and the last events."""
    serve(
        agents=AGENTS,
        start=["bad", "needy", "calm", "waits"],
        config={"max_workers": 1},
        until={"bad": "failed", "calm": "ready", "needy": "failed", "waits": "waiting"},
    )
    said = trunkline("report")
    assert said.returncode == 0
    headings = [line for line in said.stdout.splitlines() if line.startswith("#")]
    assert headings[0].startswith("# Orchestrator orchestrator on ")
    assert headings[1:] == [
        *("## What is wrong", "### bad: failed", "### needy: failed", "## Waiting for their turn"),
        *("## The orchestrator", "## Agents", "## Last events"),
    ]
    assert "**2 of 4 agents need attention: 2 failed, 1 ready, 1 waiting.**" in said.stdout
    assert "- it needs 'bad', which is failed" in said.stdout


def test_what_agents_say_stays_text(serve: Serve, trunkline: Trunkline) -> None:
    """No control characters, no HTML, no link, no cell more."""
    serve(agents=AGENTS, start=["bad"], until={"bad": "failed"})
    shown = trunkline("report").stdout
    assert "\x1b" not in shown
    assert "ValueError: a | b \\<script>\\x1b\\[31m \\[x](http://evil)" in shown
    table = [line for line in shown.splitlines() if line.startswith("| ") and "AGENT_ERROR" in line]
    assert table[0].count(" | ") == 4
    assert "a \\| b" in table[0]


def test_without_trouble_it_says_so(serve: Serve, trunkline: Trunkline) -> None:
    """In one sentence; and where there are no agents at all."""
    serve(agents=AGENTS, start=["calm"])
    shown = trunkline("report").stdout
    assert "**Nothing is wrong with the 4 agents: 3 registered, 1 ready.**" in shown
    assert "What is wrong" not in shown
    serve(socket="other.sock")
    assert "**No agents are registered.**" in trunkline("report").stdout


def test_who_had_errors_and_goes_on_is_told_apart(serve: Serve, trunkline: Trunkline) -> None:
    """Not as a problem, and not as nothing."""
    serve(agents=[("moody", "FailingOnce", {"restart": "on_failure"})], start=["moody"], until={"moody": "ready"})
    shown = trunkline("report").stdout
    assert "**Nothing is wrong with the agent: 1 ready.**" in shown
    assert "## Had errors, and goes on" in shown
    assert "ValueError: the first time" in shown


def test_for_scripts_it_is_the_answer_as_it_stands_on_the_socket(serve: Serve, trunkline: Trunkline) -> None:
    """With everything that the text has."""
    serve(agents=AGENTS, start=["bad", "calm"], until={"bad": "failed"})
    data = json.loads(trunkline("report", "--format", "json").stdout)["data"]
    assert [problem["agent"] for problem in data["problems"]] == ["bad"]
    assert data["problems"][0]["recent_errors"][0]["error"].startswith("ValueError: a | b\n<script>")
    assert [agent["name"] for agent in data["agents"]] == ["bad", "calm", "needy", "waits"]
    assert data["agents_not_listed"] == 0
    assert data["dependencies"] == {"needy": ["bad"]}


def test_ten_thousand_agents_fit_into_it(serve: Serve, trunkline: Trunkline) -> None:
    """The ones with problems are listed; of the others, how many there are."""
    serve(registered=10_000, agents=[("bad", "Failing", {})], start=["bad"], until={"bad": "failed"})
    shown = trunkline("report").stdout
    assert "**1 of 10,001 agents needs attention: 10,000 registered, 1 failed.**" in shown
    assert "9,851 agents more are not listed; `trunkline ps` lists all." in shown
    assert len(shown.splitlines()) < 300
