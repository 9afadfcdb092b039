"""DurableSubscription: a name, what it has to deliver, and who takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from trunkline.delivery import DurableSettings
from trunkline.errors import TrunklineError
from trunkline.priority import MEDIUM_LEVEL
from trunklined.bus.durable.backlog import Backlog
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.durable.dispatch import Dispatch
from trunklined.bus.durable.task_life import CalledOff, Event, EventKind
from trunklined.bus.durable.tasks import Tasks
from trunklined.bus.durable.waiting import Waiting
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber
from trunklined.bus.recent import EventKind as Recent
from trunklined.bus.records import BatchHeader, DurableRow


class DurableSubscription:
    """The queue that its subscribers take from, over a `Backlog` and a `Dispatch`.

    Args:
        context: what all of them work with.
        row: as it was kept.
        channels: the channels that match its pattern; None: all. The caller adds to it when one is new.
        request_turn: asks for a call of `pump` before the next commit.
        tasks: told what becomes of messages, some of which are tasks.
    """

    def __init__(
        self,
        context: JournalContext,
        row: DurableRow,
        channels: list[str] | None,
        request_turn: Callable[[DurableSubscription], None],
        tasks: Tasks,
    ) -> None:
        self.backlog = Backlog(context, row, channels, self._due_changed, tasks)
        self._dispatch = Dispatch(self.backlog, context, partial(request_turn, self))
        self._context = context
        self._tasks = tasks
        self.id = row.id
        self.name = row.name
        self.pattern = row.pattern
        self.hand_out = self._dispatch.hand_out
        self.take = self._dispatch.take
        self.check = self.backlog.check

    def load(self) -> None:
        """Takes up what was open when the program ended."""
        self.backlog.load()
        self._dispatch.arm()

    def _due_changed(self) -> None:
        self._dispatch.arm()

    # What it is.

    @property
    def settings(self) -> DurableSettings:
        """How it delivers."""
        return self.backlog.settings

    @property
    def paused(self) -> bool:
        """Whether nothing is handed out until somebody says so."""
        return self.backlog.paused

    @property
    def created_at(self) -> float:
        """When it was made, in UNIX time."""
        return self.backlog.created_at

    @property
    def channels(self) -> list[str] | None:
        """The channels that match its pattern; None: all."""
        return self.backlog.channels

    @property
    def group(self) -> str:
        """Its name, which all its subscribers share."""
        return self.name

    @property
    def subscribers(self) -> list[Subscriber]:
        """Who takes from it."""
        return self._dispatch.subscribers

    @property
    def count(self) -> int:
        """Messages that wait, those for another attempt included."""
        return self.backlog.count

    @property
    def size(self) -> int:
        """Bytes that are handed out and wait for a stream."""
        return self._dispatch.size

    @property
    def waiting(self) -> int:
        """Messages that were not handed out yet."""
        return self.backlog.waiting

    @property
    def retrying(self) -> int:
        """Messages that wait for another attempt."""
        return self.backlog.pending_messages.retrying

    @property
    def leased(self) -> int:
        """Messages that are handed out and not settled."""
        return len(self.backlog.pending_messages.leases)

    @property
    def acked(self) -> int:
        """Messages acked since it was made."""
        return self.backlog.acked

    @property
    def redelivered(self) -> int:
        """Messages handed out again since it was made."""
        return self.backlog.redelivered

    @property
    def dead_lettered(self) -> int:
        """Messages that became dead letters since it was made."""
        return self.backlog.dead_lettered

    @property
    def next_sequence(self) -> int:
        """Of the medium level, the first that it has not looked at."""
        return self.backlog.cursors[MEDIUM_LEVEL].position

    # What comes from publishers.

    def offer(self, batch: MessageBatch) -> None:
        """Takes a batch that was stored."""
        if self.backlog.offer(batch, keep=bool(self.subscribers)):
            self._dispatch.want()

    def drop_expired(self, batch: MessageBatch) -> None:
        """See `Backlog.drop_expired`."""
        self.backlog.drop_expired(batch)

    def forgo(self, header: BatchHeader) -> None:
        """See `Backlog.forgo`."""
        self.backlog.forgo(header)

    # What comes from subscribers; of messages, those that `check` does not name.

    def join(self, subscriber: Subscriber) -> None:
        """Lets a subscriber take from this one."""
        subscriber.queue = self
        self._dispatch.join(subscriber)

    def leave(self, subscriber: Subscriber) -> bool:
        """Removes a subscriber. What it holds stays leased; what was not sent yet goes to others. Returns False: it is
        there without subscribers too."""
        if self._dispatch.leave(subscriber):
            subscriber.queue = None
        return False

    def feed(self, subscriber: Subscriber) -> None:
        """Takes note that a subscriber has more room."""
        self._dispatch.want()

    def tell_dropped(self) -> int:
        """Returns 0: nothing is ever dropped."""
        return 0

    def take_back_from(self, subscriber: Subscriber) -> None:
        """Releases all that a subscriber holds that left and has begun with nothing of it."""
        if not self.backlog.is_over:
            self.release(self.backlog.pending_messages.leases.held_by(subscriber))

    def ack(self, sequences: list[int]) -> None:
        """See `Backlog.ack`."""
        self.backlog.ack(sequences)
        self._dispatch.want()

    def nak(self, sequences: list[int], delay: float | None, error: str) -> None:
        """See `Backlog.nak`."""
        self.backlog.nak(sequences, delay, error)
        self._dispatch.want()

    def terminate(self, sequences: list[int], reason: str) -> None:
        """See `Backlog.terminate`."""
        self.backlog.terminate(sequences, reason)
        self._dispatch.want()

    def release(self, sequences: list[int]) -> None:
        """See `Backlog.release`."""
        self.backlog.release(sequences)
        self._dispatch.want()

    def report(self, sequences: list[int], attempt: int, events: Sequence[Event], offset: int | None) -> None:
        """Takes events in the life of a task that a subscriber has leased, in order; an end settles its message.

        Args:
            sequences: of its message, alone.
            attempt: that it was handed out with.
            offset: how many events of this attempt were reported before; what is known of these is passed over. None:
                all are new.

        Raises:
            InvalidMessageError: progress below what was said; the events before it are taken.
        """
        known = 0 if offset is None else max(0, self._tasks.reported(self.id, sequences[0], attempt) - offset)
        for event in events[known:]:
            self._tasks.report(self.id, sequences[0], attempt, event)
            match event.kind:
                case EventKind.RESULT | EventKind.CANCELLED:
                    self.ack(sequences)
                case EventKind.FAILURE if event.retryable:
                    self.nak(sequences, None, event.text)
                case EventKind.FAILURE:
                    self.terminate(sequences, event.text)

    def cancel_task(self, id: str, by: str, reason: str) -> int | None:
        """Cancels a task of this subscription. Whoever has its message is told. Returns the message's sequence where
        nobody has it: it is to be cancelled too."""
        task = self._tasks.open_task(id)
        if task is None:
            return None
        self._tasks.wish_end(task, by, reason)
        row = task.row()
        if row.is_held_back:
            return None
        pending = self.backlog.pending_messages.leases.of(row.sequence)
        if pending is None:
            return row.sequence
        if (holder := pending.holder) is not None:  # which gets the message with this commit, at the latest
            self._context.staging.after.append(lambda: self.tell_cancelled(holder, [row.sequence]))
        return None

    def tell_cancelled(self, holder: Subscriber, sequences: Sequence[int]) -> None:
        """Tells who has messages which of them are tasks that somebody cancelled."""
        for sequence in sequences if self._tasks else ():
            by_whom = self._tasks.cancelled_by(self.id, sequence)
            pending = self.backlog.pending_messages.leases.of(sequence)
            if by_whom is not None and pending is not None and holder.call_off is not None:
                holder.call_off(CalledOff(sequence, pending.attempts, *by_whom))

    def extend(self, sequences: list[int], lease: float | None) -> None:
        """Lets leases end `lease` seconds from now; unset: its ack_wait."""
        deadline = self._context.clock() + (self.settings.ack_wait if lease is None else lease)
        self.backlog.pending_messages.leases.extend(sequences, deadline)
        self._context.recent.note(Recent.EXTENDED, sequences, durable=self.name, due_at=deadline)
        self._dispatch.arm()

    # What waits.

    def cancel(self, found: Sequence[Waiting]) -> None:
        """Forgets messages that wait. To be called while no commit runs."""
        new = [each.batch for each in found if each.pending is None]
        retrying = [
            sequence
            for each in found
            if each.pending is not None
            for sequence in range(each.batch.first_sequence, each.batch.end)
        ]
        self.backlog.cancel(new, retrying)
        self._dispatch.want()

    # Changing, moving and ending.

    def change(self, settings: DurableSettings) -> None:
        """Delivers by other settings from now on."""
        told = self.settings.ack_wait != settings.ack_wait
        self.backlog.change(settings)
        self._dispatch.settings_changed()
        if told:
            self._tell_when_durable()

    def pause(self, paused: bool) -> None:
        """Hands nothing out any more, or goes on."""
        if self.paused == paused:
            return
        self.backlog.paused = paused
        self.backlog.stage()
        self._dispatch.want()
        self._tell_when_durable()

    def _tell_when_durable(self) -> None:
        self._context.staging.after.append(self.tell_changed)

    def tell_changed(self) -> None:
        """Tells its subscribers how it is now."""
        for subscriber in self.subscribers:
            subscriber.changed = True
            subscriber.wake(subscriber)

    def seek(self, position: int) -> None:
        """Moves every level; what is leased or waits for another attempt is given up. Nothing is handed out until it is
        counted how much waits."""
        self._dispatch.clear()
        self.backlog.move(position)
        self.wait_for_count(position)

    def wait_for_count(self, position: int) -> None:
        """Hands out nothing until it is counted how much waits from a sequence on."""
        self._dispatch.is_paused = True
        self.backlog.expect_count(position)
        self.backlog.stage()

    def counted(self, number: int, messages: int) -> None:
        """Takes what was counted, and hands out when that is durable."""
        if self.backlog.counted(number, messages):
            self._context.staging.after.append(self._go_on)

    def _go_on(self) -> None:
        if self.backlog.is_counted:  # it was not moved again meanwhile
            self._dispatch.is_paused = False
            self._dispatch.want()

    def end(self, error: TrunklineError | None) -> None:
        """Ends it: it is deleted, or the program ends. Its subscribers are told the error, if there is one."""
        self.backlog.is_over = True
        self._dispatch.end()
        if error is not None:
            self._tasks.given_up(self.id, None, "SUBSCRIPTION_DELETED", f"{self.name!r} was deleted")
            self.turn_away(error)

    def turn_away(self, error: TrunklineError) -> None:
        """Ends its subscribers' streams."""
        self._dispatch.turn_away(error)
