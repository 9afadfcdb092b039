"""QueueMemory: what the queues of all live subscriptions take together, and its one bound."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heapreplace
from typing import Final, Protocol

from trunklined.bus.message_batch import MessageBatch, Share

MESSAGE_BYTES: Final = 56
BATCH_BYTES: Final = 320
"""What Python takes for a message and for a batch beside the message's own bytes."""

_ROOM: Final = 16
"""At the bound so large a part of it is made free at once: finding the largest queues costs a walk over all."""
_STEPS: Final = 16
"""In how many steps that is, so that queues that are equally large give way alike."""


class Yielding(Protocol):
    """A queue that can give way."""

    weight: int
    """What it takes, as if it shared nothing."""

    def give_way(self, weight: int) -> None:
        """Drops its oldest messages, until it takes so much less; at least one batch."""


class QueueMemory:
    """A running sum, and who gives way at its bound: the largest queue first, the others not at all while it is that.

    A batch that several queues hold exists once, and counts once: from when it is offered to the first, until the last
    is done with it. One that is sent in parts counts in whole until its last part is taken.

    Args:
        maximum: bytes; see `trunkline.limits.MIN_QUEUE_MEMORY_BYTES` for what happens at it.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.size = 0

    def add(self, batch: MessageBatch, queues: int) -> None:
        """Counts a batch that is about to be offered to so many queues. The last of them that is done with it subtracts
        it from `size`."""
        size = batch.size + MESSAGE_BYTES * len(batch.messages) + BATCH_BYTES
        batch.share = Share(size, queues)
        self.size += size

    def make_room(self, queues: Iterable[Yielding]) -> None:
        """Lets the largest queues give way, until a part of the bound is free.

        What several of them hold is free when all of them gave it up: then they shrink side by side.
        """
        target = self.maximum - self.maximum // _ROOM
        step = max(1, self.maximum // _ROOM // _STEPS)
        heap = [(-queue.weight, number, queue) for number, queue in enumerate(queues) if queue.weight]
        heapify(heap)
        while heap and self.size > target:
            weight, number, queue = heap[0]
            next_weight = min((each[0] for each in heap[1:3]), default=0)
            queue.give_way(min(max(next_weight - weight, step), max(self.size - target, step)))
            heapreplace(heap, (-queue.weight, number, queue))
            if not heap[0][0]:
                break
