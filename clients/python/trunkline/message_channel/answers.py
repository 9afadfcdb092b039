"""Answers: whom the answer to a received command goes to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.message_channel.limits import MAX_UNANSWERED, VANISHED_ASKER_SECONDS
from trunkline.message_channel.service_message import ServiceMessage

Deliver = Callable[[ServiceMessage], None]
"""Brings an answer to the one who asked."""


@dataclass(slots=True)
class _Asked:
    receiver: str
    sender: str
    deliver: Deliver
    received_by: int | None = None
    """The thread that received it."""
    vanished_at: float | None = field(default=None)


class Answers:
    """Remembers who asked, from when a command comes from a socket or the bus until it is answered.

    A received message carries the token that is given here. `take` finds the asker by the token; `take_oldest` by the
    names, for callers of plain `send(request.sender, …)`: of the unanswered commands that this thread received from
    that sender, else of all, the oldest. That of a client which has gone is kept for a while, so that its answer is
    not given to another client of the same name.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._last_token = 0

    def __bool__(self) -> bool:
        return bool(self._asked)

    def add(self, receiver: str, sender: str, deliver: Deliver) -> int:
        """Remembers an asker and returns its token."""
        with self._lock:
            self._last_token += 1
            self._asked[self._last_token] = _Asked(receiver, sender, deliver)
            if len(self._asked) > MAX_UNANSWERED:
                del self._asked[next(iter(self._asked))]
            return self._last_token

    def received(self, token: int) -> None:
        """Says that the calling thread received the command."""
        with self._lock:
            if asked := self._asked.get(token):
                asked.received_by = threading.get_ident()

    def take(self, token: int) -> Deliver | None:
        """The asker of one command; None where it was answered or forgotten."""
        with self._lock:
            asked = self._asked.pop(token, None)
        return asked.deliver if asked else None

    def take_oldest(self, receiver: str, sender: str) -> Deliver | None:
        """The asker of the oldest command that `receiver` has not answered to `sender`; None where there is none."""
        with self._lock:
            self._forget_vanished()
            tokens = [t for t, a in self._asked.items() if a.sender == sender and a.receiver == receiver]
            if not tokens:
                return None
            thread = threading.get_ident()
            mine = (token for token in tokens if self._asked[token].received_by == thread)
            return self._asked.pop(next(mine, tokens[0])).deliver

    def vanished(self, token: int) -> None:
        """Says that the asker has gone; its command is forgotten after a while."""
        with self._lock:
            if asked := self._asked.get(token):
                asked.vanished_at = self._clock()

    def _forget_vanished(self) -> None:
        before = self._clock() - VANISHED_ASKER_SECONDS
        for token in [t for t, a in self._asked.items() if a.vanished_at is not None and a.vanished_at < before]:
            del self._asked[token]
