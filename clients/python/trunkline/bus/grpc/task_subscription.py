"""TaskSubscription: a durable subscription whose messages are worked on as tasks."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from trunkline.bus.codec import request_of
from trunkline.bus.durable import DurableMessage
from trunkline.bus.grpc.durable_subscription import ACKED_SECONDS, DurableSubscription
from trunkline.bus.handling import handle_request
from trunkline.bus.life_codec import (
    encode_accepted,
    encode_cancelled,
    encode_failure,
    encode_part,
    encode_progress,
    encode_result,
)
from trunkline.bus.request import Request, check_fraction
from trunkline.limits import MAX_REPORTED_EVENTS
from trunkline.models import AgentMessage
from trunkline.v1 import bus_pb2, task_pb2
from trunkline.wire.encoding import length_prefix, list_parts

log = logging.getLogger(__name__)

_events = length_prefix(task_pb2.Report, "events")


class TaskAnswering:
    """One attempt at a task; see `trunkline.bus.request.Answering`.

    Args:
        message: the task's.
        name: of who works on it.
        encode: encodes a message, and checks its size.
        say: sends what it reports; told how many events there were before.
        settle: gives the message up, which its end settles; False where somebody else has it by now.
    """

    def __init__(
        self,
        message: DurableMessage,
        name: str,
        encode: Callable[[AgentMessage, str | None], bytes],
        say: Callable[[TaskAnswering, int, list[bytes]], None],
        settle: Callable[[DurableMessage], bool],
    ) -> None:
        self.message = message
        self.name = name
        self.attempt = message.attempt
        self.is_called_off = False
        self.called_off = ("", "")
        """By whom, and why."""
        self.sent: deque[tuple[float, bytes]] = deque()
        """What was reported lately, and when."""
        self.count = 0
        """How many events were reported."""
        self._worker: asyncio.Task[Any] | None = None
        self._cancels = False
        self._encode = encode
        self._say = say
        self._settle = settle
        self._fraction = 0.0

    def begin(self) -> None:
        """A handler begins."""
        self._worker = asyncio.current_task()
        self._report(encode_accepted(self.name))

    def end(self) -> None:
        """The handler has ended. One that was cancelled, and let that happen, has ended the task."""
        worker, self._worker = self._worker, None
        if self._cancels and worker is not None:
            worker.uncancel()
        if self.is_called_off:
            self._end_with(encode_cancelled(*self.called_off))

    def progress(self, fraction: float | None, text: str) -> None:
        """See `Request.progress`."""
        if fraction is not None:
            self._fraction = check_fraction(fraction, self._fraction)
        self._report(encode_progress(fraction, text))

    async def part(self, message: AgentMessage, correlation_id: str | None) -> None:
        """See `Request.part`. The bus keeps it: nobody must read it first."""
        self._report(encode_part(self._encode(message, correlation_id)))
        await asyncio.sleep(0)

    def finish(self, message: AgentMessage | None, correlation_id: str | None) -> None:
        """See `Request.finish`."""
        self._end_with(encode_result(None if message is None else self._encode(message, correlation_id)))

    def fail(self, error: BaseException) -> None:
        """Ends the attempt with a failure; unless the error says otherwise, another may follow."""
        self._end_with(encode_failure(error, False, retryable=True))

    def time_left(self) -> float:
        """See `Request.time_left`: nobody waits who could not wait longer."""
        return float("inf")

    def call_off(self, by: str, reason: str) -> None:
        """Somebody cancelled the task: cancels the handler."""
        if self.is_called_off:
            return
        self.is_called_off, self.called_off = True, (by, reason)
        if self._worker is not None:
            self._cancels = True
            self._worker.cancel()

    def _report(self, event: bytes) -> None:
        if not self.message.settled:
            self._say(self, self.count, [event])

    def _end_with(self, event: bytes) -> None:
        if self._settle(self.message):
            self._say(self, self.count, [event])


class TaskSubscription(DurableSubscription):
    """Works on the messages of a durable subscription as tasks: what handlers say of each is reported, and how they end
    settles it.

    Args:
        name: what whoever works here calls itself.
        encode: encodes a message, and checks its size.
        options: as `DurableSubscription` has them.
    """

    def __init__(self, *options: Any, name: str, encode: Callable[[AgentMessage, str | None], bytes]) -> None:
        super().__init__(*options)
        self._name_of_worker = name
        self._encode = encode
        self._answerings: dict[int, TaskAnswering] = {}
        """Those that are worked on, by sequence."""
        self._ended_lately: deque[tuple[float, TaskAnswering]] = deque()

    def start(self) -> None:
        """What was reported just before the stream was lost may not have arrived: it is reported again."""
        super().start()
        for answering in (*self._answerings.values(), *(each for _, each in self._ended_lately)):
            since = self._loop.time() - ACKED_SECONDS
            again = [event for time, event in answering.sent if time >= since]
            message, offset = answering.message, answering.count - len(again)
            if again and message.settled:
                self._repeated_acks.add(message.sequence)
            for first in range(0, len(again), MAX_REPORTED_EVENTS):
                some = again[first : first + MAX_REPORTED_EVENTS]
                self._send(message.sequence, message.attempt, offset + first, some)

    def gather(self) -> None:
        """See `DurableSubscription.gather`."""
        since = self._loop.time() - ACKED_SECONDS
        while self._ended_lately and self._ended_lately[0][0] < since:
            self._ended_lately.popleft()
        super().gather()

    def failed(self, request: Request, error: BaseException) -> None:
        """Ends an attempt with its failure."""
        answering = request._answering
        assert isinstance(answering, TaskAnswering)
        answering.fail(error)

    def _call(self, callback: Callable[[Any], Awaitable[None]], message: DurableMessage) -> Awaitable[None]:
        return self._work_on(callback, message)

    async def _work_on(self, callback: Callable[[Any], Awaitable[None]], message: DurableMessage) -> None:
        answering = TaskAnswering(message, self._name_of_worker, self._encode, self._say, self._let_go)
        request = request_of(message, answering)
        self._answerings[message.sequence] = answering
        answering.begin()
        try:
            await handle_request(self, callback, request)
        except BaseException:  # torn off: somebody else shall go on with it
            self.nakked(message, "cancelled: the client closed", 0.0)
            raise
        finally:
            answering.end()
            del self._answerings[message.sequence]
            self._ended_lately.append((self._loop.time(), answering))

    def _take_other(self, frame: bus_pb2.SubscribeResponse) -> None:
        if frame.WhichOneof("frame") == "task_cancelled":
            told = frame.task_cancelled
            answering = self._answerings.get(told.sequence)
            if answering is not None and answering.attempt == told.attempt:
                answering.call_off(told.by, told.reason)
            elif answering is None and self._holdings.holds(told.sequence, told.attempt):
                self._holdings.lose(told.sequence)  # it waits here, and is not begun
                self._send(told.sequence, told.attempt, 0, [encode_cancelled(told.by, told.reason)])
            return
        super()._take_other(frame)

    def _say(self, answering: TaskAnswering, offset: int, events: list[bytes]) -> None:
        now = self._loop.time()
        answering.sent.extend((now, event) for event in events)
        answering.count += len(events)
        while answering.sent[0][0] < now - ACKED_SECONDS:
            answering.sent.popleft()
        if self._holdings.stream_is_up:
            message = answering.message
            self._send(message.sequence, message.attempt, offset, events)
            if message.settled and message.attempt > 1:
                self._flush()  # see `_say_at_once`

    def _send(self, sequence: int, attempt: int, offset: int, events: list[bytes]) -> None:
        head = task_pb2.Report(sequence=sequence, attempt=attempt, offset=offset).SerializeToString()
        encoded = b"".join((head, *list_parts(_events, events)))
        self._item(self.id, len(encoded)).subscribe.report.MergeFromString(encoded)
