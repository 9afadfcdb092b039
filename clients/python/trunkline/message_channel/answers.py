"""Answers: whom the answer to a received command goes to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.errors import MessageTooLargeError
from trunkline.message_channel.limits import MAX_UNANSWERED, VANISHED_ASKER_SECONDS
from trunkline.message_channel.service_message import ServiceMessage

Deliver = Callable[[ServiceMessage], None]
"""Brings an answer to the one who asked."""

Names = tuple[str, str]
"""Who received the command, and who sent it."""


@dataclass(slots=True)
class _Asked:
    names: Names
    deliver: Deliver
    received_by: int | None = None
    """The thread that received it."""
    vanished_at: float | None = None


class Answers:
    """Remembers who asked, from when a command comes from a socket or the bus until it is answered.

    A received message carries the token that is given here. `deliver` finds the asker by the token; `take_oldest` by
    the names, for callers of plain `send(request.sender, …)`: of the unanswered commands that this thread received from
    that sender, else of all, the oldest. That of a client which has gone is kept for a while, so that its answer is
    not given to another client of the same name. Any thread may call.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._by_names: dict[Names, dict[int, _Asked]] = {}
        self._received: dict[int, None] = {}
        self._last_token = 0

    def __bool__(self) -> bool:
        return bool(self._asked)

    def add(self, receiver: str, sender: str, deliver: Deliver, *, by_name: bool = True) -> int:
        """Remembers an asker and returns its token. Without `by_name`, only the token finds it."""
        with self._lock:
            self._last_token += 1
            asked = self._asked[self._last_token] = _Asked((receiver, sender), deliver)
            if by_name:
                self._by_names.setdefault(asked.names, {})[self._last_token] = asked
            return self._last_token

    def received(self, token: int) -> None:
        """Says that the calling thread received the command. Of those that were, the oldest beyond MAX_UNANSWERED is
        forgotten."""
        with self._lock:
            if asked := self._asked.get(token):
                asked.received_by = threading.get_ident()
                self._received[token] = None
                if len(self._received) > MAX_UNANSWERED:
                    self._forget(next(iter(self._received)))

    def deliver(self, token: int, message: ServiceMessage) -> bool:
        """Brings an answer to the asker of one command; False where it was answered or forgotten.

        Raises:
            MessageTooLargeError: the command still counts as unanswered, so that a shorter answer can follow.
            As the asker's.
        """
        with self._lock:
            asked = self._forget(token)
        if asked is None:
            return False
        try:
            asked.deliver(message)
        except MessageTooLargeError:
            with self._lock:
                self._asked[token] = asked
                self._received[token] = None
            raise
        return True

    def take_oldest(self, receiver: str, sender: str) -> Deliver | None:
        """The asker of the oldest command that `receiver` has not answered to `sender`; None where there is none."""
        with self._lock:
            waiting = self._by_names.get((receiver, sender))
            if waiting is None:
                return None
            before = self._clock() - VANISHED_ASKER_SECONDS
            for token in [t for t, a in waiting.items() if a.vanished_at is not None and a.vanished_at < before]:
                self._forget(token)
            thread = threading.get_ident()
            mine = (token for token, asked in waiting.items() if asked.received_by == thread)
            chosen = next(mine, None) or next(iter(waiting), None)
            asked = None if chosen is None else self._forget(chosen)
        return asked.deliver if asked else None

    def vanished(self, token: int) -> None:
        """Says that the asker has gone; its command is forgotten after a while."""
        with self._lock:
            if asked := self._asked.get(token):
                asked.vanished_at = self._clock()

    def _forget(self, token: int) -> _Asked | None:
        asked = self._asked.pop(token, None)
        self._received.pop(token, None)
        if asked is not None and (waiting := self._by_names.get(asked.names)):
            waiting.pop(token, None)
            if not waiting:
                del self._by_names[asked.names]
        return asked
