"""Peers: the other replicas of a bus, as its broker sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

from trunklined.bus.groups import GroupKey, Groups
from trunklined.bus.journal.sequencer import Sequencer
from trunklined.bus.message_batch import MessageBatch
from trunklined.bus.queue import Subscriber, SubscriptionQueue
from trunklined.bus.replicas.forwarded_request import ForwardedRequest
from trunklined.bus.requests import Correlated, PendingRequest, Responder

Q = TypeVar("Q", bound=SubscriptionQueue)


class Replica(NamedTuple):
    """One of the replicas of a bus."""

    id: str
    """Of this life of its connection to the others."""
    name: str
    """For people."""


@dataclass(frozen=True, slots=True)
class ReplicaStatistics:
    """Of one replica: whether it takes part, how many others do, how often it began to, and the seconds that it did not
    since it started."""

    is_part: bool
    others: int
    joined: int
    apart_seconds: float


class Home(Protocol):
    """A broker, as its peers use it; see `trunklined.bus.broker.Broker`."""

    groups: Groups
    clock: Callable[[], float]
    answer: Callable[[str, bytes], Awaitable[bytes | None]]

    def open_route(self, queue: SubscriptionQueue) -> None: ...

    def close_route(self, queue: SubscriptionQueue, subscriber: Subscriber) -> None: ...

    def route(self, pattern: str, queue: SubscriptionQueue) -> None: ...

    def unroute(self, pattern: str, queue: SubscriptionQueue) -> None: ...

    def make_route_queue(self, kind: type[Q]) -> Q: ...

    def arrive(
        self,
        batch: MessageBatch,
        group: GroupKey | None,
        requests: Sequence[tuple[int, ForwardedRequest]],
        newcomers: Collection[SubscriptionQueue],
    ) -> None: ...

    def hand_out(self, subscriber: Subscriber, batch: MessageBatch) -> list[tuple[int, PendingRequest]]: ...

    def give_back(self, request: PendingRequest, responder: Responder, *, begun: bool) -> None: ...

    def pending_request(self, request_id: str) -> PendingRequest | None: ...

    def resolve(self, channel: str, correlated: list[Correlated]) -> list[Correlated]: ...

    def serve_waiting(self, pattern: str) -> None: ...


class Peers(Protocol):
    """The other replicas. Nothing here waits, but what says so."""

    @property
    def sequencer(self) -> Sequencer | None:
        """Gives live messages sequences that no other replica gives. None: the journal's does."""

    @property
    def own(self) -> Replica:
        """This replica. Empty where there are no others."""

    def others(self) -> list[Replica]:
        """The others that are known now."""

    def statistics(self) -> ReplicaStatistics | None:
        """Figures of this replica. None: it is alone."""

    def attach(self, home: Home) -> None:
        """Begins to speak for a broker."""

    def begin(self, queue: SubscriptionQueue) -> None:
        """A subscription begins that is in no group: what the others published before goes past its queue. To be called
        before its interest is added."""

    def add_interest(self, pattern: str, group: str, *, answers: bool) -> None:
        """Tells that somebody subscribed here; `answers`: who could answer a request."""

    def remove_interest(self, pattern: str, group: str, *, answers: bool) -> None:
        """Takes that back."""

    def when_begun(self, tell: Callable[[], None]) -> None:
        """Calls `tell` when all others know the interest as it is now, and nothing goes past a queue any more that has
        begun before: at once where there are none."""

    def when_arrived(self, tell: Callable[[], None]) -> None:
        """Calls `tell` when what was published here so far has arrived at all others that want it: at once where there
        are none. What is published at another replica after that comes behind it, also to those who are there."""

    def when_received(self, tell: Callable[[], None]) -> None:
        """Calls `tell` when what the others sent to this replica so far has arrived: at once where there are none."""

    def correlate(self, channel: str, correlated: list[Correlated]) -> None:
        """Hands on messages that may answer a request of another replica."""

    async def cancel(self, request_id: str, by: str, reason: str) -> bool:
        """Cancels a request of another replica; returns False where none is pending anywhere."""

    async def ask(self, replica: Replica, name: str, request: bytes) -> bytes | None:
        """Returns another replica's own part of the answer to a question; see `Broker.answer`. None: it has none, or is
        gone."""


class _Alone:
    """There are no other replicas."""

    sequencer: Sequencer | None = None
    own = Replica("", "")

    def others(self) -> list[Replica]:
        return []

    def statistics(self) -> ReplicaStatistics | None:
        return None

    def attach(self, home: Home) -> None:
        pass

    def begin(self, queue: SubscriptionQueue) -> None:
        pass

    def add_interest(self, pattern: str, group: str, *, answers: bool) -> None:
        pass

    def remove_interest(self, pattern: str, group: str, *, answers: bool) -> None:
        pass

    def when_begun(self, tell: Callable[[], None]) -> None:
        tell()

    def when_arrived(self, tell: Callable[[], None]) -> None:
        tell()

    def when_received(self, tell: Callable[[], None]) -> None:
        tell()

    def correlate(self, channel: str, correlated: list[Correlated]) -> None:
        pass

    async def cancel(self, request_id: str, by: str, reason: str) -> bool:
        return False

    async def ask(self, replica: Replica, name: str, request: bytes) -> bytes | None:
        return None


ALONE: Final = _Alone()
"""Of a bus that is one replica."""
