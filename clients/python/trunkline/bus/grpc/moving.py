"""Moving: from one session to another, when the service asks for it, without anything lost, doubled or failed.

The new session's stream goes over a connection of its own, so that another replica may answer. It asks for what is
live, and waits until all of that is confirmed; until then nothing has changed. Then, at one moment, it takes the old
one's place: there subscriptions end behind their last message, and a ping says when what was published there has
arrived at all replicas. Until that is answered, what goes out by the new one waits. Durable subscriptions begin there
behind their end here, for nothing of theirs can be missed; what is leased stays leased. The old session then ends
what is under way: requests, answers, receipts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from trunkline.bus.grpc.durable_subscription import DurableSubscription
from trunkline.bus.grpc.handover import Handover
from trunkline.bus.grpc.responder import ResponderSubscription, Way
from trunkline.bus.grpc.session import BusSession
from trunkline.bus.grpc.subscription import LiveSubscription
from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.wire.reconnect import reconnect_delays

log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 10.0
"""What a new session has to confirm all subscriptions."""
LINGER_SECONDS: Final = 0.1
"""How long a session stays that has nothing under way: somebody may be about to use it still."""


class _Coming:
    """A live subscription that begins at the new session, and still counts at the old one."""

    def __init__(self, subscription: LiveSubscription, session: BusSession) -> None:
        self.subscription = subscription
        self.session = session
        self.id = session.stream.next_id()
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.handover: Handover | None = None
        if not isinstance(subscription, ResponderSubscription):
            overlap = None if subscription.is_shared else subscription.overlap()
            self.handover = Handover(subscription.take_good, overlap)
            if subscription.is_shared:
                subscription.handover = self.handover
        session.visitors[self.id] = self
        subscription.fill_start(session.item(self.id).subscribe.start)

    def take(self, frame: Any) -> None:
        """Takes a frame of the new session."""
        if frame.WhichOneof("frame") == "started":
            if not self.started.done():
                self.started.set_result(None)
        elif self.handover is not None:
            self.handover.hold_new(frame)
        elif isinstance(self.subscription, ResponderSubscription):
            self.subscription.take_from(Way(self.session.item, self.id), frame)

    def end(self, error: TrunklineError | None) -> None:
        """The new session has it no more."""
        if not self.started.done():
            self.started.set_exception(error or BusDisconnectedError("the subscription ended before it began"))
            self.started.exception()

    def give_up(self) -> None:
        """The old session goes on alone."""
        self.session.visitors.pop(self.id, None)
        if isinstance(self.subscription, ResponderSubscription):
            self.subscription.lose(Way(self.session.item, self.id))
        elif self.handover is not None:
            self.subscription.handover = None
            self.handover.forget()


class _Leaving:
    """A subscription that has left its session, which still brings the last of it."""

    def __init__(self, subscription: LiveSubscription | DurableSubscription, handover: Handover | None) -> None:
        self._subscription = subscription
        self._handover = handover

    def take(self, frame: Any) -> None:
        """Takes a frame of the old session."""
        self._subscription.take_last(frame)

    def end(self, error: TrunklineError | None) -> None:
        """It has brought its last, or is lost."""
        if self._handover is not None:
            self._subscription.handover = None
            self._handover.finish()


class _LeavingResponder:
    """A responder that has left its session, and answers there what it has begun with. What is handed to it there
    still is passed over: the service takes that back, and gives it to others."""

    def __init__(self, subscription: ResponderSubscription, way: Way) -> None:
        self._subscription = subscription
        self._way = way

    def take(self, frame: Any) -> None:
        """Takes a frame of the old session."""
        if frame.WhichOneof("frame") != "deliveries":
            self._subscription.take_from(self._way, frame)

    def end(self, error: TrunklineError | None) -> None:
        """It has answered all, or is lost."""
        if error is not None:
            self._subscription.lose(self._way)


class Move:
    """One move of a bus, from one session to another.

    Args:
        old: the session that is asked.
        begin: makes a session whose stream is up.
        switch: makes a session the bus's.
    """

    def __init__(
        self,
        old: BusSession,
        begin: Callable[[], Awaitable[BusSession]],
        switch: Callable[[BusSession], None],
    ) -> None:
        self._old = old
        self._begin = begin
        self._switch = switch
        self._lives = old.lives
        self._coming: dict[LiveSubscription, _Coming] = {}
        self._new: BusSession | None = None
        self.is_made = False
        """Whether the new session has the old one's place."""

    async def run(self) -> None:
        """Moves. Where no replica takes the streams, it is tried again and again, until the old session's is lost: then
        that comes back by itself, at another replica or the same. Returns when the new session may send."""
        for subscription in self._old.live():  # of the move before this one
            if subscription.handover is not None:
                await subscription.handover.finished.wait()
        delays = reconnect_delays()
        while self._is_wanted():
            try:
                await self._confirm()
            except TrunklineError as error:
                log.info("%s asks to move, which cannot be done yet: %s", self._old.stream.address, error)
                await self._give_up()
                await asyncio.sleep(next(delays))
                continue
            except BaseException:
                await self._give_up()
                raise
            break
        if self._new is None:
            return
        if not self._is_wanted():
            await self._give_up()
            return
        await self._hand_over(self._new)

    def _is_wanted(self) -> bool:
        """Whether the stream is still the one that was asked to move."""
        return self._old.stream.is_up and self._old.lives == self._lives

    async def _confirm(self) -> None:
        """Opens the new session, and what is live there; returns when the service serves it."""
        self._new = new = await self._begin()
        if new.bus_is_away:
            raise new.stream.disconnected("the bus is away there")
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                is_served = False  # a stream that was let in can have been refused a moment later
                while (missing := [each for each in self._old.live() if each not in self._coming]) or not is_served:
                    for subscription in missing:
                        self._coming[subscription] = _Coming(subscription, new)
                    await asyncio.gather(*(self._coming[each].started for each in missing))
                    await new.flush()
                    is_served = True
        except TimeoutError:
            raise new.stream.disconnected(f"it did not confirm within {CONFIRM_SECONDS:g} s") from None
        if not new.stream.is_up or new.lives != 1:
            raise new.stream.disconnected("it was lost while it was being confirmed")

    async def _give_up(self) -> None:
        """Stays where it was."""
        coming, self._coming = self._coming, {}
        for each in coming.values():
            each.give_up()
        new, self._new = self._new, None
        if new is not None:
            await new.close()

    async def _hand_over(self, new: BusSession) -> None:
        """Lets the new session take the old one's place."""
        old = self._old
        new.stream.hold()
        for subscription in old.leave_all():
            if isinstance(subscription, DurableSubscription):
                self._move_durable(subscription, new)
            else:
                self._move_live(subscription, new)
        for each in self._coming.values():  # those that were ended meanwhile
            new.visitors.pop(each.id, None)
            new.item(each.id).cancel.SetInParent()
        new.take_place_of(old)
        self._switch(new)
        self.is_made = True
        try:
            await old.published_has_arrived()
        except TrunklineError as error:
            new.remember(error)
        finally:
            new.inherit(old)
            new.stream.release()

    def _move_durable(self, subscription: DurableSubscription, new: BusSession) -> None:
        old, id = self._old, subscription.id
        old.visitors[id] = _Leaving(subscription, None)
        old.item(id).cancel.SetInParent()
        new.adopt(subscription)
        subscription.start()

    def _move_live(self, subscription: LiveSubscription, new: BusSession) -> None:
        old, id = self._old, subscription.id
        coming = self._coming.pop(subscription)
        new.visitors.pop(coming.id)
        old.item(id).cancel.finish = True
        if isinstance(subscription, ResponderSubscription):
            way = subscription.way
            old.visitors[id] = _LeavingResponder(subscription, way)
            new.adopt(subscription, coming.id)

            def answered() -> None:
                old.item(id).cancel.nothing_begun = True

            subscription.when_answered(way, answered)
            return
        subscription.handover = coming.handover
        old.visitors[id] = _Leaving(subscription, coming.handover)
        new.adopt(subscription, coming.id)


async def wind_up(old: BusSession) -> None:
    """Closes a session that another has taken the place of: when nothing is under way there any more, or when this is
    cancelled."""
    try:
        while True:
            while old.stream.is_up and not old.is_idle:
                old.changed.clear()
                with suppress(TimeoutError):  # what ends here by a deadline or a cancel says nothing
                    async with asyncio.timeout(1.0):
                        await old.changed.wait()
            await asyncio.sleep(LINGER_SECONDS)
            if old.is_idle or not old.stream.is_up:
                break
    finally:
        await old.close()
