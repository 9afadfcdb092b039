"""Durables: the durable subscriptions that there are, and who of them wants what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from trunkline.channels import check_name, check_pattern
from trunkline.delivery import DurableSettings
from trunkline.errors import (
    InvalidMessageError,
    NoRespondersError,
    OverloadedError,
    SubscriptionExistsError,
    SubscriptionNotFoundError,
)
from trunkline.priority import PRIORITY_LEVELS
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.journal.channels import Channels
from trunklined.bus.journal.publication import Done
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.pattern_index import PatternIndex
from trunklined.bus.records import BatchHeader, DurableRow


class Durables:
    """What is made, moved or deleted here is staged, and told when it is durable.

    Args:
        context: what all of them work with.
        channels: what the journal holds.
        check_health: raises the error of the last commit, if it failed: what needs one need not begin.
        sequencer: knows the last sequence that was given out.
        count: has it counted how much waits for a subscription that was made or moved.
        request_turn: gives a subscription its turn: it may have something to hand out.
        maximum: how many there may be.
        tasks: the tasks that they do.
    """

    def __init__(
        self,
        context: JournalContext,
        channels: Channels,
        check_health: Callable[[], None],
        sequencer: Sequencer,
        count: Callable[[DurableSubscription, Done], None],
        request_turn: Callable[[DurableSubscription], None],
        maximum: int,
        tasks: Tasks,
    ) -> None:
        self._context = context
        self._channels = channels
        self._check_health = check_health
        self._sequencer = sequencer
        self._count = count
        self._request_turn = request_turn
        self._maximum = maximum
        self._tasks = tasks
        self._by_name: dict[str, DurableSubscription] = {}
        self._by_id: dict[int, DurableSubscription] = {}
        self._index: PatternIndex[DurableSubscription] = PatternIndex()
        self.last = 0
        """The last number that was given out."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[DurableSubscription]:
        """In order of their names."""
        return iter([self._by_name[name] for name in sorted(self._by_name)])

    def load(self, rows: Sequence[DurableRow], last: int) -> Iterator[None]:
        """Takes up those that were kept, one at a time; `last` is the last number that was given out, which is never
        given again."""
        self.last = last
        for row in rows:
            self._add(row, bounded=False).load()
            yield

    def create(
        self, name: str, pattern: str, position: int | None, settings: DurableSettings, *, given: bool, done: Done
    ) -> tuple[DurableSubscription, bool]:
        """Makes one, or finds it; returns it, and whether it was made. `done` is told when it is durable.

        Args:
            position: first sequence that it looks at; None: what comes from now on.
            given: whether the settings were said, and must be those of one that is there.

        Raises:
            InvalidChannelError: the name or the pattern is malformed.
            SubscriptionExistsError: the name has another pattern or other settings.
            OverloadedError: too many durable subscriptions, or patterns that cost too much; see `Interest.add`.
        """
        check_name("durable", name)
        check_pattern(pattern)
        found = self._by_name.get(name)
        if found is not None:
            _check_same(found, pattern, settings if given else None)
            if found.backlog.is_counted:
                self._tell(done)
            else:
                self._count(found, done)
            return found, False
        if len(self) >= self._maximum:
            raise OverloadedError(
                f"{len(self)} durable subscriptions exist already",
                details={"limit": "max_durable_subscriptions", "maximum": self._maximum},
            )
        self._check_health()
        self.last += 1
        end = self._sequencer.last + 1
        row = DurableRow(
            id=self.last,
            name=name,
            pattern=pattern,
            created_at=self._context.clock(),
            positions=(end if position is None else position,) * PRIORITY_LEVELS,
            waiting=0,
            acked=0,
            redelivered=0,
            dead_lettered=0,
            counted_to=end,
            paused=False,
            **settings.figures(),  # type: ignore[arg-type]  # each column by its name
        )
        durable = self._add(row, bounded=True)
        if position is None or position == end:
            durable.backlog.stage()
            self._tell(done)
        else:
            durable.wait_for_count(position)
            self._count(durable, done)
        return durable, True

    def find(self, name: str) -> DurableSubscription:
        """One by its name. Raises SubscriptionNotFoundError."""
        durable = self._by_name.get(name)
        if durable is None:
            raise SubscriptionNotFoundError(f"there is no durable subscription {name!r}", details={"durable": name})
        return durable

    def count_matching(self, channel: str) -> int:
        """Returns how many have a pattern that matches a channel."""
        return len(self._index.match(channel))

    def doing(self, channel: str, name: str) -> DurableSubscription:
        """Returns the one that does a task on a channel.

        Args:
            name: which; empty: the only one that matches.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
            InvalidMessageError: it does not match the channel; or none is named, and several do.
            NoRespondersError: none matches.
        """
        matching = self._index.match(channel)
        if name:
            named = self.find(name)
            if named not in matching:
                raise InvalidMessageError(
                    f"durable subscription {name!r} has the pattern {named.pattern!r}, and does not get {channel!r}",
                    details={"field": "durable", "value": name, "channel": channel},
                )
            return named
        if not matching:
            raise NoRespondersError(
                f"no durable subscription matches {channel!r}: nobody would do it", details={"channel": channel}
            )
        if len(matching) > 1:
            names = ", ".join(sorted(each.name for each in matching)[:10])
            raise InvalidMessageError(
                f"several durable subscriptions match {channel!r}: name the one that does it ({names})",
                details={"field": "durable", "value": ""},
            )
        return matching[0]

    def by_id(self, id: int) -> DurableSubscription | None:
        """Returns the one with a number, if it is there still."""
        return self._by_id.get(id)

    def delete(self, name: str, done: Done) -> None:
        """Deletes one; its subscribers' streams end. Raises SubscriptionNotFoundError."""
        durable = self.find(name)
        self._check_health()
        del self._by_name[name], self._by_id[durable.id]
        self._index.remove(durable.pattern, durable)
        durable.end(SubscriptionNotFoundError(f"durable subscription {name!r} was deleted", details={"durable": name}))
        staging = self._context.staging
        staging.forget(durable.id)
        staging.durables.pop(durable.id, None)
        self._context.uncounted.pop(durable.id, None)
        staging.deleted[durable.id] = None
        self._tell(done)

    def seek(self, name: str, position: int | None, done: Done) -> None:
        """Moves one. Raises SubscriptionNotFoundError."""
        durable = self.find(name)
        self._check_health()
        durable.seek(self._sequencer.last + 1 if position is None else position)
        self._count(durable, done)

    def of(self, batch: MessageBatch | BatchHeader) -> Sequence[DurableSubscription]:
        """Those that a batch is for."""
        if batch.target is None:
            return self._index.match(batch.channel)
        durable = self._by_id.get(batch.target)
        return () if durable is None else (durable,)

    def learn(self, channel: str) -> None:
        """There is a new channel."""
        for durable in self._index.match(channel):
            if durable.channels is not None and durable.pattern != channel:  # a plain pattern names its channel already
                durable.channels.append(channel)

    def first_needed(self, channel: str) -> list[int]:
        """For each level, a sequence below which nobody needs anything of a channel but what is in pending batches."""
        needed = [self._sequencer.last + 1] * PRIORITY_LEVELS
        for durable in self._index.match(channel):
            needed = [min(pair) for pair in zip(needed, durable.backlog.needs(), strict=True)]
        return needed

    def _tell(self, done: Done) -> None:
        self._context.staging.after.append(lambda: done(None))
        self._context.schedule()

    def _add(self, row: DurableRow, *, bounded: bool) -> DurableSubscription:
        durable = DurableSubscription(
            self._context, row, self._channels.matching(row.pattern), self._request_turn, self._tasks
        )
        self._index.add(row.pattern, durable, bounded=bounded)
        self._by_name[row.name] = durable
        self._by_id[row.id] = durable
        return durable


def _check_same(found: DurableSubscription, pattern: str, settings: DurableSettings | None) -> None:
    details = {"durable": found.name, "pattern": pattern, "existing_pattern": found.pattern}
    if found.pattern != pattern:
        raise SubscriptionExistsError(
            f"durable subscription {found.name!r} has the pattern {found.pattern!r}, not {pattern!r}", details=details
        )
    if settings is None:
        return
    for field_name, wanted in settings.figures().items():
        existing = found.settings.figures()[field_name]
        if wanted != existing:
            raise SubscriptionExistsError(
                f"durable subscription {found.name!r} has {field_name} {existing:g}, not {wanted:g}",
                details={**details, "field": field_name, "value": f"{wanted:g}", "existing_value": f"{existing:g}"},
            )
