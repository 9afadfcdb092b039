"""A durable subscription that a person follows: what was shown is acked, or held and given back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from trunkline.cli.bus.following import Following
from trunkline.cli.bus.message_lines import Printer
from trunkline.cli.moments import in_seconds
from trunkline.cli.output import counted, safe
from trunkline.errors import StaleAckError

if TYPE_CHECKING:
    from trunkline.delivery import Start
    from trunkline.v1 import bus_pb2

WINDOW: Final = 64
"""Messages that may be on their way to be shown and acked: few, for other subscribers want some too."""
MAX_HELD: Final = 1_024
"""Messages that are shown without an ack: no more are taken from the other subscribers."""
WIND_DOWN_SECONDS: Final = 2.0
"""What the service gets to say which messages are still on their way."""
_ID: Final = 1
"""Of the subscription, the only item on its stream."""


class DurableFollowing(Following):
    """Takes part in a durable subscription on a stream of Connect, whose `cancelled` comes behind the last delivery:
    so nothing is left leased to nobody when it ends.

    Args:
        durable: its name.
        position: where it starts, if the service has none of this name.
        count: how many messages are shown before it ends; None: no end.
        acks: whether what was shown is acked; else it is held, its lease extended, and given back at the end without
            an attempt counted.
    """

    def __init__(
        self, pattern: str, durable: str, position: Start, count: int | None, printer: Printer, *, acks: bool
    ) -> None:
        super().__init__(printer)
        self._pattern = pattern
        self._durable = durable
        self._position = position
        self._left = count
        self._acks = acks
        self._held: dict[int, int] = {}
        """What is leased to us and not acked: the attempt by sequence."""
        self._on_their_way = 0
        """Messages that were asked for and have not come."""
        self._call: Any = None
        self._writing = asyncio.Lock()

    async def _live(self, stub: Any) -> None:
        self._call = stub.Connect()
        self._on_their_way = 0
        extending: asyncio.Task[None] | None = None
        try:
            await self._write(self._start())
            async for response in self._call:
                for item in response.items:
                    kind = item.WhichOneof("item")
                    if kind == "cancelled":
                        return
                    if kind == "error":
                        from trunkline.wire.status import error_from_item

                        raise error_from_item(item.error)
                    frame = item.subscription
                    if frame.HasField("started"):
                        self._started()
                        extending = asyncio.create_task(self._extend(in_seconds(frame.started.ack_wait)))
                    elif frame.HasField("deliveries"):
                        await self._take(frame.deliveries)
                    elif frame.HasField("refused"):
                        self._refused(frame.refused)
        finally:
            if extending is not None:
                extending.cancel()
            self._call.cancel()

    def _start(self) -> bus_pb2.ConnectRequest:
        from trunkline.bus.durable_codec import position_to_wire
        from trunkline.v1 import bus_pb2

        frame = bus_pb2.ConnectRequest()
        start = frame.items.add(id=_ID).subscribe.start
        start.pattern, start.durable = self._pattern, self._durable
        start.position.CopyFrom(position_to_wire(self._position))
        start.credit = self._on_their_way = max(1, self._room())
        return frame

    def _room(self) -> int:
        """How many messages may be on their way."""
        room = WINDOW if self._acks else MAX_HELD - len(self._held)
        return room if self._left is None else min(room, self._left)

    async def _take(self, deliveries: bus_pb2.SubscribeResponse.Deliveries) -> None:
        from trunkline.v1 import bus_pb2

        first, attempt = deliveries.first_sequence, deliveries.attempt
        self._on_their_way -= len(deliveries.messages)
        self._held.update(dict.fromkeys(range(first, first + len(deliveries.messages)), attempt))
        shown: list[int] = []
        try:
            for sequence, message in enumerate(deliveries.messages, first):
                if self._stopped.is_set():
                    break
                self._printer.message(message, deliveries.channel, sequence, attempt)
                shown.append(sequence)
                self._count_down()
        except BrokenPipeError as error:
            self.stop(0, error)
        frame = bus_pb2.ConnectRequest()
        if self._acks and shown:
            ack = frame.items.add(id=_ID).subscribe.ack
            ack.sequences.extend(shown)
            ack.attempt = attempt
            for sequence in shown:
                del self._held[sequence]
        wanted = self._room() - self._on_their_way
        if wanted > 0 and not self._stopped.is_set():
            frame.items.add(id=_ID).subscribe.credit.messages = wanted
            self._on_their_way += wanted
        if frame.items:
            await self._write(frame)
        if not self._acks and len(self._held) == MAX_HELD:
            text = f"{MAX_HELD:,} messages are held: no more are shown"
            self._printer.note(text, {"event": "full", "held": MAX_HELD}, "yellow")

    def _count_down(self) -> None:
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.stop(0)

    def _refused(self, refused: bus_pb2.SubscribeResponse.Refused) -> None:
        for sequence in refused.sequences:
            self._held.pop(sequence, None)
        facts = {"event": "refused", "sequences": [*refused.sequences], "reason": refused.error.message}
        text = f"{counted(len(refused.sequences), 'message')} lost to others: {safe(refused.error.message)}"
        self._printer.note(text, facts, "yellow")

    async def _extend(self, ack_wait: float) -> None:
        """Keeps what is held while this goes on, at once and then at a third of the lease."""
        from trunkline.v1 import bus_pb2

        while True:
            frame = bus_pb2.ConnectRequest()
            for attempt, sequences in self._by_attempt().items():
                extend = frame.items.add(id=_ID).subscribe.extend
                extend.sequences.extend(sequences)
                extend.attempt = attempt
            if frame.items:
                await self._write(frame)
            await asyncio.sleep(ack_wait / 3)

    async def _wind_down(self, living: asyncio.Task[None]) -> None:
        """Takes what is still on its way, and gives back what is held."""
        from trunkline.v1 import bus_pb2

        cancel = bus_pb2.ConnectRequest()
        cancel.items.add(id=_ID).cancel.SetInParent()
        await self._write(cancel)
        await asyncio.wait({living}, timeout=WIND_DOWN_SECONDS)
        await super()._wind_down(living)
        given_back = sum([await self._give_back(sequences, each) for each, sequences in self._by_attempt().items()])
        if given_back and not self._acks:
            text = f"gave back {counted(given_back, 'message')}"
            self._printer.note(text, {"event": "given_back", "messages": given_back}, "bright_black")

    async def _give_back(self, sequences: list[int], attempt: int) -> int:
        """How many there were to give back: a lease may have ended."""
        from trunkline.cli.wire import call_bus
        from trunkline.v1 import durable_pb2

        while sequences:
            request = durable_pb2.SettleRequest(durable=self._durable)
            request.release.sequences.extend(sequences)
            request.release.attempt = attempt
            try:
                await call_bus(self._address, "Settle", request)
            except StaleAckError as error:
                sequences.remove(error.details["sequence"])
            else:
                return len(sequences)
        return 0

    def _by_attempt(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for sequence, attempt in self._held.items():
            found.setdefault(attempt, []).append(sequence)
        return found

    async def _write(self, frame: bus_pb2.ConnectRequest) -> None:
        """One at a time, as gRPC wants it. A call that has ended says so where it is read."""
        async with self._writing:
            with suppress(asyncio.InvalidStateError):
                await self._call.write(frame)

    def _say_started(self) -> None:
        what = "what is shown is acked" if self._acks else "nothing is acked, it is given back at the end"
        self._printer.started(self._pattern, self._durable, what)
