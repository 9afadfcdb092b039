"""Steps that are tried again, counted by a breaker, or take too long."""

from __future__ import annotations

import threading
from typing import Any

from trunkline import CircuitBreaker, RetryPolicy
from trunkline.agents import AgentConfig, BaseThreadAgent, LoopingConfig, LoopingThreadAgent
from trunkline.message_channel import MessageChannel

RETRY = RetryPolicy(max_retries=3, initial_delay=0.01, jitter=0, retryable_codes=frozenset({"ConnectionError"}))


class Caller(BaseThreadAgent):
    """Fails as often as `failures` says, then returns how often it was called."""

    failures: list[Exception]

    def execute(self) -> int:
        self.calls = getattr(self, "calls", 0) + 1
        if self.failures:
            raise self.failures.pop(0)
        return self.calls


class Cycler(LoopingThreadAgent):
    """As `Caller`, in turns."""

    failures: list[Exception | None]

    def setup(self) -> None:
        self.result = 0

    def cycle(self) -> None:
        self.result += 1
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure


def lived(agent: BaseThreadAgent | LoopingThreadAgent) -> tuple[Any, str | None]:
    """A whole life: its result, and what it failed of."""
    agent.start()
    assert agent.join(20)
    return agent.result, agent.failure


def test_a_failed_step_is_tried_again_as_the_policy_says() -> None:
    """Twice wrong, the third time well."""
    agent = Caller(config=AgentConfig(retry_policy=RETRY), failures=[ConnectionError(), ConnectionError()])
    assert lived(agent) == (None, None)
    assert agent.calls == 3


def test_what_the_policy_does_not_name_is_not_tried_again() -> None:
    """The agent fails of it at once."""
    agent = Caller(config=AgentConfig(retry_policy=RETRY), failures=[ValueError("x")])
    assert lived(agent)[1] == "ValueError: x"
    assert agent.calls == 1


def test_without_a_policy_nothing_is_tried_again() -> None:
    """The default."""
    agent = Caller(failures=[ConnectionError("gone")])
    assert lived(agent)[1] == "ConnectionError: gone"


def test_each_turn_of_a_loop_has_its_own_tries() -> None:
    """Two turns that fail three times each are well in the end; four times is too often."""
    tries: list[Exception | None] = [*[ConnectionError()] * 3, None, *[ConnectionError()] * 3, None]
    agent = Cycler(config=LoopingConfig(retry_policy=RETRY, limit=2), failures=tries)
    assert lived(agent) == (8, None)
    agent = Cycler(config=LoopingConfig(retry_policy=RETRY, limit=2), failures=[ConnectionError("x")] * 4)
    assert lived(agent) == (4, "ConnectionError: x")


def test_an_agent_that_waits_for_its_next_try_stops_at_once() -> None:
    """It has not failed of that."""
    slow = RetryPolicy(max_retries=3, initial_delay=60, jitter=0, retryable_codes=RETRY.retryable_codes)
    agent = Caller(config=AgentConfig(retry_policy=slow), failures=[ConnectionError()])
    agent.start()
    assert agent.state_events.ready_event.wait(20)
    while not hasattr(agent, "calls"):
        threading.Event().wait(0.005)
    agent.stop()
    assert agent.join(20)
    assert agent.failure is None


def test_a_breaker_counts_steps_and_makes_the_next_one_wait() -> None:
    """Two failures open it; the third try waits until it lets a trial through, and that one succeeds."""

    def breaker() -> CircuitBreaker:
        return CircuitBreaker(failure_threshold=2, recovery_timeout=0.2, success_threshold=1)

    config = AgentConfig(retry_policy=RETRY, circuit_breaker=breaker)
    agent = Caller(config=config, failures=[ConnectionError(), ConnectionError()])
    assert lived(agent) == (None, None)
    assert agent.calls == 3


def test_each_agent_has_a_breaker_of_its_own() -> None:
    """The configuration makes it, in the agent; one agent's failures open nobody else's."""
    config = AgentConfig(circuit_breaker=lambda: CircuitBreaker(failure_threshold=1, recovery_timeout=60))
    assert lived(Caller(config=config, failures=[ConnectionError("a")]))[1] == "ConnectionError: a"
    assert lived(Caller(config=config, failures=[])) == (None, None)


def test_a_step_that_takes_too_long_stops_the_heartbeats() -> None:
    """Until it has ended; so a hanging step is noticed as a hanging process is."""
    with MessageChannel("thread") as channel:
        go_on = threading.Event()

        class Hanging(LoopingThreadAgent):
            def cycle(self) -> None:
                go_on.wait()

        config = LoopingConfig(heartbeat_interval=0.02, heartbeat_timeout=5, step_timeout=0.2, limit=1)
        agent = Hanging(channel.endpoint("one"), name="one", config=config)
        agent.start()
        heard = 0
        while channel.receive(1.0) is not None:
            heard += 1  # ends when nothing came for a second
        assert heard > 2
        go_on.set()
        said = [channel.receive(20) for _ in range(1)]
        assert said[0] is not None
        assert agent.join(20)


def test_a_policy_or_breaker_of_another_type_is_refused() -> None:
    """A breaker itself, where something that makes one is wanted, is named."""
    agent = Caller(config=AgentConfig(circuit_breaker=CircuitBreaker(), retry_policy=3), failures=[])
    failure = str(lived(agent)[1])
    assert "retry_policy: is 3, it must be a RetryPolicy" in failure
    assert "circuit_breaker: " in failure
    assert "it must make a CircuitBreaker when it is called" in failure
