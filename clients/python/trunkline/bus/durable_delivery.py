"""DurableDelivery: what every bus promises of durable subscriptions as such, and of dead letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Unpack

from trunkline.bus.dead_letters import DeadLetter, DeadLetterChoice, DeadLetterFilter, Redriven, WhichDeadLetters
from trunkline.bus.inspection import BusStatistics, DurableInfo, SubscriptionInfo
from trunkline.bus.questions import Explanation, LeftOut, Stuck, Trace
from trunkline.bus.submitted_task import SubmittedTask, TaskInfo, TaskState
from trunkline.bus.waiting import CancelledMessages, MovedMessages, WaitingChoice, WaitingFilter, WaitingMessage
from trunkline.custom import unsupported
from trunkline.delivery import DurableChanges, DurableSettings, Start
from trunkline.errors import InvalidMessageError
from trunkline.models import AgentMessage

DeadLetters = AsyncGenerator[DeadLetter, None]


class DurableDelivery:
    """The part of a `MessageBus` that takes no messages: durable subscriptions by name, what they could not deliver,
    and what the bus says of itself.

    Every method raises `BusNotConnectedError` while not connected, and NotImplementedError in a bus of one's own that
    does without it."""

    async def create_durable(
        self, name: str, pattern: str, *, start: Start = "new", settings: DurableSettings | None = None
    ) -> bool:
        """Makes a durable subscription without taking from it; True if it was made, False if it was there.

        Raises:
            As `MessageBus.subscribe`.
        """
        raise unsupported(self, "create_durable()")

    async def delete_durable(self, name: str) -> None:
        """Deletes a durable subscription with everything that waits for it; its dead letters stay. Whoever takes from
        it is told.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
        """
        raise unsupported(self, "delete_durable()")

    async def seek_durable(self, name: str, start: Start) -> None:
        """Moves a durable subscription to another place, forwards or back. What is leased is given up.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
            CompactedError: what shall be moved to is not kept any more.
            InvalidMessageError: that is no place to start at.
        """
        raise unsupported(self, "seek_durable()")

    async def update_durable(self, name: str, **changes: Unpack[DurableChanges]) -> DurableInfo:
        """Changes settings of a durable subscription while it runs, and returns it as it is then. They are stored, and
        in effect for what is handed out next.

        A limit below what is leased now takes nothing away; nothing more is handed out until there is room again. From
        then on, whoever makes it again or subscribes with `settings` must say the new ones.

        Args:
            changes: the figures of `DurableSettings` and its `Backoff`: ack_wait, max_deliveries, backoff_initial,
                backoff_multiplier, backoff_maximum, max_leased, rate, burst, key_concurrency. None: as it is.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
            InvalidMessageError: nothing is to be changed, or a figure is out of bounds.
        """
        raise unsupported(self, "update_durable()")

    async def pause_durable(self, name: str) -> DurableInfo:
        """Hands nothing more out of a durable subscription until it is resumed, also after a restart; returns it as it
        is then. It keeps its place; what is leased can be settled as ever. Its subscribers are told (`on_paused`).

        Raises:
            SubscriptionNotFoundError: there is none of this name.
        """
        raise unsupported(self, "pause_durable()")

    async def resume_durable(self, name: str) -> DurableInfo:
        """Lets a paused durable subscription go on where it was; returns it as it is then.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
        """
        raise unsupported(self, "resume_durable()")

    async def durable(self, name: str) -> DurableInfo:
        """Returns one durable subscription as it is now.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
        """
        raise unsupported(self, "durable()")

    def waiting_messages(
        self, name: str, *, limit: int | None = None, brief: bool = False, **chosen: Unpack[WaitingChoice]
    ) -> AsyncGenerator[WaitingMessage, None]:
        """Yields what waits in a durable subscription and matches, in order of sequences; hands nothing out. They are
        fetched in pages as the iterator goes on.

        Args:
            limit: at most so many, from 1. Unset: all.
            brief: leave the messages' payloads out (reading one raises InvalidMessageError).
            chosen: the fields of a `WaitingFilter`: sequences, message_ids, channel, message_type, sender_id,
                ordering_key, since, before. None: all.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
            InvalidChannelError, InvalidMessageError: as `WaitingFilter.check`; a limit below 1.
        """
        wanted = WaitingFilter(**chosen).check()
        if limit is not None:
            _check_at_least_one(limit)
        return self._waiting_messages(name, wanted, limit, brief)

    def _waiting_messages(
        self, name: str, wanted: WaitingFilter, limit: int | None, brief: bool
    ) -> AsyncGenerator[WaitingMessage, None]:
        """As `waiting_messages`, checked."""
        raise unsupported(self, "waiting_messages()")

    async def cancel_waiting(self, name: str, which: WaitingFilter, *, dry_run: bool = False) -> CancelledMessages:
        """Cancels messages that wait in a durable subscription: it never hands them out, unless it is moved back to
        before them. Other subscriptions keep theirs; what is leased is left out and counted.

        Args:
            which: a filter; `WaitingFilter()` means all.
            dry_run: say what would be done, and do nothing.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
            InvalidChannelError, InvalidMessageError: as `WaitingFilter.check`.
        """
        raise unsupported(self, "cancel_waiting()")

    async def move_waiting(self, name: str, which: WaitingFilter, to: str, *, dry_run: bool = False) -> MovedMessages:
        """Moves messages that wait in a durable subscription to another one, behind what waits there, with their
        attempts; it may hand each out as often as a new one. No message is in both, or in none, whatever is killed.

        Args:
            which: a filter; `WaitingFilter()` means all.
            to: name of the other durable subscription. What its pattern does not match stays, and is counted.
            dry_run: say what would be done, and do nothing.

        Raises:
            As `cancel_waiting`; SubscriptionNotFoundError also for the other one, InvalidMessageError where it is the
            same one.
        """
        raise unsupported(self, "move_waiting()")

    def durables(self) -> AsyncGenerator[DurableInfo, None]:
        """Yields the durable subscriptions, in order of their names; fetched in pages as the iterator goes on."""
        raise unsupported(self, "durables()")

    def subscriptions(self, pattern: str | None = None) -> AsyncGenerator[SubscriptionInfo, None]:
        """Yields what is subscribed to now, live and durable, in the order in which it was registered.

        Args:
            pattern: only those of this very pattern. None: all.

        Raises:
            InvalidChannelError: the pattern is malformed.
        """
        raise unsupported(self, "subscriptions()")

    async def statistics(self) -> BusStatistics:
        """Returns what the bus counted since it started, and what it holds now."""
        raise unsupported(self, "statistics()")

    async def explain(self, channel: str, *, identity: str = "", max_others: int | None = None) -> Explanation:
        """Tells who would get a message that is published on a channel now, who would not and why, and which durable
        subscriptions would keep it. Nothing is published.

        Args:
            channel: no pattern.
            identity: whose rights are told. Empty: the caller's.
            max_others: how many that would not get it are told, 0 to 100. None: 10.

        Raises:
            InvalidChannelError, InvalidMessageError: the channel is malformed, a figure is out of bounds.
        """
        raise unsupported(self, "explain()")

    async def trace(self, message_id: str = "", *, correlation_id: str = "") -> Trace:
        """Tells what happened to a message, or to those of a correlation id, and where they are now.

        Raises:
            InvalidMessageError: neither id was given.
        """
        raise unsupported(self, "trace()")

    async def stuck(self, *, older_than: float | None = None, limit: int | None = None) -> Stuck:
        """Tells what does not move, and why: of each kind the worst.

        Args:
            older_than: seconds; what is younger is left out. None: 30.
            limit: how many of each kind, 1 to 1,000. None: 20.

        Raises:
            InvalidMessageError: a figure is out of bounds.
        """
        raise unsupported(self, "stuck()")

    def tail(
        self,
        pattern: str,
        *,
        max_rate: int | None = None,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        on_started: Callable[[], object] | None = None,
    ) -> AsyncGenerator[AgentMessage | LeftOut, None]:
        """Yields what is published live, and in between how much was left out, beyond the rate; ends with the budget.
        It answers nothing, and slows nobody.

        Args:
            pattern: channel or pattern.
            max_rate: messages a second, 1 to 100,000. None: 100.
            max_messages, max_bytes: the budget. None: 10,000 messages, 64 MiB.
            on_started: called when nothing that is published from then on is missed.

        Raises:
            InvalidChannelError, InvalidMessageError: the pattern is malformed, a figure is out of bounds.
        """
        raise unsupported(self, "tail()")

    def task(self, id: str) -> SubmittedTask:
        """Returns a task that was submitted, by its id; asked for when its methods are."""
        raise unsupported(self, "task()")

    def tasks(
        self, *, state: TaskState | None = None, channel: str | None = None, durable: str | None = None
    ) -> AsyncGenerator[TaskInfo, None]:
        """Yields the tasks that are kept, the newest first; fetched in pages as the iterator goes on.

        Args:
            state: only those that stand so. None: all.
            channel: only those of channels that this pattern matches. None: all.
            durable: only those of this durable subscription. None: all.

        Raises:
            InvalidChannelError, InvalidMessageError: that is no pattern, no name, no state.
        """
        raise unsupported(self, "tasks()")

    async def dead_letter(self, id: int) -> DeadLetter:
        """Returns one dead letter.

        Raises:
            DeadLetterNotFoundError: there is none with this id.
        """
        raise unsupported(self, "dead_letter()")

    async def count_dead_letters(self, **chosen: Unpack[DeadLetterChoice]) -> int:
        """Returns how many dead letters match; the arguments are those of `dead_letters`.

        Raises:
            InvalidChannelError, InvalidMessageError: as `DeadLetterFilter.check`.
        """
        return await self._count_dead_letters(DeadLetterFilter(**chosen).check())

    def dead_letters(
        self, *, limit: int | None = None, brief: bool = False, **chosen: Unpack[DeadLetterChoice]
    ) -> DeadLetters:
        """Yields the dead letters that match, the newest first; they are fetched in pages as the iterator goes on.

        Args:
            limit: at most so many, from 1. Unset: all.
            brief: leave the messages' payloads (reading one raises InvalidMessageError) and the attempts out.
            chosen: the fields of a `DeadLetterFilter`: durable, channel, reason, message_id, message_type, sender_id,
                error_contains, since, before. None: all.

        Raises:
            InvalidChannelError, InvalidMessageError: as `DeadLetterFilter.check`; a limit below 1.
        """
        wanted = DeadLetterFilter(**chosen).check()
        if limit is not None:
            _check_at_least_one(limit)
        return self._dead_letters(wanted, limit, brief)

    def _dead_letters(self, wanted: DeadLetterFilter, limit: int | None, brief: bool) -> DeadLetters:
        """As `dead_letters`, checked."""
        raise unsupported(self, "dead_letters()")

    async def _count_dead_letters(self, wanted: DeadLetterFilter) -> int:
        """As `count_dead_letters`, checked."""
        raise unsupported(self, "count_dead_letters()")

    async def redrive(
        self, which: WhichDeadLetters, *, dry_run: bool = False, force: bool = False, limit: int | None = None
    ) -> Redriven:
        """Gives dead letters back to the durable subscription that they come from, as new messages behind what waits
        there, without a TTL; they are dead letters no more. Other subscriptions do not get them again. The attempts go
        on counting, and it is allowed as many of them again.

        Args:
            which: ids, or a filter (`DeadLetterFilter()` means all; one that matches nothing is no error).
            dry_run: say what would be done, and do nothing.
            force: also what was redriven 3 times before; without it that stays, which is the guard against loops.
            limit: at most so many, the oldest first; 1 to 10,000, by default 1,000.

        Raises:
            DeadLetterNotFoundError: there is none with one of the ids; nothing was done.
            SubscriptionNotFoundError: the durable subscription of one that is named was deleted; nothing was done.
            InvalidChannelError, InvalidMessageError: no ids, a filter or a limit that cannot be.
        """
        raise unsupported(self, "redrive()")

    async def purge(self, which: WhichDeadLetters, *, dry_run: bool = False) -> int:
        """Removes dead letters for good; returns how many were, or would be, removed.

        Raises:
            As `redrive`.
        """
        raise unsupported(self, "purge()")


def _check_at_least_one(limit: int) -> None:
    if limit < 1:
        raise InvalidMessageError(
            f"limit is {limit}, it must be at least 1", details={"field": "limit", "value": str(limit)}
        )
