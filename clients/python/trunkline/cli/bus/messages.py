"""`trunkline publish`, `trunkline request` and `trunkline cancel`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import run
from trunkline.cli.input import STDIN, read_object, read_objects
from trunkline.cli.output import counted, print_json, safe, write_line
from trunkline.cli.settings import Command, settings, with_settings
from trunkline.cli.times import read_span, read_time
from trunkline.errors import InvalidMessageError

if TYPE_CHECKING:
    from trunkline import AgentMessage

DEFAULT_SENDER = "cli"


def _message_options(command: Command) -> Command:
    for option in reversed(
        [
            click.option("--type", "message_type", help="What the message is for."),
            click.option("--sender", default=DEFAULT_SENDER, show_default=True, help="Who sends it."),
            click.option("--recipient", help="Whom it is meant for. Default: everybody."),
            click.option("--priority", type=click.Choice(["low", "medium", "high", "critical"]), default="medium"),
            click.option("--ttl", type=click.IntRange(1, 2**31 - 1), metavar="SECONDS", help="Not delivered after it."),
            click.option("--correlation-id", help="Ties a reply to its request."),
            click.option("--metadata", metavar="JSON", help="A JSON object, for tracing and the like."),
        ]
    ):
        command = option(command)
    return command


def _make(payload: dict[str, Any], default_type: str, options: dict[str, Any]) -> AgentMessage:
    from pydantic import ValidationError

    from trunkline import AgentMessage

    metadata = options["metadata"]
    try:
        return AgentMessage(
            message_type=options["message_type"] or default_type,
            sender_id=options["sender"],
            recipient_id=options["recipient"],
            payload=payload,
            correlation_id=options["correlation_id"],
            **({"message_id": options["message_id"]} if options.get("message_id") is not None else {}),
            priority=options["priority"],
            ttl_seconds=options["ttl"],
            metadata=read_object(metadata, "--metadata") if metadata else {},
        )
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise click.UsageError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error


@click.command()
@click.argument("channel")
@click.argument("payload", metavar="[JSON|-]", default="{}")
@_message_options
@click.option("--message-id", metavar="ID", help="Its name. Default: a new one. Stored once within some minutes.")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Publish each so many times.")
@click.option("--stored", is_flag=True, help="Keep it in the journal for durable subscriptions; show the receipt.")
@click.option("--ordering-key", metavar="KEY", help="With --stored: those of one key arrive one at a time, in order.")
@click.option("--deliver-after", type=read_span, metavar="SECONDS", help="With --stored: hold it back for so long.")
@click.option("--deliver-at", type=read_time, metavar="TIME", help="With --stored: hold it back until then.")
@with_settings
def publish(
    channel: str,
    payload: str,
    count: int,
    stored: bool,
    ordering_key: str | None,
    deliver_after: float | None,
    deliver_at: datetime | None,
    **options: Any,
) -> None:
    """Publishes a JSON object on CHANNEL, or with `-` each line of standard input.

    Returns when the service took all of them; with --stored when all of them are synced to disk. Then it shows the
    receipt, or of many a summary; with --format json each receipt is an object on a line of its own, in order.
    """
    chosen = settings()
    delivery = {"ordering_key": ordering_key, "deliver_after": deliver_after, "deliver_at": deliver_at}
    if not stored:
        for name, value in delivery.items():
            if value is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --stored")
    if payload == STDIN and options["message_id"] is not None:
        raise click.UsageError("--message-id names one message; on standard input there may be many")

    async def messages() -> AsyncIterator[AgentMessage]:
        async for each in _payloads(payload):
            for _ in range(count):
                yield _make(each, "status_update", options)

    async def main() -> None:
        async with bus_client(chosen, wait_for_ready=True) as bus:
            if stored:
                from trunkline.cli.bus.stored_publish import StoredPublish

                await StoredPublish(bus, channel, delivery, as_json=chosen.as_json).run(messages())
                return
            async for message in messages():
                await bus.publish(channel, message)
            await bus.flush()
            published = bus.published_count
        if chosen.as_json:
            print_json({"channel": channel, "published": published})
        else:
            write_line(f"published {counted(published, 'message')} on {safe(channel)}")

    run(main(), chosen)


async def _payloads(payload: str) -> AsyncIterator[dict[str, Any]]:
    if payload == STDIN:
        async for each in read_objects():
            yield each
    else:
        yield read_object(payload, "the payload")


@click.command()
@click.argument("channel")
@click.argument("payload", metavar="[JSON]", default="{}")
@_message_options
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="Seconds to wait."
)
@click.option(
    "--idle-timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="End without a sign of life."
)
@click.option("--wait", "wait_for_responder", is_flag=True, help="Wait for somebody who can answer.")
@click.option("--repeatable", is_flag=True, help="It may be done twice: where a responder is lost, another gets it.")
@click.option("--stream", is_flag=True, help="Show its life as it goes: accepted, progress, parts, the end.")
@with_settings
def request(
    channel: str,
    payload: str,
    timeout: float,
    idle_timeout: float | None,
    wait_for_responder: bool,
    repeatable: bool,
    stream: bool,
    **options: Any,
) -> None:
    """Sends a JSON object to who subscribes to CHANNEL, and shows the reply's payload.

    With --format json the whole reply, as `trunkline subscribe` shows a message. With --stream each event on a line of
    its own; ending the command cancels the request. Exit code 4 where no reply comes in time, 1 (NO_RESPONDERS) where
    nobody listens, 1 where it failed or was cancelled.
    """
    from trunkline.cli.describe import describe_message, payload_text

    chosen = settings()

    async def main() -> None:
        message = _make(read_object(payload, "the payload"), "task_assignment", options)
        terms = {"idle_timeout": idle_timeout, "wait_for_responder": wait_for_responder, "repeatable": repeatable}
        wished: Any = {name: value for name, value in terms.items() if value}
        async with bus_client(chosen, wait_for_ready=True) as bus:
            if stream:
                from trunkline.cli.bus.lives import show_life

                await show_life(
                    bus.request_stream(channel, message, timeout, **wished),
                    message.correlation_id or message.message_id,
                    as_json=chosen.as_json,
                )
                return
            reply = await bus.request(channel, message, timeout=timeout, **wished)
        if chosen.as_json:
            print_json(describe_message(reply))
            return
        try:
            print_json(reply.json())
        except InvalidMessageError:  # bytes, or broken JSON: shown as it is
            write_line(safe(payload_text(reply)))

    run(main(), chosen)


@click.command()
@click.argument("request_id")
@click.option("--by", default=DEFAULT_SENDER, show_default=True, help="Who cancels it.")
@click.option("--reason", default="", help="Why; told to who asked, and to who works on it.")
@with_settings
def cancel(request_id: str, by: str, reason: str) -> None:
    """Cancels a pending request by its id: its correlation id, or where it has none its message id.

    Exit code 1 (REQUEST_NOT_FOUND) where it is unknown or over.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen, wait_for_ready=True) as bus:
            await bus.cancel(request_id, by=by, reason=reason)
        if chosen.as_json:
            print_json({"request_id": request_id, "cancelled": True})
        else:
            write_line(f"cancelled {safe(request_id)}")

    run(main(), chosen)
