"""RetryPolicy: what is tried again, how often, how late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.failures.calls import Calls
from tests.failures.clock import Clock
from trunkline import InvalidMessageError, RequestTimeoutError, RetryPolicy


async def test_a_retryable_error_is_tried_again_later_each_time(policy: RetryPolicy, clock: Clock) -> None:
    """Three times after 1, 2 and 4 seconds, and the result is that of the last."""
    calls = Calls(RequestTimeoutError("slow"), ConnectionRefusedError("down"), TimeoutError())
    assert await policy.call(calls) == "done"
    assert (calls.count, clock.slept) == (4, [1.0, 2.0, 4.0])


async def test_after_the_last_retry_the_last_error_is_raised_as_it_is(policy: RetryPolicy) -> None:
    """No other class is wrapped around it."""
    calls = Calls(*(TimeoutError(f"no. {number}") for number in range(1, 6)))
    with pytest.raises(TimeoutError, match=r"no\. 4"):
        await policy.call(calls)
    assert calls.count == 4


async def test_any_other_error_is_raised_at_once(policy: RetryPolicy, clock: Clock) -> None:
    """An error of a kind that nobody named may not be repeated: the call may have cost money."""
    for error in (InvalidMessageError("no path"), ValueError("odd"), RuntimeError("bug")):
        calls = Calls(error)
        with pytest.raises(type(error)):
            await policy.call(calls)
        assert calls.count == 1
    assert clock.slept == []


async def test_codes_name_error_codes_and_classes(clock: Clock) -> None:
    """A class stands for its subclasses too."""
    policy = RetryPolicy(retryable_codes=frozenset({"INVALID_MESSAGE", "LookupError"}), sleep=clock.sleep)
    assert policy.is_retryable(InvalidMessageError("x"))
    assert policy.is_retryable(KeyError("x"))
    assert not policy.is_retryable(TimeoutError())


async def test_a_cancellation_is_never_retried(clock: Clock) -> None:
    """Whatever the codes say: it is no error."""
    policy = RetryPolicy(retryable_codes=frozenset({"CancelledError", "BaseException", "Exception"}), sleep=clock.sleep)
    calls = Calls(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await policy.call(calls)
    assert calls.count == 1


async def test_calls_at_the_same_time_do_not_meet(policy: RetryPolicy, clock: Clock) -> None:
    """One policy may serve a whole program: each call has its own attempts."""
    calls = [Calls(*(TimeoutError() for _ in range(number))) for number in range(4)]
    assert await asyncio.gather(*(policy.call(each) for each in calls)) == ["done"] * 4
    assert [each.count for each in calls] == [1, 2, 3, 4]
    assert sorted(clock.slept) == [1.0, 1.0, 1.0, 2.0, 2.0, 4.0]


def test_code_without_an_event_loop_waits_in_its_thread() -> None:
    """By the same rules."""
    paused: list[float] = []
    policy = RetryPolicy(max_retries=2, pause=paused.append, random=lambda: 0.0)
    errors: list[Exception] = [TimeoutError(), ConnectionError()]

    def work(result: str) -> str:
        if errors:
            raise errors.pop()
        return result

    assert policy.run(work, "done") == "done"
    assert paused == [1.0, 2.0]
    errors += [TimeoutError("last"), TimeoutError(), TimeoutError()]
    with pytest.raises(TimeoutError, match="last"):
        policy.run(work, "done")


def test_delays_grow_to_the_maximum_and_jitter_adds_a_tenth_at_the_most() -> None:
    """The maximum holds with jitter too, and no attempt's number is too large."""
    assert [RetryPolicy(random=lambda: 0.0).delay(attempt) for attempt in (1, 2, 6, 7, 5_000)] == [1, 2, 32, 60, 60]
    assert [RetryPolicy(random=lambda: 1.0).delay(attempt) for attempt in (1, 2, 7)] == pytest.approx([1.1, 2.2, 60])


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"max_retries": -1}, "max_retries is -1, it must be between 0 and 1000"),
        ({"initial_delay": 61.0}, "initial_delay is 61, it must be between 0 and 60"),
        ({"max_delay": float("nan")}, "max_delay is nan"),
        ({"multiplier": 0.5}, "multiplier is 0.5, it must be between 1 and inf"),
        ({"jitter": 1.5}, "jitter is 1.5, it must be between 0 and 1"),
    ],
)
def test_figures_out_of_bounds_are_refused_by_name(figures: dict[str, Any], told: str) -> None:
    """When the policy is made, not when it is needed."""
    with pytest.raises(ValueError, match=told):
        RetryPolicy(**figures)
