"""PendingReplies: requests that were received and not yet answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from trunkline.message_channel.limits import DISCONNECTED_REQUESTER_SECONDS

Token = TypeVar("Token", bound=Hashable)
Requester = TypeVar("Requester")


@dataclass(slots=True)
class _Request(Generic[Requester]):
    requester: Requester
    names: Hashable | None
    received_by: int | None = None
    """The thread that received it."""
    disconnected_at: float | None = None


class PendingReplies(Generic[Token, Requester]):
    """Remembers requests, with who gets the reply, until they are answered. Any thread may call.

    `take` finds a request by its token. `take_oldest` finds one by its names, for replies that carry no token: the
    oldest that the calling thread received, else the oldest of all. A request whose requester has disconnected is kept
    for DISCONNECTED_REQUESTER_SECONDS, so that its reply does not go to another requester of the same names.

    Args:
        maximum: requests that were received and not answered; beyond it the oldest is forgotten. Requests that wait to
            be received are bounded by what they wait in, and none of them is forgotten.
        clock: seconds, monotonic.
    """

    def __init__(self, maximum: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._maximum = maximum
        self._clock = clock
        self._lock = threading.Lock()
        self._requests: dict[Token, _Request[Requester]] = {}
        self._by_names: dict[Hashable, dict[Token, _Request[Requester]]] = {}
        self._received: dict[Token, None] = {}

    def __bool__(self) -> bool:
        return bool(self._requests)

    def add(self, token: Token, requester: Requester, names: Hashable | None = None) -> None:
        """Remembers a request. Without names, only its token finds it."""
        with self._lock:
            self._forget(token)
            request = self._requests[token] = _Request(requester, names)
            if names is not None:
                self._by_names.setdefault(names, {})[token] = request

    def received(self, token: Token) -> None:
        """Notes that the calling thread received a request, which counts towards `maximum` from here on. An unknown
        token is fine."""
        with self._lock:
            if request := self._requests.get(token):
                request.received_by = threading.get_ident()
                self._received[token] = None
                if len(self._received) > self._maximum:
                    self._forget(next(iter(self._received)))

    def take(self, token: Token) -> Requester | None:
        """Forgets a request and returns its requester; None where it was answered or forgotten before."""
        with self._lock:
            request = self._forget(token)
        return request.requester if request else None

    def take_oldest(self, names: Hashable) -> Requester | None:
        """Forgets the oldest request of these names and returns its requester; None where there is none."""
        with self._lock:
            waiting = self._by_names.get(names)
            if waiting is None:
                return None
            before = self._clock() - DISCONNECTED_REQUESTER_SECONDS
            late = [t for t, r in waiting.items() if r.disconnected_at is not None and r.disconnected_at < before]
            for token in late:
                self._forget(token)
            thread = threading.get_ident()
            own = (token for token, request in waiting.items() if request.received_by == thread)
            chosen = next(own, None) or next(iter(waiting), None)
            request = None if chosen is None else self._forget(chosen)
        return request.requester if request else None

    def disconnected(self, token: Token) -> None:
        """Notes that the requester is gone; its request is forgotten after a while."""
        with self._lock:
            if request := self._requests.get(token):
                request.disconnected_at = self._clock()

    def _forget(self, token: Token) -> _Request[Requester] | None:
        request = self._requests.pop(token, None)
        self._received.pop(token, None)
        if request is not None and (waiting := self._by_names.get(request.names)):
            waiting.pop(token, None)
            if not waiting:
                del self._by_names[request.names]
        return request
