"""The synchronous MessageBus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from typing import Any, Literal, Unpack, overload

from trunkline.bus.dead_letters import DeadLetter, DeadLetterChoice, Redriven, WhichDeadLetters
from trunkline.bus.durable import DurableMessage as AsyncDurableMessage
from trunkline.bus.grpc.bus import GrpcMessageBus
from trunkline.bus.inspection import BusStatistics, DurableInfo, SubscriptionInfo
from trunkline.bus.life import LifeEvent
from trunkline.bus.message_bus import MessageBus as AsyncMessageBus
from trunkline.bus.message_bus import RespondOptions, Wished
from trunkline.bus.questions import Explanation, LeftOut, Stuck, Trace
from trunkline.bus.request import Answer
from trunkline.bus.submitted_task import SubmittedTask as AsyncSubmittedTask
from trunkline.bus.submitted_task import TaskInfo, TaskState
from trunkline.bus.waiting import CancelledMessages, MovedMessages, WaitingChoice, WaitingFilter, WaitingMessage
from trunkline.delivery import DurableChanges, DurableSettings, Receipt, Start
from trunkline.errors import TrunklineError
from trunkline.limits import BUS_PORT, DEFAULT_REQUEST_TIMEOUT
from trunkline.models import AgentMessage
from trunkline.sync.durable_message import DurableMessage, synchronous
from trunkline.sync.face import Face
from trunkline.sync.request import Request, ThreadedHandler
from trunkline.sync.submitted_task import SubmittedTask


class MessageBus(Face[AsyncMessageBus]):
    """`GrpcMessageBus`, synchronous; see there for arguments and errors.

    A callback is a plain function and runs in a thread of its subscription, so it may publish and request. Durable
    subscriptions hand out `trunkline.sync.DurableMessage`.
    """

    def __init__(self, address: str = f"127.0.0.1:{BUS_PORT}", **options: Any) -> None:
        super().__init__(GrpcMessageBus(address, **options))

    def _put_on(self, asynchronous: AsyncMessageBus) -> None:
        super()._put_on(asynchronous)
        self._threads: dict[str, list[ThreadPoolExecutor]] = {}

    def disconnect(self) -> None:
        """See `MessageBus.disconnect`. Callbacks that run are not waited for."""
        super().disconnect()
        for pattern in list(self._threads):
            self._stop_threads(pattern)

    @overload
    def publish(self, channel: str, message: AgentMessage, *, stored: Literal[False] = False) -> None: ...

    @overload
    def publish(
        self,
        channel: str,
        message: AgentMessage,
        *,
        stored: Literal[True],
        ordering_key: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: float | None = None,
    ) -> Receipt: ...

    def publish(self, channel: str, message: AgentMessage, **options: Any) -> Receipt | None:
        """See `MessageBus.publish`."""
        receipt: Receipt | None = self._wait(self._asynchronous.publish(channel, message, **options))
        return receipt

    @overload
    def subscribe(
        self,
        channel: str,
        callback: Callable[[AgentMessage], object],
        *,
        group: str | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        on_error: Callable[[TrunklineError], None] | None = None,
        observer: bool = False,
    ) -> None: ...

    @overload
    def subscribe(
        self,
        channel: str,
        callback: Callable[[DurableMessage], object],
        *,
        durable: str,
        start: Start = "new",
        settings: DurableSettings | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_error: Callable[[TrunklineError], None] | None = None,
        on_paused: Callable[[bool], None] | None = None,
    ) -> None: ...

    def subscribe(
        self, channel: str, callback: Callable[[Any], object], *, concurrency: int = 1, **options: Any
    ) -> None:
        """See `MessageBus.subscribe`."""
        threads = ThreadPoolExecutor(max(1, concurrency), thread_name_prefix=f"trunkline {channel}")

        async def call(message: AgentMessage) -> None:
            error = await asyncio.get_running_loop().run_in_executor(threads, _error_of, callback, self._faced(message))
            if error is not None:
                raise error

        try:
            if concurrency != 1:  # a bus of one's own may have no such option
                options["concurrency"] = concurrency
            self._wait(self._asynchronous.subscribe(channel, call, **options))
        except BaseException:
            threads.shutdown(wait=False)
            raise
        self._threads.setdefault(channel, []).append(threads)

    def unsubscribe(self, channel: str) -> None:
        """See `MessageBus.unsubscribe`."""
        self._wait(self._asynchronous.unsubscribe(channel))
        self._stop_threads(channel)

    def request(
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT, **wished: Unpack[Wished]
    ) -> AgentMessage:
        """See `MessageBus.request`."""
        return self._wait(self._asynchronous.request(channel, message, timeout, **wished))

    def request_stream(
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT, **wished: Unpack[Wished]
    ) -> Generator[LifeEvent, None, None]:
        """See `MessageBus.request_stream`. Closing the generator cancels the request."""
        return self._iterate(self._asynchronous.request_stream(channel, message, timeout, **wished))

    def respond(
        self,
        pattern: str,
        handler: Callable[[Request], Answer | Iterator[Answer]],
        *,
        concurrency: int = 1,
        **options: Unpack[RespondOptions],
    ) -> None:
        """See `MessageBus.respond`. The handler is a plain function, or a generator whose yields are parts; its request
        is a `trunkline.sync.Request`. A thread cannot be cancelled: where the request is called off, its next `part` or
        yield raises RequestCancelledError, and `is_called_off` is true."""
        threads = ThreadPoolExecutor(max(1, concurrency), thread_name_prefix=f"trunkline {pattern}")
        answering = ThreadedHandler(handler, threads, self._wait)
        try:
            self._wait(self._asynchronous.respond(pattern, answering, concurrency=concurrency, **options))
        except BaseException:
            threads.shutdown(wait=False)
            raise
        self._threads.setdefault(pattern, []).append(threads)

    def cancel(self, request_id: str, *, by: str = "", reason: str = "") -> None:
        """See `MessageBus.cancel`."""
        self._wait(self._asynchronous.cancel(request_id, by=by, reason=reason))

    @overload
    def messages(
        self,
        pattern: str,
        *,
        group: str | None = None,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        observer: bool = False,
    ) -> Generator[AgentMessage, None, None]: ...

    @overload
    def messages(
        self,
        pattern: str,
        *,
        durable: str,
        start: Start = "new",
        settings: DurableSettings | None = None,
        credit: int | None = None,
    ) -> Generator[DurableMessage, None, None]: ...

    def messages(self, pattern: str, **options: Any) -> Generator[Any, None, None]:
        """See `MessageBus.messages`."""
        with closing(self._iterate(self._asynchronous.messages(pattern, **options))) as messages:
            for message in messages:
                yield self._faced(message)

    def create_durable(
        self, name: str, pattern: str, *, start: Start = "new", settings: DurableSettings | None = None
    ) -> bool:
        """See `MessageBus.create_durable`."""
        return self._wait(self._asynchronous.create_durable(name, pattern, start=start, settings=settings))

    def delete_durable(self, name: str) -> None:
        """See `MessageBus.delete_durable`."""
        self._wait(self._asynchronous.delete_durable(name))

    def seek_durable(self, name: str, start: Start) -> None:
        """See `MessageBus.seek_durable`."""
        self._wait(self._asynchronous.seek_durable(name, start))

    def update_durable(self, name: str, **changes: Unpack[DurableChanges]) -> DurableInfo:
        """See `MessageBus.update_durable`."""
        return self._wait(self._asynchronous.update_durable(name, **changes))

    def pause_durable(self, name: str) -> DurableInfo:
        """See `MessageBus.pause_durable`."""
        return self._wait(self._asynchronous.pause_durable(name))

    def resume_durable(self, name: str) -> DurableInfo:
        """See `MessageBus.resume_durable`."""
        return self._wait(self._asynchronous.resume_durable(name))

    def durable(self, name: str) -> DurableInfo:
        """See `MessageBus.durable`."""
        return self._wait(self._asynchronous.durable(name))

    def waiting_messages(
        self, name: str, *, limit: int | None = None, brief: bool = False, **chosen: Unpack[WaitingChoice]
    ) -> Generator[WaitingMessage, None, None]:
        """See `MessageBus.waiting_messages`."""
        return self._iterate(self._asynchronous.waiting_messages(name, limit=limit, brief=brief, **chosen))

    def cancel_waiting(self, name: str, which: WaitingFilter, *, dry_run: bool = False) -> CancelledMessages:
        """See `MessageBus.cancel_waiting`."""
        return self._wait(self._asynchronous.cancel_waiting(name, which, dry_run=dry_run))

    def move_waiting(self, name: str, which: WaitingFilter, to: str, *, dry_run: bool = False) -> MovedMessages:
        """See `MessageBus.move_waiting`."""
        return self._wait(self._asynchronous.move_waiting(name, which, to, dry_run=dry_run))

    def durables(self) -> Generator[DurableInfo, None, None]:
        """See `MessageBus.durables`."""
        return self._iterate(self._asynchronous.durables())

    def subscriptions(self, pattern: str | None = None) -> Generator[SubscriptionInfo, None, None]:
        """See `MessageBus.subscriptions`."""
        return self._iterate(self._asynchronous.subscriptions(pattern))

    def explain(self, channel: str, *, identity: str = "", max_others: int | None = None) -> Explanation:
        """See `MessageBus.explain`."""
        return self._wait(self._asynchronous.explain(channel, identity=identity, max_others=max_others))

    def trace(self, message_id: str = "", *, correlation_id: str = "") -> Trace:
        """See `MessageBus.trace`."""
        return self._wait(self._asynchronous.trace(message_id, correlation_id=correlation_id))

    def stuck(self, *, older_than: float | None = None, limit: int | None = None) -> Stuck:
        """See `MessageBus.stuck`."""
        return self._wait(self._asynchronous.stuck(older_than=older_than, limit=limit))

    def tail(
        self,
        pattern: str,
        *,
        max_rate: int | None = None,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        on_started: Callable[[], object] | None = None,
    ) -> Generator[AgentMessage | LeftOut, None, None]:
        """See `MessageBus.tail`; `on_started` is called in the thread of the event loop."""
        tail = self._asynchronous.tail(
            pattern, max_rate=max_rate, max_messages=max_messages, max_bytes=max_bytes, on_started=on_started
        )
        return self._iterate(tail)

    def statistics(self) -> BusStatistics:
        """See `MessageBus.statistics`."""
        return self._wait(self._asynchronous.statistics())

    def submit(self, channel: str, message: AgentMessage, **options: Any) -> SubmittedTask:
        """See `MessageBus.submit`."""
        return self._task_of(self._wait(self._asynchronous.submit(channel, message, **options)))

    def task(self, id: str) -> SubmittedTask:
        """See `MessageBus.task`."""
        return self._task_of(self._asynchronous.task(id))

    def tasks(
        self, *, state: TaskState | None = None, channel: str | None = None, durable: str | None = None
    ) -> Generator[TaskInfo, None, None]:
        """See `MessageBus.tasks`."""
        return self._iterate(self._asynchronous.tasks(state=state, channel=channel, durable=durable))

    def _task_of(self, asynchronous: AsyncSubmittedTask) -> SubmittedTask:
        return SubmittedTask(asynchronous, self._wait, self._iterate)

    def dead_letter(self, id: int) -> DeadLetter:
        """See `MessageBus.dead_letter`."""
        return self._wait(self._asynchronous.dead_letter(id))

    def dead_letters(
        self, *, limit: int | None = None, brief: bool = False, **chosen: Unpack[DeadLetterChoice]
    ) -> Generator[DeadLetter, None, None]:
        """See `MessageBus.dead_letters`."""
        return self._iterate(self._asynchronous.dead_letters(limit=limit, brief=brief, **chosen))

    def count_dead_letters(self, **chosen: Unpack[DeadLetterChoice]) -> int:
        """See `MessageBus.count_dead_letters`."""
        return self._wait(self._asynchronous.count_dead_letters(**chosen))

    def redrive(
        self, which: WhichDeadLetters, *, dry_run: bool = False, force: bool = False, limit: int | None = None
    ) -> Redriven:
        """See `MessageBus.redrive`."""
        return self._wait(self._asynchronous.redrive(which, dry_run=dry_run, force=force, limit=limit))

    def purge(self, which: WhichDeadLetters, *, dry_run: bool = False) -> int:
        """See `MessageBus.purge`."""
        return self._wait(self._asynchronous.purge(which, dry_run=dry_run))

    def flush(self) -> None:
        """See `MessageBus.flush`."""
        self._wait(self._asynchronous.flush())

    @property
    def published_count(self) -> int:
        """See `MessageBus.published_count`."""
        return self._asynchronous.published_count

    def _faced(self, message: AgentMessage) -> AgentMessage:
        return synchronous(message, self._wait) if isinstance(message, AsyncDurableMessage) else message

    def _stop_threads(self, pattern: str) -> None:
        for threads in self._threads.pop(pattern, ()):
            threads.shutdown(wait=False, cancel_futures=True)


def _error_of(callback: Callable[[Any], object], message: AgentMessage) -> BaseException | None:
    """Calls a callback and returns what it raised: a future cannot carry `StopIteration`, and would throw
    `GeneratorExit` into whoever waits for it."""
    try:
        callback(message)
    except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
        return error
    return None
