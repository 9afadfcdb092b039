"""MessageBus: what every bus promises, whatever carries the messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, overload

from trunkline.bus.durable import DurableMessage
from trunkline.bus.durable_delivery import DurableDelivery
from trunkline.bus.handling import DurableCallback
from trunkline.channels import check_name, check_pattern
from trunkline.custom import takes, unsupported
from trunkline.delivery import DurableSettings, Receipt, Start
from trunkline.errors import InvalidMessageError, TrunklineError
from trunkline.limits import DEFAULT_REQUEST_TIMEOUT, MAX_REQUEST_TIMEOUT
from trunkline.models import AgentMessage

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
                durable subscriber had were handed on before it settled them (details `sequences`: which); with any
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
        self, channel: str, message: AgentMessage, timeout: float = DEFAULT_REQUEST_TIMEOUT
    ) -> AgentMessage:
        """Publishes a message and returns its reply: the first other message with its correlation id, on any channel.

        The message goes out as a copy whose correlation id, where unset, is its message id.

        Args:
            timeout: seconds from the call, more than 0.

        Raises:
            RequestTimeoutError: no reply in time; details channel, correlation_id, timeout_seconds.
            NoRespondersError: nobody subscribes to the channel; raised at once.
            BusDisconnectedError: the connection was lost, or `disconnect()` was called, while it waited.
            InvalidMessageError: another pending request uses the same correlation id; a timeout out of bounds.
        """

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


def check_timeout(timeout: float) -> None:
    """Raises InvalidMessageError where a request's timeout, in seconds, is out of bounds."""
    if not 0 < timeout <= MAX_REQUEST_TIMEOUT:
        raise InvalidMessageError(
            f"timeout is {timeout:g} s, it must be more than 0 and at most {MAX_REQUEST_TIMEOUT:g} s",
            details={"field": "timeout", "value": f"{timeout:g}"},
        )


def check_interest(pattern: str, group: str | None, credit: int | None) -> None:
    """Raises InvalidChannelError or ValueError where a subscription cannot be opened as it is wished."""
    check_pattern(pattern)
    if group is not None:
        check_name("group", group)
    if credit is not None and credit < 1:
        raise ValueError(f"credit is {credit}, it must be at least 1")
