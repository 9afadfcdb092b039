"""What people of ConductorAI rely on and no other test holds yet, on both pairs. `test_coverage` says which test holds
the rest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conductor.conftest import Pair
from tests.contract.inbox import Inbox
from trunkline import (
    AgentMessage,
    AgentState,
    AgentStatus,
    CircuitBreaker,
    MessageBus,
    MessageType,
    RetryPolicy,
    StateManager,
    TaskResult,
    WorkflowState,
    channels,
)

WELL_KNOWN = (
    channels.agent_channel("coding-01"),
    channels.BROADCAST,
    channels.phase_channel("development"),
    channels.workflow_channel("wf-abc"),
    channels.DEAD_LETTERS,
    channels.RESPONSE,
    channels.ERRORS,
)


def _update(sender: str, **payload: Any) -> AgentMessage:
    return AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id=sender, payload=payload)


def test_both_are_abstract_and_both_pairs_are_what_they_say(pair: Pair) -> None:
    """ABC conformance: an ABC cannot be made, and names what is missing; what is made is an instance of it."""
    assert isinstance(pair.new_bus(), MessageBus)
    assert isinstance(pair.new_state(), StateManager)
    with pytest.raises(TypeError, match=r"connect.*publish.*request.*subscribe"):
        MessageBus()  # type: ignore[abstract]  # that is the point
    with pytest.raises(TypeError, match=r"save_agent_state.*save_task_result.*save_workflow_state"):
        StateManager()  # type: ignore[abstract]


async def test_the_well_known_channels_do_not_meet(bus: MessageBus, name: str) -> None:
    """Channel isolation: what is published on one is given to its subscribers alone."""
    inboxes = {channel: Inbox() for channel in WELL_KNOWN}
    for channel, inbox in inboxes.items():
        await bus.subscribe(channel, inbox)
    for channel in WELL_KNOWN:
        await bus.publish(channel, _update(name, channel=channel))
    for channel, inbox in inboxes.items():
        while not (mine := [each.payload for each in inbox.messages if each.sender_id == name]):
            await inbox.have(len(inbox.messages) + 1)
        assert mine == [{"channel": channel}]


async def test_unsubscribe_leaves_other_channels_alone(bus: MessageBus, name: str) -> None:
    """Unsubscribe: all callbacks of that channel go, also of two, and those of another stay."""
    gone, gone_too, stays = Inbox(), Inbox(), Inbox()
    await bus.subscribe(f"{name}:a", gone)
    await bus.subscribe(f"{name}:a", gone_too)
    await bus.subscribe(f"{name}:b", stays)
    await bus.unsubscribe(f"{name}:a")
    await bus.publish(f"{name}:a", _update(name, n=1))
    await bus.publish(f"{name}:b", _update(name, n=2))
    await stays.have(1)
    assert (gone.numbers, gone_too.numbers, stays.numbers) == ([], [], [2])


def test_a_store_is_made_outside_an_event_loop(pair: Pair, name: str) -> None:
    """Constructed without arguments and outside an event loop; connect() binds it to the loop."""
    state = pair.new_state()
    assert not state.is_connected

    async def use() -> AgentState | None:
        async with state:
            await state.save_agent_state(AgentState(agent_id=name, agent_type="coding"))
            return await state.get_agent_state(name)

    found = asyncio.run(use())
    assert found is not None
    assert found.agent_id == name


async def test_several_agents_are_kept_apart(state: StateManager, name: str) -> None:
    """Agent states: saved, found, listed and deleted each by itself."""
    first = AgentState(agent_id=f"{name}-1", agent_type="coding")
    second = AgentState(agent_id=f"{name}-2", agent_type="review", status=AgentStatus.RUNNING)
    await state.save_agent_state(first)
    await state.save_agent_state(second)
    assert [await state.get_agent_state(each.agent_id) for each in (first, second)] == [first, second]
    assert [each for each in await state.list_agent_states() if each.agent_id.startswith(name)] == [first, second]
    assert await state.delete_agent_state(first.agent_id) is True
    assert await state.get_agent_state(first.agent_id) is None
    assert await state.get_agent_state(second.agent_id) == second


async def test_a_workflow_keeps_its_history(state: StateManager, name: str) -> None:
    """Rich data: an agent's finished tasks, a workflow's phases, agents, results and errors."""
    agent = AgentState(
        agent_id=name, agent_type="coding", completed_tasks=["t1", "t2"], failed_tasks=["t3"], error_count=1
    )
    result = TaskResult(task_id="t1", agent_id=name, status="completed", output_data={"files": [{"path": "a.py"}]})
    workflow = WorkflowState(
        workflow_id=name,
        phase_history=[{"phase": "development", "ended": datetime(2026, 1, 1, tzinfo=UTC).isoformat()}],
        agent_states={name: agent},
        task_results={"t1": result},
        error_log=[{"task_id": "t3", "error": "no answer"}],
    )
    await state.save_agent_state(agent)
    await state.save_workflow_state(workflow)
    await state.save_task_result(result)
    assert await state.get_workflow_state(name) == workflow
    assert await state.get_task_result("t1") == result
    found = await state.get_agent_state(name)
    assert found == agent
    assert (found.total_tasks, found.success_rate) == (3, 2 / 3)


def test_policies_have_the_figures_that_people_know() -> None:
    """Three retries after 1, 2 and 4 seconds, at most a minute; five failures, a minute, two successes."""
    policy, breaker = RetryPolicy(), CircuitBreaker()
    assert (policy.max_retries, policy.initial_delay, policy.max_delay) == (3, 1.0, 60.0)
    assert (policy.multiplier, policy.jitter) == (2.0, 0.1)
    assert (breaker.failure_threshold, breaker.recovery_timeout, breaker.success_threshold) == (5, 60.0, 2)
