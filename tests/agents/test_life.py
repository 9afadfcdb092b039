"""The life of an agent: start, validate, setup, ready, execute, close, in a thread and in a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.agents import crew
from tests.agents.patience import until
from trunkline.agents import AgentConfig, AgentStartError, BaseAgent
from trunkline.message_channel import MessageChannel

KINDS = ["thread", "process"]
WORKERS: dict[str, type[crew.Worker]] = {"thread": crew.ThreadWorker, "process": crew.ProcessWorker}
WAITERS: dict[str, type[crew.Waiter]] = {"thread": crew.ThreadWaiter, "process": crew.ProcessWaiter}
QUITTERS: dict[str, type[crew.Quitter]] = {"thread": crew.ThreadQuitter, "process": crew.ProcessQuitter}
CONFIG = AgentConfig(heartbeat_interval=30, heartbeat_timeout=60)


def started(
    channel: MessageChannel, kind: type[BaseAgent], name: str = "one", config: AgentConfig = CONFIG, **kwargs: Any
) -> BaseAgent:
    """An agent that speaks to a channel, and has begun."""
    agent = kind(channel.endpoint(name, local=kind.a_type == "thread"), name=name, config=config, **kwargs)
    agent.start()
    return agent


def said_until_closed(channel: MessageChannel) -> list[str]:
    """What an agent said of itself, to the end; heartbeats are of another test."""
    said: list[str] = []
    while "agent_close" not in said:
        message = channel.receive(20)
        assert message is not None, f"after {said}"
        assert (message.sender, message.type) == ("one", "STATUS")
        if message.payload != "heartbeat":
            said.append(message.payload)
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_a_life_goes_through_its_steps(kind: str, channel: MessageChannel, diary: Path) -> None:
    """Each is done once, in this order, and told."""
    agent = started(channel, WORKERS[kind], diary=str(diary))
    assert said_until_closed(channel) == ["agent_started", "agent_ready", "agent_close"]
    assert agent.join(20)
    assert not agent.is_alive()
    assert crew.read(diary) == ["setup", "execute", "on_close"]
    assert agent.agent_runner is not None
    assert agent.agent_runner.failure() is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("step", "done", "said"),
    [
        ("setup", ["setup", "on_close"], ["agent_started", "ERROR: ValueError: no setup today", "agent_close"]),
        (
            "execute",
            ["setup", "execute", "on_close"],
            ["agent_started", "agent_ready", "ERROR: ValueError: no execute today", "agent_close"],
        ),
        (
            "on_close",
            ["setup", "execute", "on_close"],
            ["agent_started", "agent_ready", "ERROR: ValueError: no on_close today", "agent_close"],
        ),
    ],
)
def test_an_exception_in_a_step_is_told_and_ends_the_life(
    kind: str, step: str, done: list[str], said: list[str], channel: MessageChannel, diary: Path
) -> None:
    """The agent closes all the same, as failed."""
    agent = started(channel, WORKERS[kind], diary=str(diary), fails_in=step)
    assert said_until_closed(channel) == said
    assert agent.join(20)
    assert crew.read(diary) == done
    assert agent.agent_runner is not None
    assert agent.agent_runner.failure() == {"thread": f"ValueError: no {step} today", "process": "exit code 1"}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_that_cannot_be_used_ends_the_life_before_setup(
    kind: str, channel: MessageChannel, diary: Path
) -> None:
    """Validation is a step of the life; what is wrong is told."""
    started(channel, WORKERS[kind], config=AgentConfig(stop_timeout=-1), diary=str(diary))
    said = said_until_closed(channel)
    assert (said[0], said[-1], len(said)) == ("agent_started", "agent_close", 3)
    assert said[1].startswith("ERROR: ConfigValidationError: the configuration of agent 'one' cannot be used")
    assert "stop_timeout: is -1, it must be a number above 0" in said[1]
    assert crew.read(diary) == ["on_close"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_is_asked_to_stop_ends(kind: str, channel: MessageChannel, diary: Path) -> None:
    """`stop_event` is set, `on_stop` is called in a thread of its own, `on_close` after it; asking twice is once."""
    agent = started(channel, WAITERS[kind], diary=str(diary))
    while (message := channel.receive(20)) is not None and message.payload != "agent_ready":
        pass
    assert agent.is_alive()
    assert not agent.join(0)
    until(lambda: crew.read(diary) == [f"execute {agent.pid}"])
    agent.stop()
    agent.stop()
    assert said_until_closed(channel) == ['RESULT:"stopped"', "agent_close"]
    assert agent.join(20)
    pid = agent.pid
    assert crew.read(diary) == [f"execute {pid}", "on_stop stop one", "on_close"]
    assert (pid is None) == (kind == "thread")


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_was_asked_to_stop_before_it_was_ready_does_no_work(
    kind: str, channel: MessageChannel, diary: Path
) -> None:
    """It closes; it never says that it is ready."""
    agent = WORKERS[kind](channel.endpoint("one", local=kind == "thread"), name="one", config=CONFIG, diary=str(diary))
    runner = None
    if kind == "thread":
        agent.stop()
    agent.start()
    runner = agent.agent_runner
    agent.stop()  # a process has not even begun to import by now
    assert said_until_closed(channel) == ["agent_started", "agent_close"]
    assert agent.join(20)
    assert crew.read(diary) == ["on_close"]
    assert runner is not None
    assert runner.failure() is None


def test_an_agent_whose_owner_goes_before_it_is_ready_is_stopped(channel: MessageChannel, diary: Path) -> None:
    """It has not failed, and does no work for nobody."""

    class Left(crew.ThreadWorker):
        def setup(self) -> None:
            super().setup()
            channel.close()

    agent = started(channel, Left, diary=str(diary))
    assert agent.join(20)
    assert crew.read(diary) == ["setup", "on_close"]
    assert agent.failure is None
    assert agent.stop_event.is_set()


@pytest.mark.parametrize("kind", KINDS)
def test_what_execute_returns_is_told_as_json(kind: str, channel: MessageChannel, diary: Path) -> None:
    """As one message, exactly."""
    result = {"ä": [1, 2.5, None], "nested": {"x": "\n"}}
    started(channel, WORKERS[kind], diary=str(diary), returns=result)
    told = said_until_closed(channel)[2]
    assert told.startswith("RESULT:")
    assert json.loads(told.removeprefix("RESULT:")) == result


@pytest.mark.parametrize(
    "returned", [{1, 2}, float("nan"), {"deep": [float("-inf")]}, (1, 2), {1: 2}, b"bytes", ["bad \ud83d"]], ids=repr
)
def test_what_execute_returns_must_be_json(returned: object, channel: MessageChannel, diary: Path) -> None:
    """Else the agent fails, because somebody waits for that result in vain, or would get something else."""
    started(channel, crew.ThreadWorker, diary=str(diary), returns=returned)
    assert "ERROR: AgentError: the result of agent 'one' is no JSON" in said_until_closed(channel)[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("how", "error"), [(0, None), (None, None), (3, "SystemExit: 3"), ("enough", "enough")])
def test_sys_exit_in_an_agent_ends_it(kind: str, how: object, error: str | None, channel: MessageChannel) -> None:
    """With a status other than 0 it has failed, as a program has."""
    agent = started(channel, QUITTERS[kind], how=how)
    said = said_until_closed(channel)
    assert said[:2] == ["agent_started", "agent_ready"]
    assert agent.join(20)
    assert agent.agent_runner is not None
    if error is None:
        assert said[2:] == ["agent_close"]
        assert agent.agent_runner.failure() is None
    else:
        assert error in said[2]
        assert agent.agent_runner.failure() is not None


def test_a_process_that_leaves_without_a_word_has_failed(channel: MessageChannel) -> None:
    """os._exit: nothing is told, the exit code stays."""
    agent = started(channel, crew.ProcessQuitter, how="abruptly")
    assert agent.join(20)
    assert agent.agent_runner is not None
    assert agent.agent_runner.failure() == "exit code 3"
    assert not agent.is_alive()


def test_one_object_has_one_life(channel: MessageChannel, diary: Path) -> None:
    """A second start is refused, also after the end."""
    agent = started(channel, crew.ThreadWorker, diary=str(diary))
    with pytest.raises(AgentStartError, match="agent 'one' was started already"):
        agent.start()
    assert agent.join(20)
    with pytest.raises(AgentStartError):
        agent.start()


def test_what_cannot_be_handed_to_a_process_is_refused_at_start() -> None:
    """With the reason; nothing is left behind that runs."""
    agent = crew.Unpicklable(name="held")
    with pytest.raises(AgentStartError, match=r"agent 'held' cannot be handed to a process: .*pickle"):
        agent.start()
    assert not agent.is_alive()
    assert agent.join(0)


def test_heartbeats_come_by_themselves_while_it_works(channel: MessageChannel, diary: Path) -> None:
    """At its interval, also while `execute` is busy; none after its end."""
    config = AgentConfig(heartbeat_interval=0.02, heartbeat_timeout=5)
    agent = started(channel, crew.ProcessWaiter, config=config, diary=str(diary))
    for _ in range(5):
        while (message := channel.receive(20)) is not None and message.payload != "heartbeat":
            pass
        assert message is not None
    agent.stop()
    said_until_closed(channel)
    assert agent.join(20)
    assert channel.receive(0) is None


def test_a_message_reaches_an_agent_and_its_answer_comes_back(channel: MessageChannel) -> None:
    """By its own end of the channel, which nobody else reads."""
    from trunkline.message_channel import ServiceMessage

    agent = started(channel, crew.Answerer)
    channel.send("one", ServiceMessage("orchestrator", "COMMAND", "are you there?"))
    while (message := channel.receive(20)) is not None and message.payload != "are you there?":
        pass
    assert message is not None
    agent.stop()
    assert agent.join(20)


def test_an_agent_is_a_context(diary: Path) -> None:
    """It is started, and asked to end at the block's end."""
    with crew.ThreadWaiter(diary=str(diary)) as agent:
        assert agent.is_alive()
        assert agent.state_events.ready_event.wait(20)
    assert not agent.is_alive()


def test_an_agent_that_is_stopped_in_the_moment_in_which_it_ends_ends(diary: Path) -> None:
    """Whichever comes first: it closes, and nothing fails."""
    for _ in range(200):
        agent = crew.ThreadWorker(diary=str(diary))
        agent.start()
        agent.stop()
        assert agent.join(20)
        assert agent.failure is None
        assert agent.state_events.close_event.is_set()
