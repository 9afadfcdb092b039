"""Receipts: stored publishes of a client that wait for their receipts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trunkline.bus.durable_codec import receipts_from_wire
from trunkline.bus.grpc.frames import Stored
from trunkline.errors import TrunklineError
from trunkline.v1 import bus_pb2


class Receipts:
    """By the id of the frame that carried their messages.

    Args:
        next_id: a new item id of the stream.
    """

    def __init__(self, next_id: Callable[[], int]) -> None:
        self._next_id = next_id
        self._waiting: dict[int, Stored] = {}

    def __bool__(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._waiting)

    def expect(self, stored: Stored) -> int:
        """A frame goes out; the answer will have the id that is returned."""
        id = self._next_id()
        self._waiting[id] = stored
        return id

    def take(self, id: int, published: bus_pb2.PublishResponse) -> None:
        """An answer came."""
        stored = self._waiting.pop(id, None)
        for future, receipt in zip(stored.receipts if stored else (), receipts_from_wire(published), strict=False):
            if not future.done():
                future.set_result(receipt)

    def refuse(self, id: int, error: TrunklineError) -> bool:
        """A frame was refused; False if it is none of these."""
        stored = self._waiting.pop(id, None)
        if stored is None:
            return False
        fail([stored], error)
        return True

    def take_all(self) -> list[Stored]:
        """No answer will come: returns what waits for one, in order."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())


def fail(unanswered: Iterable[Stored], error: TrunklineError) -> None:
    """Fails receipts that are waited for."""
    for stored in unanswered:
        for future in stored.receipts:
            if not future.done():
                future.set_exception(error)
