"""Groups: subscribers that share one subscription's messages, at this replica and at others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from trunkline.limits import FRAME_MESSAGES
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.pattern_index import PatternIndex
from trunklined.bus.queue import Subscriber, SubscriptionQueue
from trunklined.bus.requests import PendingRequests

GroupKey = tuple[str, str]
"""A group's pattern and name."""


class _PlaceHere(Subscriber):
    """Takes from a shared queue for the members here, as far as they would take more than waits for them already."""

    __slots__ = ("here",)

    def __init__(self, here: SubscriptionQueue, wake: Callable[[Subscriber], None]) -> None:
        super().__init__(0, "", 0, wake)
        self.here = here

    @property
    def can_answer(self) -> bool:
        return self.here.can_answer("")

    @property
    def is_responder(self) -> bool:
        return self.here.has_responder("")

    @property
    def is_other(self) -> bool:
        return self.here.has_other("")


class _Shared(NamedTuple):
    queue: SubscriptionQueue
    """What waits for whoever in the fleet is free first; a replica is one subscriber of it."""
    places: list[_PlaceHere]
    """The one for the members here; none where there are none."""


class Groups:
    """Each group's queues, and which of them the index knows.

    A group with members here alone is one queue. Where other replicas have members too, a shared queue stands before
    it: what is published here waits there, and goes to the members here and to the other replicas as far as each has
    said that it would take more. So a member that is busy is given no more than where all are at one replica.

    Args:
        index: which queues want a channel's messages.
        make_queue: makes an empty queue for a pattern and a group.
        offer: puts a batch into queues.
        requests: who waits for answers.
        clock: UNIX time in seconds.
    """

    def __init__(
        self,
        index: PatternIndex[SubscriptionQueue],
        make_queue: Callable[[str, str], SubscriptionQueue],
        offer: Callable[[MessageBatch, Sequence[SubscriptionQueue]], None],
        requests: PendingRequests,
        clock: Callable[[], float],
    ) -> None:
        self._index = index
        self._make_queue = make_queue
        self._offer = offer
        self._requests = requests
        self._clock = clock
        self._here: dict[GroupKey, SubscriptionQueue] = {}
        self._shared: dict[GroupKey, _Shared] = {}
        self.on_credit: Callable[[GroupKey], None] | None = None
        """Told that the members here would take more, or less, than before."""

    def here(self, key: GroupKey) -> SubscriptionQueue | None:
        """Returns the queue of the members here; None: there are none."""
        return self._here.get(key)

    def queue_of(self, key: GroupKey) -> SubscriptionQueue | None:
        """Returns the queue of the members here, else the one of those elsewhere; None: there are none."""
        shared = self._shared.get(key)
        return self._here.get(key) or (shared.queue if shared is not None else None)

    def shared(self) -> Iterator[SubscriptionQueue]:
        """The queues that stand before others."""
        return (shared.queue for shared in self._shared.values())

    def open(self, pattern: str, group: str) -> SubscriptionQueue:
        """Returns the queue of the members here, made and registered where there is none.

        Raises:
            OverloadedError: see `PatternIndex.add`.
        """
        key = pattern, group
        here = self._here.get(key)
        if here is None:
            here = self._make_queue(pattern, group)
            shared = self._shared.get(key)
            if shared is None:
                self._index.add(pattern, here)
            else:
                self._add_place(key, shared, here)
            self._here[key] = here
            here.on_appetite = partial(self._look, key, here)
        return here

    def before_last(self, here: SubscriptionQueue) -> None:
        """The last member here is about to leave: what waits for it goes to members elsewhere, if there are any."""
        key = here.pattern, here.group
        here.on_appetite = None
        shared = self._shared.get(key)
        if shared is None:
            return
        shared.queue.leave(shared.places.pop())  # first: it would take back what is moved there
        self._move(here, shared.queue)

    def close(self, here: SubscriptionQueue) -> None:
        """The last member here has left."""
        key = here.pattern, here.group
        del self._here[key]
        if key not in self._shared:
            self._index.remove(here.pattern, here)

    def join(self, key: GroupKey, place: Subscriber) -> None:
        """Lets another replica take from a group, as a subscriber."""
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(self._make_queue(*key), [])
            self._index.add(key[0], shared.queue, bounded=False)
            here = self._here.get(key)
            if here is not None:
                self._index.remove(key[0], here)
                self._add_place(key, shared, here)
        shared.queue.join(place)
        for mine in shared.places:
            self._share(shared.queue, mine.here)

    def leave(self, key: GroupKey, place: Subscriber) -> None:
        """Another replica takes no more from a group."""
        shared = self._shared[key]
        queue = shared.queue
        if len(queue.subscribers) - len(shared.places) > 1:
            queue.leave(place)
            return
        del self._shared[key]
        self._index.remove(key[0], queue)
        waited = queue.count
        if shared.places:
            here = shared.places[0].here
            queue.leave(place)
            self._move(queue, here)
            queue.leave(shared.places[0])
            self._index.add(key[0], here, bounded=False)
        elif queue.leave(place) and waited:
            self._requests.queue_left(queue)

    def _add_place(self, key: GroupKey, shared: _Shared, here: SubscriptionQueue) -> None:
        place = _PlaceHere(here, partial(self._pull, shared.queue, here))
        shared.places.append(place)
        self._count(place)
        shared.queue.join(place)

    @staticmethod
    def _count(place: _PlaceHere) -> None:
        place.share = len(place.here.subscribers) or 1
        place.credit = place.here.credit

    def _look(self, key: GroupKey, here: SubscriptionQueue) -> None:
        """What the members here would take has changed."""
        shared = self._shared.get(key)
        if shared is not None:
            for place in shared.places:
                self._count(place)
                self._share(shared.queue, here)
                if shared.queue.count:
                    self._pull(shared.queue, here, place)
        if self.on_credit is not None:
            self.on_credit(key)

    def _pull(self, shared: SubscriptionQueue, here: SubscriptionQueue, place: Subscriber) -> None:
        """Takes for the members here what they would take now."""
        while (credit := here.credit) != 0:
            place.credit = credit
            here.untold += shared.tell_dropped()
            batch = shared.take(place, FRAME_MESSAGES, self._clock())
            if batch is None:
                break
            self._hand_on(batch, shared, here)
        place.credit = here.credit

    def _share(self, shared: SubscriptionQueue, here: SubscriptionQueue) -> None:
        """Where more waits for the members here than they would take, lets all of it go to whoever in the fleet is free
        first; they take their part from there."""
        if here.surplus:
            self._move(here, shared)

    def _move(self, source: SubscriptionQueue, target: SubscriptionQueue) -> None:
        """Puts all that waits in one queue into another; what the other gives back meanwhile is not moved again."""
        for batch in source.take_all(self._clock()):
            self._hand_on(batch, source, target)

    def _hand_on(self, batch: MessageBatch, source: SubscriptionQueue, target: SubscriptionQueue) -> None:
        self._requests.move(batch, source, target if target.has_responder("") else None)
        self._offer(replace(batch, share=None), [target])
