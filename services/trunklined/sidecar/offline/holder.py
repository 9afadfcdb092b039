"""Holder: takes what is to be stored and cannot go to the bus now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from trunkline.channels import check_channel
from trunkline.errors import TrunklineError
from trunkline.v1 import bus_pb2
from trunklined.admission import check_publish, with_message_id
from trunklined.relay.arrival import to_arrival
from trunklined.relay.journal import Arrival
from trunklined.rpc.times import stamp_of
from trunklined.sidecar.offline.backlog import Backlog
from trunklined.sidecar.offline.routing import Routing

Receipts = asyncio.Future[bus_pb2.PublishResponse]

_LEFT_TO_THE_BUS: Final = frozenset({bus_pb2.DURABILITY_UNSPECIFIED, bus_pb2.DURABILITY_MEMORY})


def is_stored(publish: Any) -> bool:
    """Whether a publish names a durability that stores it. Where it names none, a rule of the bus decides, which only
    the bus knows."""
    return publish.durability not in _LEFT_TO_THE_BUS


class Holder:
    """Holds publishes, whose messages are bytes.

    One that the bus was given, and did not answer, may be stored there: it is held with the ids that it was sent with,
    by which the bus knows it.

    Args:
        routing: nothing overtakes what is held.
        backlog: where it is held.
        max_message_bytes: limit of one encoded message.
        clock: UNIX time in seconds.
    """

    def __init__(
        self, routing: Routing, backlog: Backlog, max_message_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self._routing = routing
        self._backlog = backlog
        self._max_message_bytes = max_message_bytes

    def identify(self, publish: Any) -> bool:
        """Gives an id to each message of a publish that goes to the bus and has none, as the bus would; returns whether
        there was one. A message that has no room for it stays as it is."""
        given = False
        for index, body in enumerate(publish.messages):
            identified = with_message_id(body)
            if identified is not body and len(identified) <= self._max_message_bytes:
                publish.messages[index] = identified
                given = True
        return given

    def hold(self, publish: Any, sent_at: float | None = None) -> Receipts:
        """Holds a publish; its receipts come when it is durable.

        Args:
            publish: a PublishRequest.
            sent_at: when it was given to the bus, which did not answer, in UNIX time. None: it was not.

        Raises:
            InvalidChannelError, InvalidMessageError, MessageTooLargeError: as the bus would.
            OverloadedError: a bound is reached.
        """
        now = self.clock()
        arrivals = arrivals_of(publish, self._max_message_bytes, now)
        receipt = bus_pb2.Receipt(durability=bus_pb2.DURABILITY_STORED, held_by_sidecar=True)
        receipt.time.CopyFrom(stamp_of(now))
        held = self._backlog.keep(arrivals, bus_pb2.PublishResponse(receipts=[receipt] * len(arrivals)), sent_at)
        self._routing.follow_held()
        return held


def arrivals_of(publish: Any, max_bytes: int, now: float) -> list[Arrival]:
    """Returns the messages of a PublishRequest, checked, and completed with all that counts from now.

    Raises:
        InvalidChannelError, InvalidMessageError, MessageTooLargeError: with the index of the message among several.
    """
    check_publish(publish, len(publish.messages))
    arrivals = []
    for index, body in enumerate(publish.messages):
        try:
            arrivals.append(to_arrival(publish.channel, body, max_bytes, now))
        except TrunklineError as error:
            error.details["index"] = index
            raise
    check_channel(publish.channel)
    return arrivals
