"""Handout: one turn in which a durable subscription hands out what it has to who wants it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from trunkline.priority import LANES
from trunklined.bus.attempts import Reason
from trunklined.bus.durable.cursor import PAGE_ROWS, Cursor
from trunklined.bus.durable.parcel import Parcel
from trunklined.bus.durable.tray import TRAY_BYTES
from trunklined.bus.queue import Subscriber
from trunklined.bus.run import Run

if TYPE_CHECKING:
    from trunklined.bus.durable.subscription import DurableSubscription

LOOKED_AT_ROWS: Final = 4_096
"""Runs that one turn looks at; then others have theirs."""


class Handout:
    """What it hands out is leased and staged at once, and sent when that is durable."""

    def __init__(self, durable: DurableSubscription, now: float) -> None:
        self._durable = durable
        self._now = now
        self._looked_at = 0
        self._given: list[tuple[Subscriber, Run, Parcel]] = []

    def give(self) -> None:
        """Serves whoever has room."""
        durable = self._durable
        hungry = [each for each in durable.subscribers if durable.room(each) > 0]
        if not hungry:
            return
        hungry = [each for each in hungry if not each.silent] or hungry
        durable.parcels.load_due(self._now)
        # Each takes no more than its share, so that all find something. Who can take least comes first: what it leaves
        # is in the others' shares.
        hungry.sort(key=durable.room)
        left = durable.count
        for index, subscriber in enumerate(hungry):
            share = max(1, -(-left // (len(hungry) - index)))
            left -= self._serve(subscriber, min(share, durable.room(subscriber)))
        if self._looked_at >= LOOKED_AT_ROWS:
            durable.want()
        if self._given or self._looked_at:
            durable.stage()
        if self._given:
            # Among equals, whoever was served first comes last the next time.
            durable.subscribers.remove(hungry[0])
            durable.subscribers.append(hungry[0])
            durable.desk.staging.after.append(self._send)
        durable.arm()

    def _serve(self, subscriber: Subscriber, most: int) -> int:
        """Hands out at most so many messages to one; returns how many it was."""
        given = size = 0
        while given < most and size < TRAY_BYTES:
            found = self._next(most - given)
            if found is None:
                break
            parcel, runs = found
            self._lease(parcel, subscriber)
            for run in runs:
                self._given.append((subscriber, replace(run, attempt=parcel.attempts), parcel))
                size += run.size
            given += parcel.left
        if subscriber.credit is not None:
            subscriber.credit -= given
        return given

    def _lease(self, parcel: Parcel, subscriber: Subscriber) -> None:
        durable = self._durable
        parcel.holder, parcel.peer, parcel.handed_out_at = subscriber, subscriber.peer, self._now
        parcel.attempts += 1
        if parcel.attempts > 1:
            durable.redelivered += parcel.left
            durable.desk.redelivered += parcel.left
        durable.parcels.lease(parcel, self._now + durable.settings.ack_wait)
        durable.parcels.touch(parcel)
        subscriber.leased += parcel.left

    def _next(self, most: int) -> tuple[Parcel, list[Run]] | None:
        """What is handed out next, at most so many messages: the higher lane first, and of a lane what was tried."""
        for lane in range(LANES - 1, -1, -1):
            found = self._next_ready(lane, most) or self._next_new(self._durable.cursors[lane], most)
            if found is not None:
                return found
        return None

    def _next_ready(self, lane: int, most: int) -> tuple[Parcel, list[Run]] | None:
        durable = self._durable
        while (parcel := durable.parcels.next_ready(lane, most)) is not None:
            runs = durable.read(parcel)
            if any(self._is_over(run) for run in runs):
                durable.bury_parcel(parcel, Reason.EXPIRED, "its TTL was over before the next attempt")
                continue
            kept = [sequence for run in runs for sequence in range(run.first_sequence, run.end)]
            if len(kept) < parcel.left:
                durable.lose(parcel.left - len(kept))
                parcel.keep(kept)
            if kept:
                return parcel, runs
            durable.finish(parcel)
        return None

    def _next_new(self, cursor: Cursor, most: int) -> tuple[Parcel, list[Run]] | None:
        durable = self._durable
        while self._looked_at < LOOKED_AT_ROWS:
            run = cursor.next(most)
            if run is None:
                if not cursor.read_on():
                    return None
                self._looked_at += PAGE_ROWS
                continue
            self._looked_at += 1
            if self._is_over(run):
                durable.bury_new(run)
            elif run.key is not None and not durable.keys.begin(run.key, run.first_sequence):
                durable.desk.staging.keys[durable.id, run.key] = True
            else:
                durable.waiting -= len(run.messages)
                return durable.parcels.new(run), [run]
        return None

    def _is_over(self, run: Run) -> bool:
        return run.expires_at is not None and run.expires_at < self._now

    def _send(self) -> None:
        """What was handed out is durable."""
        durable = self._durable
        woken = dict[Subscriber, None]()
        for subscriber, run, parcel in self._given:
            if not durable.parcels.is_here(parcel) or parcel.due is not None or parcel.attempts != run.attempt:
                subscriber.give_back(len(run.messages))  # it was moved meanwhile, or its lease was over
                durable.want()
                continue
            tray = durable.trays.get(subscriber)
            if tray is None:
                durable.unsend(run)
                continue
            tray.put(run)
            woken[subscriber] = None
        for subscriber in woken:
            subscriber.wake(subscriber)
