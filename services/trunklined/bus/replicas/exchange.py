"""Exchange: what replicas find each other and speak through."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Member(NamedTuple):
    """A replica that takes part."""

    id: str
    name: str
    """For people: where it serves."""
    seconds: float
    """What is left of its lease."""


class Exchange(Protocol):
    """One connection of one replica, which has an inbox of its own. When it is lost, its inbox is no more: the replica
    begins anew, with another id, and nobody takes for delivered what was not.

    Every method raises a TrunklineError when the connection is lost; then nothing but `close` may follow.
    """

    async def open(self, id: str) -> None:
        """Opens the inbox: what is sent to it from now on is received."""

    async def receive(self) -> bytes:
        """Waits for the next frame, in the order in which each sender sent them."""

    async def join(self, name: str, ttl: float) -> tuple[int, list[Member]]:
        """Takes part, under a lease of so many seconds; returns a number that is higher than that of whoever joined
        before, and the others who take part now. Whoever joins later is told of this one."""

    async def renew(self, ttl: float) -> list[Member] | None:
        """Renews the lease, and returns the others who take part now; None: the lease had run out."""

    async def send(self, id: str, frame: bytes) -> bool:
        """Sends a frame to another's inbox; False: it is no more."""

    async def leave(self) -> None:
        """Ends the lease."""

    async def close(self) -> None:
        """Drops the connection; idempotent."""
