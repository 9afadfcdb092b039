"""MessageBus: what every bus promises, whatever carries the messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypedDict, overload

from trunkline.bus.durable import DurableMessage
from trunkline.bus.durable_delivery import DurableDelivery
from trunkline.bus.handling import DurableCallback
from trunkline.bus.life import LifeEvent
from trunkline.bus.request import RequestHandler
from trunkline.bus.submitted_task import SubmittedTask
from trunkline.channels import check_name, check_pattern
from trunkline.custom import takes, unsupported
from trunkline.delivery import DurableSettings, Receipt, Start
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT, DEFAULT_TASK_KEEP, MAX_REQUEST_TIMEOUT
from trunkline.models import AgentMessage


class Wished(TypedDict, total=False):
    """The keyword options of a request; see `MessageBus.request`."""

    idle_timeout: float | None
    wait_for_responder: bool
    repeatable: bool
    outlives_asker: bool
    traceback: bool


class RespondOptions(TypedDict, total=False):
    """The keyword options of `MessageBus.respond` beside its concurrency."""

    group: str | None
    durable: str | None
    start: Start
    settings: DurableSettings | None
    name: str | None
    on_error: Callable[[TrunklineError], None] | None


MessageCallback = Callable[[AgentMessage], Awaitable[None]]
"""What `subscribe` calls with each message."""


class MessageBus(DurableDelivery, ABC):
    """Publish/subscribe, request/reply and durable delivery between agents.

    Made without a running event loop; `connect()` binds it to the loop it is called in. Usable as `async with`.
    Every method but `connect`, `disconnect` and the properties raises `BusNotConnectedError` while not connected.

    A bus of one's own needs the six abstract methods, and none of their keyword options; what it does without raises
    NotImplementedError, and `can_store` is False of it.
    """

    @abstractmethod
    async def connect(self) -> None:
        """Starts clean: no subscriptions, a count of 0. On a connected bus it does nothing; the one in memory starts
        clean then too: its subscriptions and pending requests are gone.

        Raises:
            BusDisconnectedError: the service cannot be reached.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Ends everything: subscriptions are gone, pending requests fail with `BusDisconnectedError`. Idempotent."""

    @overload
    async def publish(self, channel: str, message: AgentMessage, *, stored: Literal[False] = False) -> None: ...

    @overload
    async def publish(
        self,
        channel: str,
        message: AgentMessage,
        *,
        stored: Literal[True],
        ordering_key: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: float | None = None,
    ) -> Receipt: ...

    @abstractmethod
    async def publish(
        self,
        channel: str,
        message: AgentMessage,
        *,
        stored: bool = False,
        ordering_key: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: float | None = None,
    ) -> Receipt | None:
        """Publishes a message. An expired one is dropped and not counted; no subscriber is no error.

        Args:
            stored: keep it in the journal for durable subscriptions, and return when that is synced to disk, with the
                receipt. Where the outcome is not known (`BusDisconnectedError`), publish the same message again: its
                message id is stored once on its channel.
            ordering_key: messages with the same key reach a durable subscription's subscribers one at a time and in
                order; 1 to 255 bytes.
            deliver_at: hold it back until then; with a time zone, at most a year ahead.
            deliver_after: hold it back for so many seconds, 0 to a year.

        Raises:
            InvalidChannelError: the channel is empty, too long or malformed.
            InvalidMessageError: an option is out of bounds, or needs `stored`.
            MessageTooLargeError: the encoded message is over the limit.
            OverloadedError: the journal has no room; nothing was stored.
        """

    @overload
    async def subscribe(
        self,
        channel: str,
        callback: MessageCallback,
        *,
        group: str | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        on_error: Callable[[TrunklineError], None] | None = None,
        observer: bool = False,
    ) -> None: ...

    @overload
    async def subscribe(
        self,
        channel: str,
        callback: DurableCallback,
        *,
        durable: str,
        start: Start = "new",
        settings: DurableSettings | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_error: Callable[[TrunklineError], None] | None = None,
        on_paused: Callable[[bool], None] | None = None,
    ) -> None: ...

    @abstractmethod
    async def subscribe(
        self,
        channel: str,
        callback: MessageCallback | DurableCallback,
        *,
        group: str | None = None,
        concurrency: int = 1,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        on_error: Callable[[TrunklineError], None] | None = None,
        observer: bool = False,
        durable: str | None = None,
        start: Start = "new",
        settings: DurableSettings | None = None,
        on_paused: Callable[[bool], None] | None = None,
    ) -> None:
        """Calls `callback` with each message of a channel or pattern; in effect on return.

        A callback's exception is logged and hits nobody else. One subscription's callbacks run one after the other
        unless `concurrency` says how many may run at once; subscriptions never wait for each other.

        Args:
            channel: a channel, or a pattern with `*` (one token) and a last `>` (one or more).
            callback: an async function of one message.
            group: subscribers that name the same group of one pattern share its messages, each to one of them.
            concurrency: how many callbacks may run at once, from 1.
            credit: how many messages the service sends ahead of the callbacks, from 1: with 1 it sends the next one
                when the callback has returned. Default: thousands for a live subscription without a group; else twice
                the concurrency, so that work goes to who is free.
            on_lagged: told how many messages were dropped because this live subscriber was too slow. It is logged too.
            on_error: called with what goes wrong beside the messages: with a `StaleAckError` where messages that this
                durable subscriber had were handed on before it settled them (details `sequences`: which); with a
                `StorageError` whose details say `why` "lost commits" where the journal lost what it had answered, as
                Redis may at a failover: messages may be gone, and acked ones come again (it is logged too); with any
                other error where the bus ended the subscription, which is over then. Unset: it is logged.
            observer: this live subscriber only looks on, as a debugging tool does: it gets the messages, but a request
                on a channel that only observers subscribe to still fails with `NoRespondersError`.
            durable: name of a durable subscription, made here where there is none: it keeps every stored message until
                a callback returned, also while nobody is connected, and hands it out again where the callback raised
                or its process died. All who name it share its messages.
            start: where it starts, if it is made here.
            settings: how it delivers, if it is made here; unset: the defaults, or as it is.
            on_paused: told True when the durable subscription is paused, or is so already, and False when it goes on.
                It is logged too.

        Raises:
            InvalidChannelError: the pattern or the group's name is malformed.
            InvalidMessageError: a setting is out of bounds; options that do not go together.
            SubscriptionExistsError: the durable name has another pattern or other settings.
            CompactedError: what shall be started at is not kept any more.
            ValueError: concurrency or credit below 1.
        """

    @abstractmethod
    async def unsubscribe(self, channel: str) -> None:
        """Removes this bus object's subscriptions of a channel or pattern; an unknown one is fine."""

    @abstractmethod
    async def request(
        self,
        channel: str,
        message: AgentMessage,
        timeout: float = DEFAULT_REQUEST_TIMEOUT,
        *,
        idle_timeout: float | None = None,
        wait_for_responder: bool = False,
        repeatable: bool = False,
        outlives_asker: bool = False,
        traceback: bool = False,
    ) -> AgentMessage:
        """Publishes a message and returns its reply: what a responder answers, or the first other message with its
        correlation id, on any channel.

        The message goes out as a copy whose correlation id, where unset, is its message id: that is the request's id.
        Cancelling the task that waits cancels the request: whoever works on it is told.

        Args:
            timeout: seconds from the call, more than 0.
            idle_timeout: seconds in which a sign of life must come, from the call and from each sign on. A responder
                gives some by itself while its handler runs; so one that stands still is noticed, and one that works is
                not cut off. None: only `timeout` counts.
            wait_for_responder: where nobody subscribes, or the bus is being reconnected to, wait for that, within the
                timeout.
            repeatable: it may be done twice: where the responder is lost, another gets it.
            outlives_asker: it goes on where this client is lost, or stops waiting.
            traceback: a failure brings the traceback of the handler, in its details.

        Raises:
            RequestTimeoutError: no reply, or no sign of life, in time; details channel, correlation_id,
                timeout_seconds or idle_timeout_seconds.
            NoRespondersError: nobody subscribes to the channel; raised at once.
            RequestFailedError: the responder's handler raised; details type, text, code, retryable.
            ResponderLostError: the responder that held it is gone; raised at once.
            RequestCancelledError: somebody else cancelled it.
            BusDisconnectedError: the connection was lost, or `disconnect()` was called, while it waited.
            InvalidMessageError: another pending request uses the same correlation id; a timeout out of bounds.
        """

    def request_stream(
        self,
        channel: str,
        message: AgentMessage,
        timeout: float = DEFAULT_REQUEST_TIMEOUT,
        *,
        idle_timeout: float | None = None,
        wait_for_responder: bool = False,
        repeatable: bool = False,
        outlives_asker: bool = False,
        traceback: bool = False,
    ) -> AsyncGenerator[LifeEvent, None]:
        """Publishes a message and yields the life of the request: `Accepted`, `Progress` and `Part` in any number,
        then one end, which is the last: `Result`, `Failure` or `Cancellation`.

        It is sent at the first step. What is not read keeps the responder waiting. Closing the iterator, or cancelling
        the task that reads it, cancels the request.

        Args:
            timeout, idle_timeout, wait_for_responder, repeatable, outlives_asker, traceback: as `request` has them.

        Raises:
            As `request`, at a step, but for RequestFailedError and RequestCancelledError: these are events.
        """
        raise unsupported(self, "request_stream()")

    async def respond(
        self,
        pattern: str,
        handler: RequestHandler,
        *,
        group: str | None = None,
        durable: str | None = None,
        start: Start = "new",
        settings: DurableSettings | None = None,
        concurrency: int = 1,
        name: str | None = None,
        on_error: Callable[[TrunklineError], None] | None = None,
    ) -> None:
        """Answers the requests on a channel or pattern, or works on its tasks; in effect on return, until
        `unsubscribe`.

        The handler gets each as a `Request`. What it returns is the result: a payload (dict), text, bytes, a message,
        or None. Of an async generator, each yield is a part. What it raises is the failure, told at once. Where the
        request is called off, it is cancelled, and may clean up. What is published on the channel and is no request is
        passed over.

        Args:
            handler: an async function of one request, or an async generator function.
            group: responders that name the same group of one pattern share its requests, each to one of them. Without,
                each gets every request, and whoever accepts one first answers it.
            durable: work on the messages of this durable subscription as tasks (see `submit`), and not on requests:
                what the handler says is kept in their lives. What it raises is tried again, as after a nak, unless the
                error has a `retryable` that is false. A message that is no task is acked or nakked by how it ends.
            start, settings: of the durable subscription, if it is made here; as `subscribe` has them.
            concurrency: how many requests may be answered at once, from 1; no more are taken.
            name: what the responder calls itself to who asks. Default: what the client is called.
            on_error: as `subscribe` has it.

        Raises:
            InvalidChannelError: the pattern or the group's name is malformed.
            ValueError: concurrency below 1.
            TypeError: the handler is no async function.
            SubscriptionExistsError, CompactedError, InvalidMessageError: as `subscribe`, with durable.
        """
        raise unsupported(self, "respond()")

    async def submit(
        self,
        channel: str,
        message: AgentMessage,
        *,
        durable: str | None = None,
        keep: float = DEFAULT_TASK_KEEP,
        ordering_key: str | None = None,
        deliver_at: datetime | None = None,
        deliver_after: float | None = None,
    ) -> SubmittedTask:
        """Stores a message as a task, and returns when that is synced to disk. It outlives whoever submits it and
        whoever works on it: a durable subscription hands it out (see `respond`, with durable), and its life is kept.

        The task's id is the message's. Where the outcome is not known (`BusDisconnectedError`), submit the same message
        again: it is one task.

        Args:
            durable: which durable subscription does it. None: the only one that matches the channel.
            keep: seconds that its life is kept after its end, 1 s to 7 days. Default: 1 day.
            ordering_key, deliver_at, deliver_after: as `publish` has them.

        Raises:
            InvalidChannelError, MessageTooLargeError: as `publish`.
            InvalidMessageError: as `publish`; several durable subscriptions match, and none is named.
            NoRespondersError: no durable subscription matches: nobody would do it.
            SubscriptionNotFoundError: there is none of that name.
            OverloadedError: the journal has no room, or too many tasks are kept that have not ended.
        """
        raise unsupported(self, "submit()")

    async def cancel(self, request_id: str, *, by: str = "", reason: str = "") -> None:
        """Cancels a pending request, whoever asked: whoever works on it is cancelled, and who asked hears so.

        Args:
            request_id: the correlation id of the request's message, which is its message id where it had none.
            by: who cancels it; told to both.
            reason: why; told to both.

        Raises:
            RequestNotFoundError: it is unknown or over.
        """
        raise unsupported(self, "cancel()")

    @overload
    def messages(
        self,
        pattern: str,
        *,
        group: str | None = None,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        observer: bool = False,
    ) -> AsyncGenerator[AgentMessage, None]: ...

    @overload
    def messages(
        self,
        pattern: str,
        *,
        durable: str,
        start: Start = "new",
        settings: DurableSettings | None = None,
        credit: int | None = None,
    ) -> AsyncGenerator[DurableMessage, None]: ...

    def messages(
        self,
        pattern: str,
        *,
        group: str | None = None,
        credit: int | None = None,
        on_lagged: Callable[[int], None] | None = None,
        observer: bool = False,
        durable: str | None = None,
        start: Start = "new",
        settings: DurableSettings | None = None,
    ) -> AsyncGenerator[AgentMessage, None] | AsyncGenerator[DurableMessage, None]:
        """Yields the messages of a channel or pattern. Interest is registered at the first step; it ends
        when the iterator is closed, or with `BusNotConnectedError` when the bus is disconnected.

        Of a durable subscription, each step acks the message before, unless that was settled; an iterator that is
        closed naks the one that it gave out last, and gives back those that it did not.

        Args:
            group, credit, on_lagged, observer, durable, start, settings: as `subscribe` has them.
        """
        raise unsupported(self, "messages()")

    async def flush(self) -> None:
        """Returns when the service took everything published so far. Of a bus of one's own: at once, because its
        `publish` returns when the message is taken.

        Raises:
            TrunklineError: the service refused something published since the last flush; the first such error.
            BusDisconnectedError: the connection was lost, and what it held may be too.
        """

    @property
    def is_connected(self) -> bool:
        """Whether the bus is connected now; False while a lost connection is being restored."""
        raise unsupported(self, "is_connected")

    @property
    def published_count(self) -> int:
        """Messages that this bus object published since `connect()` (a request counts, and so does its reply)."""
        raise unsupported(self, "published_count")

    @property
    def can_store(self) -> bool:
        """Whether it keeps messages: `publish` takes `stored`, and `subscribe` a `durable` name. False where `publish`
        takes a channel and a message alone, as ConductorAI's did."""
        return takes(self.publish, "stored")

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()


def check_timeout(timeout: float, field: str = "timeout") -> None:
    """Raises InvalidMessageError where a request's timeout, in seconds, is out of bounds."""
    if not 0 < timeout <= MAX_REQUEST_TIMEOUT:
        raise InvalidMessageError(
            f"{field} is {timeout:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
            details={"field": field, "value": f"{timeout:g}"},
        )


def check_interest(pattern: str, group: str | None, credit: int | None) -> None:
    """Raises InvalidChannelError or ValueError where a subscription cannot be opened as it is wished."""
    check_pattern(pattern)
    if group is not None:
        check_name("group", group)
    if credit is not None and credit < 1:
        raise ValueError(f"credit is {credit}, it must be at least 1")
