"""CircuitBreaker: when calls pass, by a clock that the test turns."""

from __future__ import annotations

import asyncio

import pytest

from tests.failures.calls import Calls
from tests.failures.clock import Clock
from trunkline import CircuitBreaker, CircuitOpenError, CircuitState, InvalidMessageError


def _state(breaker: CircuitBreaker) -> CircuitState:
    """Type checkers take a property for something that stays."""
    return breaker.state


async def _fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ConnectionError):
            await breaker.call(Calls(ConnectionError("refused")))


async def test_five_failures_in_a_row_open_it(breaker: CircuitBreaker) -> None:
    """A success between them starts the count anew."""
    await _fail(breaker, 4)
    assert await breaker.call(Calls()) == "done"
    await _fail(breaker, 4)
    assert _state(breaker) is CircuitState.CLOSED
    await _fail(breaker, 1)
    assert _state(breaker) is CircuitState.OPEN


async def test_while_it_is_open_nothing_is_called_and_the_error_says_why_and_how_long(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """The last failure stands behind it."""
    await _fail(breaker, 5)
    clock.now += 15
    calls = Calls()
    with pytest.raises(
        CircuitOpenError, match=r"open for 45 s more; it failed last with ConnectionError: refused"
    ) as e:
        await breaker.call(calls)
    assert calls.count == 0
    assert e.value.error_code == "CIRCUIT_OPEN"
    assert e.value.details == {"retry_after": 45.0, "last_error": "ConnectionError: refused"}
    assert isinstance(e.value.__cause__, ConnectionError)


async def test_after_a_minute_two_successes_close_it(breaker: CircuitBreaker, clock: Clock) -> None:
    """Not one."""
    await _fail(breaker, 5)
    clock.now += 60
    assert _state(breaker) is CircuitState.HALF_OPEN
    await breaker.call(Calls())
    assert _state(breaker) is CircuitState.HALF_OPEN
    await breaker.call(Calls())
    assert _state(breaker) is CircuitState.CLOSED


async def test_one_failed_trial_opens_it_for_another_minute(breaker: CircuitBreaker, clock: Clock) -> None:
    """Also after a successful one."""
    await _fail(breaker, 5)
    clock.now += 60
    await breaker.call(Calls())
    await _fail(breaker, 1)
    assert _state(breaker) is CircuitState.OPEN
    assert breaker.retry_after == 60


async def test_one_trial_at_a_time(breaker: CircuitBreaker, clock: Clock) -> None:
    """What is just back must not be overrun; `ready` waits for the trial's end."""
    await _fail(breaker, 5)
    clock.now += 60
    trial_goes_on = asyncio.Event()
    trial = asyncio.ensure_future(breaker.call(trial_goes_on.wait))
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpenError, match="until its trial call succeeds"):
        await breaker.call(Calls())
    waiting = asyncio.ensure_future(breaker.ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    trial_goes_on.set()
    await trial
    await waiting
    await breaker.call(Calls())
    assert _state(breaker) is CircuitState.CLOSED


async def test_a_cancelled_trial_counts_neither_way_and_lets_the_next_one_pass(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """It said nothing about what was called."""
    await _fail(breaker, 5)
    clock.now += 60
    trial = asyncio.ensure_future(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    trial.cancel()
    await asyncio.wait([trial])
    assert _state(breaker) is CircuitState.HALF_OPEN
    await breaker.call(Calls())
    await breaker.call(Calls())
    assert _state(breaker) is CircuitState.CLOSED


async def test_a_late_answer_of_a_call_from_before_changes_nothing(breaker: CircuitBreaker, clock: Clock) -> None:
    """It began while the circuit was closed, and ends while it is on trial."""
    goes_on = asyncio.Event()

    async def fail_late() -> None:
        await goes_on.wait()
        raise ConnectionError("late")

    late = asyncio.ensure_future(breaker.call(fail_late))
    await asyncio.sleep(0)
    await _fail(breaker, 5)
    clock.now += 60
    await breaker.call(Calls())
    goes_on.set()
    await asyncio.wait([late])
    assert _state(breaker) is CircuitState.HALF_OPEN


async def test_a_callers_own_fault_counts_neither_way(breaker: CircuitBreaker) -> None:
    """A refused message says nothing about what was called."""
    await _fail(breaker, 4)
    for _ in range(9):
        with pytest.raises(InvalidMessageError):
            await breaker.call(Calls(InvalidMessageError("no path")))
    assert _state(breaker) is CircuitState.CLOSED
    await _fail(breaker, 1)
    assert _state(breaker) is CircuitState.OPEN


async def test_ready_waits_until_it_is_half_open(breaker: CircuitBreaker, clock: Clock) -> None:
    """And not at all while it is closed."""
    await breaker.ready()
    assert clock.slept == []
    await _fail(breaker, 5)
    clock.now += 20
    await breaker.ready()
    assert clock.slept == [40.0]
    assert _state(breaker) is CircuitState.HALF_OPEN


def test_figures_out_of_bounds_are_refused_by_name() -> None:
    """When it is made."""
    with pytest.raises(ValueError, match="failure_threshold is 0, it must be between 1 and inf"):
        CircuitBreaker(0)
    with pytest.raises(ValueError, match="recovery_timeout is -1, it must be between 0 and 86400"):
        CircuitBreaker(recovery_timeout=-1)
    with pytest.raises(ValueError, match="success_threshold is 0"):
        CircuitBreaker(success_threshold=0)


def test_plain_functions_are_counted_as_coroutines_are(breaker: CircuitBreaker, clock: Clock) -> None:
    """`run`: five failures open it, then nothing is called; after its time, two successes close it."""

    def fail() -> None:
        raise ConnectionError("refused")

    assert breaker.run(divmod, 7, 2) == (3, 1)
    for _ in range(5):
        with pytest.raises(ConnectionError):
            breaker.run(fail)
    with pytest.raises(CircuitOpenError, match="ConnectionError: refused"):
        breaker.run(divmod, 7, 2)
    clock.now += 60
    assert _state(breaker) is CircuitState.HALF_OPEN
    breaker.run(divmod, 7, 2)
    assert _state(breaker) is CircuitState.HALF_OPEN
    breaker.run(divmod, 7, 2)
    assert _state(breaker) is CircuitState.CLOSED


def test_a_failed_trial_of_a_plain_function_opens_it_again(breaker: CircuitBreaker, clock: Clock) -> None:
    """One is enough; a refused argument is the caller's own, and counts for nothing."""

    def fail(error: Exception) -> None:
        raise error

    for _ in range(5):
        with pytest.raises(ConnectionError):
            breaker.run(fail, ConnectionError("refused"))
    clock.now += 60
    with pytest.raises(ConnectionError):
        breaker.run(fail, ConnectionError("again"))
    assert _state(breaker) is CircuitState.OPEN
    clock.now += 60
    with pytest.raises(InvalidMessageError):
        breaker.run(fail, InvalidMessageError("no"))
    assert _state(breaker) is CircuitState.HALF_OPEN
