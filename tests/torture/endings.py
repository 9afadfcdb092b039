"""Endings: how the handlers of a torture run end, each way of the table in `docs/decisions.md`, and which message ends
how: a function of its name and the seed, so that it is the same in each life of a handler."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.torture.work import ACK_WAIT
from trunkline import AgentMessage, Backoff, DurableMessage, DurableSettings

HANDLED_LANE: Final = "u0"
PATTERN: Final = f"torture:*:{HANDLED_LANE}"
"""The handlers that end in all ways get one lane of each publisher."""
SETTINGS: Final = DurableSettings(ack_wait=ACK_WAIT, max_deliveries=8, backoff=Backoff(0.1, 1, 0.1))
"""Of these attempts, a message that is to be done in the end fails at most `MOST_FAILURES`: the others are for its
neighbours that end their process, and for what the run kills."""
MOST_FAILURES: Final = 2
CRASH_CODE: Final = 77

LEASE_EXPIRED: Final = "lease expired"
TORN_OFF: Final = frozenset(
    {
        LEASE_EXPIRED,
        "cancelled: the client closed",
        "the client closed before the message was settled",
        "the iterator was closed before the message was acked",
    }
)
"""What an attempt says that did not fail by itself: its process, the bus or its neighbour did."""


class HandlerError(Exception):
    """What a handler raises."""


class Way(StrEnum):
    """How a handler ends that does not return."""

    RAISED = "raised"
    LONE_SURROGATE = "raised with text that is no UTF-8"
    RAISED_CANCELLED = "raised CancelledError"
    AWAITED_CANCELLED = "awaited what was cancelled"
    CANCELLED_ITSELF = "cancelled its own task"
    CANCELLED_BY_ANOTHER = "its worker was cancelled"
    EXITED = "raised SystemExit"
    GENERATOR_EXIT = "raised GeneratorExit"
    NAKKED = "nakked with a delay"
    TERMINATED = "terminated"
    LAPSED = "held its event loop longer than the lease"
    INTERRUPTED = "raised KeyboardInterrupt"
    PROCESS_EXITED = "ended its process"
    PROCESS_KILLED = "killed its process"


ERRORS: Final = {
    Way.RAISED: "HandlerError: not now",
    Way.LONE_SURROGATE: r"HandlerError: bad \ud83d",
    Way.RAISED_CANCELLED: "CancelledError: not mine",
    Way.AWAITED_CANCELLED: "CancelledError",
    Way.CANCELLED_ITSELF: "CancelledError",
    Way.CANCELLED_BY_ANOTHER: "CancelledError",
    Way.EXITED: "SystemExit: 3",
    Way.GENERATOR_EXIT: "GeneratorExit",
    Way.NAKKED: "later",
    Way.TERMINATED: "never",
    Way.LAPSED: LEASE_EXPIRED,
    Way.INTERRUPTED: LEASE_EXPIRED,
    Way.PROCESS_EXITED: LEASE_EXPIRED,
    Way.PROCESS_KILLED: LEASE_EXPIRED,
}
"""What the attempt says of each."""

HARMLESS: Final = tuple(Way)[: list(Way).index(Way.TERMINATED)]
"""What a live handler may do too."""
IN_PROCESS: Final = (*HARMLESS, Way.TERMINATED, Way.LAPSED)
"""What hits no other process."""
OF_ITERATOR: Final = (Way.RAISED, Way.NAKKED, Way.TERMINATED, Way.LAPSED)
"""How the body of a loop over messages ends. What the task does that runs it is its own business."""
OF_PROCESS: Final = (Way.INTERRUPTED, Way.PROCESS_EXITED, Way.PROCESS_KILLED)

_FAILING, _FOR_EVER = 0.1, 0.1
"""Of all messages, so many fail; of these, so many whenever they are tried."""
_SHARES: Final = {Way.LAPSED: 0.02} | dict.fromkeys(OF_PROCESS, 0.01)
"""Of those that fail, so many in a way that takes a handler seconds; the other ways are equally often."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What is to become of a message in one group."""

    way: Way
    failures: int | None
    """How many of its attempts fail, from the first; None: all."""

    def fails(self, attempt: int) -> bool:
        """Whether this attempt fails."""
        return self.failures is None or attempt <= self.failures


def fate_of(seed: str, group: str, message_id: str, ways: Sequence[Way]) -> Fate | None:
    """How a message fails; None: it does not."""
    dice = random.Random(f"{seed} {group} {message_id}")
    if dice.random() >= _FAILING:
        return None
    slow = [each for each in ways if each in _SHARES]
    rest = (1 - sum(_SHARES[each] for each in slow)) / (len(ways) - len(slow))
    way = dice.choices(ways, [_SHARES.get(each, rest) for each in ways])[0]
    for_ever = way is Way.TERMINATED or dice.random() < _FOR_EVER
    return Fate(way, None if for_ever else dice.randint(1, MOST_FAILURES))


async def end(way: Way, message: AgentMessage) -> None:
    """Ends the handler that awaits this; returns where the handler is to return."""
    match way:
        case Way.AWAITED_CANCELLED | Way.CANCELLED_ITSELF | Way.CANCELLED_BY_ANOTHER:
            await _be_cancelled(way)
        case Way.NAKKED | Way.TERMINATED:
            if isinstance(message, DurableMessage):
                await (message.nak("later", delay=0.3) if way is Way.NAKKED else message.terminate("never"))
        case Way.LAPSED:
            time.sleep(2 * ACK_WAIT)  # noqa: ASYNC251  # that is what it is about
        case Way.PROCESS_EXITED:
            os._exit(CRASH_CODE)
        case Way.PROCESS_KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise _RAISED[way]()


async def _be_cancelled(way: Way) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    forever: asyncio.Future[None] = loop.create_future()
    match way:
        case Way.AWAITED_CANCELLED:
            loop.call_soon(forever.cancel)
        case Way.CANCELLED_BY_ANOTHER:
            loop.call_soon(task.cancel)
        case _:
            task.cancel()
    await forever


_RAISED: Final[dict[Way, Callable[[], BaseException]]] = {
    Way.RAISED: lambda: HandlerError("not now"),
    Way.LONE_SURROGATE: lambda: HandlerError("bad \ud83d"),
    Way.RAISED_CANCELLED: lambda: asyncio.CancelledError("not mine"),
    Way.EXITED: lambda: SystemExit(3),
    Way.GENERATOR_EXIT: GeneratorExit,
    Way.INTERRUPTED: KeyboardInterrupt,
}
