"""Receipts: stored publishes of a client that wait for their receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from trunkline.bus.durable_codec import receipts_from_wire
from trunkline.delivery import Receipt
from trunkline.errors import TrunklineError
from trunkline.v1 import bus_pb2


class Receipts:
    """By the id of the frame that carried their messages.

    Args:
        next_id: a new item id of the stream.
    """

    def __init__(self, next_id: Callable[[], int]) -> None:
        self._next_id = next_id
        self._waiting: dict[int, list[asyncio.Future[Receipt]]] = {}

    def __bool__(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._waiting)

    def expect(self, receipts: list[asyncio.Future[Receipt]]) -> int:
        """A frame goes out; the answer will have the id that is returned."""
        id = self._next_id()
        self._waiting[id] = receipts
        return id

    def take(self, id: int, published: bus_pb2.PublishResponse) -> None:
        """An answer came."""
        for future, receipt in zip(self._waiting.pop(id, ()), receipts_from_wire(published), strict=False):
            if not future.done():
                future.set_result(receipt)

    def refuse(self, id: int, error: TrunklineError) -> bool:
        """A frame was refused; False if it is none of these."""
        receipts = self._waiting.pop(id, None)
        if receipts is None:
            return False
        _fail(receipts, error)
        return True

    def fail_all(self, error: TrunklineError, unsent: Iterable[asyncio.Future[Receipt]]) -> None:
        """No answer will come, nor for those that were not even sent."""
        waiting, self._waiting = self._waiting, {}
        for receipts in (unsent, *waiting.values()):
            _fail(receipts, error)


def _fail(receipts: Iterable[asyncio.Future[Receipt]], error: TrunklineError) -> None:
    for future in receipts:
        if not future.done():
            future.set_exception(error)
