"""Letters: the dead letters of the journal, found, given back and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from trunkline.channels import matches
from trunkline.delivery import check_limit
from trunkline.errors import DeadLetterNotFoundError, SubscriptionNotFoundError
from trunkline.limits import MAX_REDRIVES
from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.journal.commit_waiter import CommitWaiter
from trunklined.bus.journal.commits import Commits
from trunklined.bus.journal.counting import Counting
from trunklined.bus.journal.durables import Durables
from trunklined.bus.journal.pipeline import Pipeline
from trunklined.bus.journal.publication import Done, Publication
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.message_batch import MessageBatch, Redriven

CHUNK: Final = 128
"""Letters that are read at once, if they are small."""
GIVEN_BACK_AT_ONCE: Final = 512
"""Letters that one commit gives back, if they are small."""


@dataclass(slots=True)
class Redrive:
    """What a redrive gives back, or would give back."""

    ids: list[int]
    guarded: int = 0
    """How many stay since they were redriven too often."""
    orphaned: int = 0
    """How many stay since their durable subscription was deleted."""
    remaining: int = 0
    """How many that match are beyond the limit."""


class Letters:
    """Finds dead letters in the engine; gives them back as publications; removes them with a commit.

    Args:
        context: what is staged.
        sequencer: gives what is given back its place.
        durables: the subscriptions that dead letters come from.
        pipeline: stores what is given back, and knows which letters are leaving.
        commits: says whether anything can be committed.
        without_ttl: the encoded message without its TTL.
        counting: counts beside everything else.
    """

    def __init__(
        self,
        context: JournalContext,
        sequencer: Sequencer,
        durables: Durables,
        pipeline: Pipeline,
        commits: Commits,
        without_ttl: Callable[[bytes], bytes],
        counting: Counting,
    ) -> None:
        self._context = context
        self._sequencer = sequencer
        self._durables = durables
        self._pipeline = pipeline
        self._commits = commits
        self._without_ttl = without_ttl
        self._counting = counting

    async def count(self, query: DeadLetterQuery) -> int:
        """Returns how many match."""
        return await self._counting.run(lambda: self._context.engine.count_dead_letters(query))

    def below(self, query: DeadLetterQuery, id: int | None) -> Iterator[DeadLetter]:
        """Yields those that match, the newest first, below an id; None: from the newest. They are read as they are
        asked for."""
        while letters := self._context.engine.dead_letters(query, id, CHUNK, True):
            yield from letters
            id = letters[-1].id

    def find(self, id: int) -> DeadLetter:
        """Returns one. Raises DeadLetterNotFoundError."""
        found = next(self.below(DeadLetterQuery(ids=(id,)), None), None)
        if found is None:
            raise _unknown(id)
        return found

    async def check_ids(self, ids: Sequence[int]) -> None:
        """Raises DeadLetterNotFoundError where there is none with one of the ids, or it is about to go."""
        leaving = next((id for id in ids if id in self._pipeline.leaving), None)
        if leaving is not None:  # as good as gone
            raise _unknown(leaving)
        query = DeadLetterQuery(ids=tuple(ids))
        if await self.count(query) < len(ids):
            found: set[int] = set()
            above = 0
            while letters := self._above(query, above):
                found.update(letter.id for letter in letters)
                above = letters[-1].id
            raise _unknown(next(id for id in ids if id not in found))

    def on_channels(self, query: DeadLetterQuery, pattern: str) -> DeadLetterQuery:
        """Returns a query that also asks for the channels that a pattern matches."""
        known = self._context.engine.dead_letter_channels()
        return replace(query, channels=frozenset(name for name in known if matches(pattern, name)))

    async def redrive(
        self, query: DeadLetterQuery, *, limit: int | None = None, force: bool = False, dry_run: bool = False
    ) -> Redrive:
        """Gives dead letters back to the durable subscriptions that they come from, without a TTL, the oldest first.
        Returns what it gave back, when that is durable.

        Args:
            query: which; where it names ids, an orphan among them is an error.
            limit: at most so many, 1 to 10,000. None: 1,000.
            force: also what was redriven too often.
            dry_run: say what would be done, and do nothing.

        Raises:
            InvalidMessageError: the limit is out of bounds.
            SubscriptionNotFoundError: one that is named is an orphan; nothing was done.
            StorageError: nothing can be committed; what was given back before stays given back.
        """
        chosen = await self._choose(query, check_limit(limit), force=force)
        if dry_run:
            self._pipeline.leaving.difference_update(chosen.ids)
            return chosen
        ids, chosen.ids = chosen.ids, []
        try:
            for start in range(0, len(ids), GIVEN_BACK_AT_ONCE):
                several = DeadLetterQuery(ids=tuple(ids[start : start + GIVEN_BACK_AT_ONCE]))
                above = 0
                while letters := self._above(several, above):
                    above = letters[-1].id
                    self._commits.check_health()
                    kept = [each for each in letters if not self._is_orphan(each)]
                    waiter = CommitWaiter()
                    self._give_back(kept, waiter.done)
                    await waiter.wait()
                    chosen.ids += [letter.id for letter in kept]
        finally:
            self._pipeline.leaving.difference_update(ids)
        chosen.orphaned += len(ids) - len(chosen.ids)  # deleted meanwhile
        return chosen

    async def purge(self, query: DeadLetterQuery, *, dry_run: bool = False) -> int:
        """Removes dead letters for good; returns how many, when that is durable.

        Raises:
            StorageError: nothing can be committed; what was removed before stays removed.
        """
        if dry_run:
            return await self.count(query)
        purged = above = 0
        while letters := self._above(query, above):
            self._commits.check_health()
            above = letters[-1].id
            ids = [letter.id for letter in letters if letter.id not in self._pipeline.leaving]
            waiter = CommitWaiter()
            self._remove(ids, waiter.done)
            await waiter.wait()
            purged += len(ids)
        return purged

    def _above(self, query: DeadLetterQuery, id: int) -> list[DeadLetter]:
        return self._context.engine.dead_letters(query, id, CHUNK, False)

    async def _choose(self, query: DeadLetterQuery, limit: int, *, force: bool) -> Redrive:
        """Returns what to give back, which is thereby leaving. Others have their turn between two pages."""
        chosen = Redrive([])
        try:
            await self._choose_into(chosen, query, limit, force=force)
        except BaseException:
            self._pipeline.leaving.difference_update(chosen.ids)
            raise
        return chosen

    async def _choose_into(self, chosen: Redrive, query: DeadLetterQuery, limit: int, *, force: bool) -> None:
        looked_at = above = 0
        while len(chosen.ids) < limit and (letters := self._above(query, above)):
            await asyncio.sleep(0)
            for letter in letters:
                if len(chosen.ids) == limit:
                    break
                above = letter.id
                looked_at += 1
                if letter.id in self._pipeline.leaving:
                    continue
                if self._is_orphan(letter):
                    if query.ids is not None:
                        raise SubscriptionNotFoundError(
                            f"dead letter {letter.id} comes from the durable subscription {letter.durable!r} with the "
                            f"pattern {letter.pattern!r}, which was deleted",
                            details={"durable": letter.durable},
                        )
                    chosen.orphaned += 1
                elif letter.redrives >= MAX_REDRIVES and not force:
                    chosen.guarded += 1
                else:
                    chosen.ids.append(letter.id)
                    self._pipeline.leaving.add(letter.id)
        chosen.remaining = await self.count(query) - looked_at

    def _is_orphan(self, letter: DeadLetter) -> bool:
        """Whether the subscription that it comes from is no more, or another has its name."""
        return letter.durable not in self._durables or self._durables.find(letter.durable).pattern != letter.pattern

    def _give_back(self, letters: Sequence[DeadLetter], done: Done) -> None:
        publication = Publication("", done=done, time=self._sequencer.now())
        for letter in letters:
            message = self._without_ttl(letter.message)
            durable = self._durables.find(letter.durable)
            attempts = max((each.number for each in letter.attempts), default=0)
            publication.batches.append(
                MessageBatch(
                    letter.channel,
                    letter.level,
                    [message],
                    len(message),
                    None,
                    self._sequencer.allot(1),
                    letter.key,
                    publication.time,
                    Redriven(durable.id, attempts, letter.redrives + 1, letter.attempts),
                )
            )
            publication.redriven.append(letter.id)
        self._pipeline.add(publication)

    def _remove(self, ids: Sequence[int], done: Done) -> None:
        staging, pipeline = self._context.staging, self._pipeline
        staging.forgotten_letters.update(dict.fromkeys(ids))
        pipeline.leaving.update(ids)

        def removed() -> None:
            pipeline.dead_letters -= len(ids)
            pipeline.leaving.difference_update(ids)
            done(None)

        staging.after.append(removed)
        self._context.schedule()


def _unknown(id: int) -> DeadLetterNotFoundError:
    return DeadLetterNotFoundError(f"there is no dead letter {id}", details={"dead_letter_id": id})
