"""WaitingMessages: what waits in durable subscriptions, looked at, cancelled, and moved to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from trunkline.channels import matches
from trunkline.errors import InvalidMessageError
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.durable.waiting import Waiting, WaitingQuery, waiting_from
from trunklined.bus.journal.commit_waiter import CommitWaiter
from trunklined.bus.journal.commits import Commits
from trunklined.bus.journal.durables import Durables
from trunklined.bus.journal.pipeline import Pipeline
from trunklined.bus.journal.publication import Publication
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.message_batch import Redriven

T = TypeVar("T")

LOOKED_AT_PAGES: Final = 256
"""Pages that one call looks at for a list: some seconds on a busy machine."""
LEASED_AT_ONCE: Final = 16
"""Leased pending batches that are read at once."""


@dataclass(slots=True)
class Outcome:
    """What became of waiting messages, or would become of them."""

    done: int = 0
    leased: int = 0
    """How many that match are leased, and stay."""
    unmatched: int = 0
    """How many stay since where they are to go does not want their channel."""


class WaitingMessages:
    """Looks at a page at a time between two commits, so that what it sees is how it is, and others have their turn.

    Args:
        context: what is staged.
        sequencer: gives what is moved its place.
        durables: the subscriptions, by name.
        pipeline: does something between two commits; stores what is moved.
        commits: says whether anything can be committed.
        tasks: told of those whose messages are cancelled or moved.
    """

    def __init__(
        self,
        context: JournalContext,
        sequencer: Sequencer,
        durables: Durables,
        pipeline: Pipeline,
        commits: Commits,
        tasks: Tasks,
    ) -> None:
        self._context = context
        self._sequencer = sequencer
        self._durables = durables
        self._pipeline = pipeline
        self._commits = commits
        self._tasks = tasks

    async def look(
        self, name: str, query: WaitingQuery, start: int, most: int, pages: int = LOOKED_AT_PAGES
    ) -> tuple[list[Waiting], int | None]:
        """Returns what waits and matches from a sequence on: about so many, fewer where that takes long; and the
        sequence to go on at, None where there are no more.

        Raises:
            SubscriptionNotFoundError: there is none of that name, or it was deleted meanwhile.
        """
        found: list[Waiting] = []
        at: int | None = start
        for _ in range(pages):
            more, at = await self._between(lambda at=at or 0: self._page(name, query, at)[1:])  # type: ignore[misc]
            found += more
            if at is None or sum(len(each.batch.messages) for each in found) >= most:
                break
        return found, at

    async def cancel(self, name: str, query: WaitingQuery, *, dry_run: bool) -> Outcome:
        """Forgets what waits and matches; returns how many, when that is durable. Raises as `look`; StorageError:
        nothing can be committed; what was cancelled before stays so."""

        def cancel(durable: DurableSubscription, found: list[Waiting], outcome: Outcome) -> None:
            if found and not dry_run:
                durable.cancel(found)
                for each in found:
                    self._tasks.withdrawn(durable.id, range(each.batch.first_sequence, each.batch.end))

        return await self._each_page(name, query, cancel, dry_run)

    async def move(self, name: str, query: WaitingQuery, to: str, *, dry_run: bool) -> Outcome:
        """Moves what waits and matches to another durable subscription, behind what waits there; returns how many, when
        that is durable. Raises as `cancel`; InvalidMessageError: that is the same one."""
        if name == to:
            raise InvalidMessageError(
                f"to_durable is {to!r}, where they wait already", details={"field": "to_durable", "value": to}
            )
        self._durables.find(to)

        def move(durable: DurableSubscription, found: list[Waiting], outcome: Outcome) -> None:
            target = self._durables.find(to)
            stay = [each for each in found if not matches(target.pattern, each.batch.channel)]
            outcome.unmatched += _count(stay)
            found[:] = [each for each in found if matches(target.pattern, each.batch.channel)]
            if not found or dry_run:
                return
            durable.cancel(found)
            self._store_for(durable, target, found)

        return await self._each_page(name, query, move, dry_run)

    def _store_for(self, source: DurableSubscription, target: DurableSubscription, found: list[Waiting]) -> None:
        """Has messages of one durable subscription stored for another, with the commit that is gathered now."""
        publication = Publication("", time=self._sequencer.now(), stays=True)
        for each in found:
            batch, past = each.batch, each.pending or each.batch.redriven
            redriven = Redriven(target.id, each.attempts, past.redrives if past else 0, past.log if past else ())
            first = self._sequencer.allot(len(batch.messages))
            moved = replace(
                batch, first_sequence=first, time=publication.time, redriven=redriven, attempt=0, share=None
            )
            publication.batches += moved.rows()
            for offset in range(len(batch.messages)) if self._tasks else ():
                sequence = batch.first_sequence + offset
                self._tasks.relocate(source.id, sequence, target.id, target.name, first + offset)
        self._pipeline.add(publication)

    async def _each_page(
        self,
        name: str,
        query: WaitingQuery,
        handle: Callable[[DurableSubscription, list[Waiting], Outcome], None],
        dry_run: bool,
    ) -> Outcome:
        """Handles what waits and matches, a page with each commit; what comes meanwhile is left out."""
        outcome = Outcome()
        outcome.leased = sum([len(sequences) async for _, sequences in self.leased(name, query)])
        before = self._sequencer.last + 1
        at: int | None = 0

        def step(at: int) -> int | None:
            durable, found, go_on = self._page(name, query, at)
            found = [each for each in found if each.batch.first_sequence < before]
            handle(durable, found, outcome)
            outcome.done += _count(found)
            return go_on if go_on is not None and go_on < before else None

        while at is not None:
            if not dry_run:
                self._commits.check_health()
            at = await self._between(lambda at=at: step(at))  # type: ignore[misc]
        if not dry_run:
            waiter = CommitWaiter()
            self._context.staging.after.append(lambda: waiter.done(None))
            self._context.schedule()
            await waiter.wait()
        return outcome

    def _page(
        self, name: str, query: WaitingQuery, start: int
    ) -> tuple[DurableSubscription, list[Waiting], int | None]:
        durable = self._durables.find(name)
        found, go_on = waiting_from(durable.backlog, self._context, start, query)
        return durable, found, go_on

    async def leased(self, name: str, query: WaitingQuery) -> AsyncIterator[tuple[Waiting, list[int]]]:
        """Yields what matches and is leased now, each with those of its sequences that are. Raises as `look`."""
        backlog = self._durables.find(name).backlog
        leases = backlog.pending_messages.leases
        leased = [each for each in leases.pending() if query.next_from(each.sequence) is not None]
        for start in range(0, len(leased), LEASED_AT_ONCE):

            def step(start: int = start) -> list[tuple[Waiting, list[int]]]:
                found = [
                    Waiting(batch, pending, False)
                    for pending in leased[start : start + LEASED_AT_ONCE]
                    if backlog.pending_messages.is_here(pending) and pending.due is None
                    for batch in backlog.messages_of(pending)
                ]
                selected = query.select(found, self._context)
                return [
                    (each, [at for at in range(each.batch.first_sequence, each.batch.end) if leases.of(at) is not None])
                    for each in selected
                ]

            for each in await self._between(step):
                yield each

    async def _between(self, step: Callable[[], T]) -> T:
        """Does something between two commits, and returns what it returns."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def run() -> None:
            if answer.done():  # who asked is gone
                return
            try:
                answer.set_result(step())
            except Exception as error:  # noqa: BLE001  # it is raised where it is waited for
                answer.set_exception(error)

        self._pipeline.between_commits(run)
        return await answer


def _count(found: list[Waiting]) -> int:
    return sum(len(each.batch.messages) for each in found)
