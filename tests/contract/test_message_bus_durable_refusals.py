"""What every MessageBus refuses of durable delivery, by field and value, and changes nothing."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.durables import numbers, store, take
from tests.contract.inbox import Inbox, numbered
from trunkline import (
    Backoff,
    DeadLetterFilter,
    DurableMessage,
    DurableSettings,
    InvalidChannelError,
    InvalidMessageError,
    MessageBus,
)

YEAR = 365 * 86_400


def _field(caught: pytest.ExceptionInfo[InvalidMessageError]) -> Any:
    """The field that was refused; the details have its value too."""
    assert isinstance(caught.value.details["value"], str)
    return caught.value.details["field"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"ordering_key": "x" * 256}, "ordering_key"),
        ({"ordering_key": "ä" * 128}, "ordering_key"),
        ({"ordering_key": ""}, "ordering_key"),
        ({"deliver_after": -1}, "deliver_after"),
        ({"deliver_after": YEAR + 1}, "deliver_after"),
        ({"deliver_after": math.nan}, "deliver_after"),
        ({"deliver_at": datetime(2030, 1, 1)}, "deliver_at"),  # that is what is refused
        ({"deliver_at": datetime.now(UTC) + timedelta(days=366)}, "deliver_at"),
        ({"deliver_at": datetime.now(UTC), "deliver_after": 1}, "deliver_after"),
    ],
)
async def test_publish_options_out_of_bounds(
    bus: MessageBus, channel: str, name: str, options: dict[str, Any], field: str
) -> None:
    """Refused by field and value; nothing is stored."""
    await bus.create_durable(name, channel)
    with pytest.raises(InvalidMessageError) as caught:
        await bus.publish(channel, numbered("bad"), stored=True, **options)
    assert _field(caught) == field
    await store(bus, channel, numbered("end"))
    assert numbers(await take(bus, channel, name, 1)) == ["end"]
    assert bus.published_count == 1


@pytest.mark.parametrize(
    "options", [{"ordering_key": "k"}, {"deliver_after": 1}, {"deliver_at": datetime(2030, 1, 1, tzinfo=UTC)}]
)
async def test_options_of_a_stored_message_need_stored(bus: MessageBus, channel: str, options: dict[str, Any]) -> None:
    """A live message is never held back or ordered: that is said, not passed over."""
    publish: Any = bus.publish
    with pytest.raises(InvalidMessageError) as caught:
        await publish(channel, numbered(1), **options)
    assert _field(caught) == next(iter(options))


async def test_held_back_beyond_its_ttl(bus: MessageBus, channel: str) -> None:
    """A message that would expire before it is due."""
    with pytest.raises(InvalidMessageError) as caught:
        await bus.publish(channel, numbered(1, ttl_seconds=1), stored=True, deliver_after=5)
    assert _field(caught) == "deliver_after"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (DurableSettings(ack_wait=0.05), "ack_wait"),
        (DurableSettings(ack_wait=86_401), "ack_wait"),
        (DurableSettings(ack_wait=-1), "ack_wait"),
        (DurableSettings(max_deliveries=0), "max_deliveries"),
        (DurableSettings(max_deliveries=-1), "max_deliveries"),
        (DurableSettings(max_deliveries=1_001), "max_deliveries"),
        (DurableSettings(backoff=Backoff(initial=-1)), "backoff.initial"),
        (DurableSettings(backoff=Backoff(multiplier=0.5)), "backoff.multiplier"),
        (DurableSettings(backoff=Backoff(initial=10, maximum=5)), "backoff.maximum"),
    ],
)
async def test_settings_out_of_bounds(
    bus: MessageBus, channel: str, name: str, settings: DurableSettings, field: str
) -> None:
    """By every way that makes one; none is made."""
    for attempt in (
        bus.create_durable(name, channel, settings=settings),
        bus.subscribe(channel, Inbox(), durable=name, settings=settings),
        anext(bus.messages(channel, durable=name, settings=settings)),
    ):
        with pytest.raises(InvalidMessageError) as caught:
            await attempt
        assert _field(caught) == f"settings.{field}"
    assert await bus.create_durable(name, channel), "it was not there"


@pytest.mark.parametrize("start", [0, -1, True, "newest", datetime(2030, 1, 1), 10**12])
async def test_no_place_to_start_at(bus: MessageBus, channel: str, name: str, start: Any) -> None:
    """To start at or to move to: refused, and it stays where it was."""
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered("waits"))
    for attempt in (
        bus.create_durable(f"{name}-2", channel, start=start),
        bus.subscribe(channel, Inbox(), durable=f"{name}-2", start=start),
        bus.seek_durable(name, start),
    ):
        with pytest.raises(InvalidMessageError) as caught:
            await attempt
        assert caught.value.details["field"] in ("start", "position.sequence")
    assert numbers(await take(bus, channel, name, 1)) == ["waits"]


@pytest.mark.parametrize("bad", ["", "with space", "x" * 256])
async def test_malformed_names(bus: MessageBus, channel: str, bad: str) -> None:
    """Of a durable subscription."""
    for attempt in (
        bus.create_durable(bad, channel),
        bus.subscribe(channel, Inbox(), durable=bad),
        anext(bus.messages(channel, durable=bad)),
    ):
        with pytest.raises(InvalidChannelError):
            await attempt


async def test_options_that_do_not_go_together(bus: MessageBus, channel: str, name: str) -> None:
    """What only live subscriptions have, and what only durable ones have."""
    subscribe: Any = bus.subscribe
    for options in (
        {"durable": name, "group": "g"},
        {"durable": name, "on_lagged": print},
        {"start": "all"},
        {"settings": DurableSettings()},
    ):
        with pytest.raises(InvalidMessageError) as caught:
            await subscribe(channel, Inbox(), **options)
        assert _field(caught) == list(options)[-1]
    for figure in ({"concurrency": 0}, {"credit": 0}, {"credit": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(figure))} is {next(iter(figure.values()))}"):
            await subscribe(channel, Inbox(), durable=name, **figure)


async def test_delays_and_leases_out_of_bounds(bus: MessageBus, channel: str, name: str) -> None:
    """Refused; the message is still to be settled."""
    await bus.create_durable(name, channel)
    await store(bus, channel, numbered(1))
    stream = bus.messages(channel, durable=name)
    message = await anext(stream)
    for attempt, field in (
        (message.nak(delay=-1), "delay"),
        (message.nak(delay=7 * 86_400 + 1), "delay"),
        (message.extend(0), "seconds"),
        (message.extend(-1), "seconds"),
        (message.extend(86_401), "seconds"),
    ):
        with pytest.raises(InvalidMessageError) as caught:
            await attempt
        assert _field(caught) == field
    assert not message.settled
    await stream.aclose()


async def test_a_message_that_was_never_handed_out(bus: MessageBus) -> None:
    """One that somebody made cannot be settled."""
    message = DurableMessage(message_type="x", sender_id="tests", payload={})
    for attempt in (message.ack(), message.nak(), message.terminate("x"), message.extend()):
        with pytest.raises(InvalidMessageError, match="not handed out"):
            await attempt


@pytest.mark.parametrize(
    ("chosen", "field"),
    [
        ({"since": datetime(2030, 1, 1)}, "since"),
        ({"before": datetime(2030, 1, 1)}, "before"),
        ({"since": datetime(2030, 1, 1, tzinfo=UTC), "before": datetime(2030, 1, 1, tzinfo=UTC)}, "before"),
    ],
)
async def test_dead_letter_filters_that_cannot_be(bus: MessageBus, chosen: dict[str, Any], field: str) -> None:
    """A time without a zone, a span that ends before it begins: for listing, redrive and purge."""
    with pytest.raises(InvalidMessageError) as caught:
        bus.dead_letters(**chosen)
    assert _field(caught) == field
    for attempt in (bus.redrive(DeadLetterFilter(**chosen)), bus.purge(DeadLetterFilter(**chosen))):
        with pytest.raises(InvalidMessageError) as caught:
            await attempt
        assert _field(caught) == field


async def test_counts_of_dead_letters_that_cannot_be(bus: MessageBus) -> None:
    """No ids, too many, and limits below 1 or above 10,000."""
    for limit in (0, -1):
        with pytest.raises(InvalidMessageError) as caught:
            bus.dead_letters(limit=limit)
        assert _field(caught) == "limit"
    for attempt, field in (
        (bus.redrive(DeadLetterFilter(), limit=0), "limit"),
        (bus.redrive(DeadLetterFilter(), limit=10_001), "limit"),
        (bus.redrive([]), "ids"),
        (bus.purge([]), "ids"),
        (bus.purge(range(1, 10_002)), "ids"),
    ):
        with pytest.raises(InvalidMessageError) as caught:
            await attempt
        assert _field(caught) == field


async def test_malformed_filters(bus: MessageBus) -> None:
    """A durable name or a pattern that cannot be."""
    for chosen in ({"durable": "with space"}, {"channel": "a::b"}):
        with pytest.raises(InvalidChannelError):
            bus.dead_letters(**chosen)  # type: ignore[arg-type]
