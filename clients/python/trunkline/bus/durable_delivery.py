"""DurableDelivery: what every bus promises of durable subscriptions as such, and of dead letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Unpack

from trunkline.bus.dead_letters import DeadLetter, DeadLetterChoice, DeadLetterFilter, Redriven, WhichDeadLetters
from trunkline.bus.durable import DurableSettings, Start
from trunkline.custom import unsupported
from trunkline.errors import InvalidMessageError

DeadLetters = AsyncGenerator[DeadLetter, None]


class DurableDelivery:
    """The part of a `MessageBus` that takes no messages: durable subscriptions by name, and what they could not
    deliver. Every method raises `BusNotConnectedError` while not connected, and NotImplementedError in a bus of one's
    own that does without it."""

    async def create_durable(
        self, name: str, pattern: str, *, start: Start = "new", settings: DurableSettings | None = None
    ) -> bool:
        """Makes a durable subscription without taking from it; True if it was made, False if it was there.

        Raises:
            As `MessageBus.subscribe`.
        """
        raise unsupported(self, "create_durable()")

    async def delete_durable(self, name: str) -> None:
        """Deletes a durable subscription with everything that waits for it; its dead letters stay. Whoever takes from
        it is told.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
        """
        raise unsupported(self, "delete_durable()")

    async def seek_durable(self, name: str, start: Start) -> None:
        """Moves a durable subscription to another place, forwards or back. What is leased is given up.

        Raises:
            SubscriptionNotFoundError: there is none of this name.
            CompactedError: what shall be moved to is not kept any more.
            InvalidMessageError: that is no place to start at.
        """
        raise unsupported(self, "seek_durable()")

    def dead_letters(self, *, limit: int | None = None, **chosen: Unpack[DeadLetterChoice]) -> DeadLetters:
        """The dead letters that match, the newest first; they are fetched in pages as the iterator goes on.

        Args:
            limit: at most so many, from 1. Unset: all.
            chosen: the fields of a `DeadLetterFilter`: durable, channel, reason, message_id, message_type, sender_id,
                error_contains, since, before. None: all.

        Raises:
            InvalidChannelError, InvalidMessageError: as `DeadLetterFilter.check`; a limit below 1.
        """
        wanted = DeadLetterFilter(**chosen).check()
        if limit is not None and limit < 1:
            raise InvalidMessageError(
                f"limit is {limit}, it must be at least 1", details={"field": "limit", "value": str(limit)}
            )
        return self._dead_letters(wanted, limit)

    def _dead_letters(self, wanted: DeadLetterFilter, limit: int | None) -> DeadLetters:
        """As `dead_letters`, checked."""
        raise unsupported(self, "dead_letters()")

    async def redrive(
        self, which: WhichDeadLetters, *, dry_run: bool = False, force: bool = False, limit: int | None = None
    ) -> Redriven:
        """Gives dead letters back to the durable subscription that they come from, as new messages behind what waits
        there, without a TTL; they are dead letters no more. Other subscriptions do not get them again. The attempts go
        on counting, and it is allowed as many of them again.

        Args:
            which: ids, or a filter (`DeadLetterFilter()` means all; one that matches nothing is no error).
            dry_run: say what would be done, and do nothing.
            force: also what was redriven 3 times before; without it that stays, which is the guard against loops.
            limit: at most so many, the oldest first; 1 to 10,000, by default 1,000.

        Raises:
            DeadLetterNotFoundError: there is none with one of the ids; nothing was done.
            SubscriptionNotFoundError: the durable subscription of one that is named was deleted; nothing was done.
            InvalidChannelError, InvalidMessageError: no ids, a filter or a limit that cannot be.
        """
        raise unsupported(self, "redrive()")

    async def purge(self, which: WhichDeadLetters, *, dry_run: bool = False) -> int:
        """Removes dead letters for good; returns how many were, or would be, removed.

        Raises:
            As `redrive`.
        """
        raise unsupported(self, "purge()")
