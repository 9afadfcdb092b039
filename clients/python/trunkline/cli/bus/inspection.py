"""`trunkline explain`, `trace`, `stuck` and `tail`: what somebody asks who is woken at night."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli.bus.durable_view import describe as describe_durable
from trunkline.cli.bus.message_lines import Printer
from trunkline.cli.bus.sidecar_view import print_held
from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import INTERRUPTED, NOT_FOUND, run
from trunkline.cli.output import Marked, counted, print_json, print_section, print_table, safe, write_line
from trunkline.cli.settings import settings, with_settings
from trunkline.cli.times import age_of, json_time, local_time, read_span, time_of_day

if TYPE_CHECKING:
    from trunkline import AgentMessage, TraceEvent, TraceState

_VERDICTS: Final = {
    "gets": Marked("gets it", "green"),
    "shares": Marked("shares it", "green"),
    "waits": Marked("waits", "yellow"),
    "other_pattern": Marked("does not", "bright_black"),
    "if_stored": Marked("if stored", "yellow"),
}
_FIGURES: Final = frozenset(
    {
        *("waiting", "retrying", "leased", "sequence", "messages", "attempt", "id", "dropped", "queued", "credit"),
        *("subscriptions", "asked", "answering"),
    }
)


@click.command()
@click.argument("channel")
@click.option("--as", "identity", default="", metavar="IDENTITY", help="Tell what this identity may publish there.")
@click.option("--others", type=click.IntRange(0, 100), help="Show so many that would not get it; default 10.")
@with_settings
def explain(channel: str, identity: str, others: int | None) -> None:
    """Tells who would get a message that is published on CHANNEL now, who would not and why, and who would keep it.

    Nothing is published. Those that would not get it are the ones whose patterns come closest.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = await bus.explain(channel, identity=identity, max_others=others)
        if chosen.as_json:
            print_json(_plain(found))
            return
        rows: list[Sequence[Any]] = []
        for each in (*found.recipients, *found.others):
            one = each.subscription
            group = f" in group {one.group}" if one.group else ""
            at = f" at {one.replica}" if one.replica else ""
            rows.append((_VERDICTS[each.verdict], "live", one.pattern, f"{one.peer}{group}{at}", each.why or None))
        for keeper in found.keepers:
            durable = keeper.subscription
            rows.append((_VERDICTS[keeper.verdict], "durable", durable.pattern, durable.name, keeper.why or None))
        if rows:
            print_table(("it", "kind", "pattern", "who", "why"), rows)
        else:
            write_line("nobody subscribes, and nothing keeps it")
        write_line("")
        rule = f"stored, as the rule for {found.stored_by} says" if found.stored_by else "in memory, no rule stores it"
        write_line(f"a message whose publisher wishes nothing is kept {safe(rule)}")
        write_line(f"a request {'would be put to somebody' if found.answered else 'would fail with NO_RESPONDERS'}")
        for it in found.permissions:
            what = f"may {it.right} there (line {it.line})" if it.allowed else f"may not {it.right} there"
            write_line(f"{safe(it.identity)} {what}")
        _tell_unheard(found.unheard)

    run(main(), chosen)


@click.command()
@click.argument("message_id", required=False)
@click.option("--correlation", metavar="ID", default="", help="All messages of this correlation id, instead.")
@with_settings
def trace(message_id: str | None, correlation: str) -> None:
    """Tells what happened to the message MESSAGE_ID, and where it is now.

    From what the bus remembers of the last events, and from its journal. Exit code 3 where nothing is known of it.
    """
    chosen = settings()
    if bool(message_id) == bool(correlation):
        raise click.UsageError("say a MESSAGE_ID or --correlation ID")

    async def main() -> int:
        async with bus_client(chosen) as bus:
            found = await bus.trace(message_id or "", correlation_id=correlation)
        is_known = bool(found.events or found.states)
        if chosen.as_json:
            print_json(_plain(found))
            return 0 if is_known else NOT_FOUND
        if found.events:
            _print_events(found.events)
        if found.states:
            write_line("")
            _print_states(found.states)
        since = local_time(found.remembered_since)
        if not is_known:
            write_line(f"nothing is known of it: the journal has it not, and live events are remembered since {since}")
        elif not found.states:
            write_line(f"\nit is nowhere now: nobody has it, and nothing waits (live events since {since})")
        if found.incomplete:
            write_line("not all that waits was looked at: there is too much of it")
        _tell_unheard(found.unheard)
        return 0 if is_known else NOT_FOUND

    run(main(), chosen)


def _print_events(events: Iterable[TraceEvent]) -> None:
    rows = []
    for each in events:
        due = f"until {time_of_day(each.due_at)}" if each.due_at is not None else ""
        why = ", ".join(filter(None, (each.error, due))) or None
        row = (time_of_day(each.time), each.kind.replace("_", " "), each.channel or None, each.durable or None)
        rows.append((*row, each.attempt or None, each.by or None, why))
    print_table(("time", "what", "channel", "durable", "attempt", "who", "why"), rows, right=_FIGURES)


def _print_states(states: Iterable[TraceState]) -> None:
    rows = []
    for each in states:
        due = time_of_day(each.due_at) if each.due_at is not None else None
        state = f"dead letter {each.dead_letter_id}" if each.dead_letter_id else each.state
        row = (state, each.durable or None, each.channel, each.sequence, each.holder or None, each.attempt or None)
        rows.append((*row, due, each.error or None))
    titles = ("now", "durable", "channel", "sequence", "holder", "attempt", "until", "last error")
    print_table(titles, rows, right=_FIGURES)


@click.command()
@click.option("--older-than", type=read_span, metavar="SPAN", help="Leave out what is younger; default 30s.")
@click.option("--limit", type=click.IntRange(1, 1_000), help="Show so many of each kind; default 20.")
@with_settings
def stuck(older_than: float | None, limit: int | None) -> None:
    """Tells what does not move, and why: of each kind the worst.

    Durable subscriptions in which something waits, messages that are out for too long, ordering keys that hold others
    up, requests without an answer, subscribers that are too slow, and what each connection holds. Of a sidecar also
    what it holds for the bus, and what the bus refused: then it answers while the bus is away, too.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = await bus.stuck(older_than=older_than, limit=limit)
        if chosen.as_json:
            print_json(_plain(found))
            return
        if found.sidecar is not None:
            print_held(found.sidecar)
            if found.unheard == (found.sidecar.bus_address,):
                write_line("the bus itself is not heard from")
                return
        _section(
            "Durable subscriptions in which messages wait",
            ("durable", "pattern", "oldest", "waiting", "retrying", "leased", "why"),
            [
                (one.name, one.pattern, age_of(each.oldest_at), one.waiting, one.retrying, one.leased, each.why or None)
                for each in found.durables
                for one in (each.subscription,)
            ],
        )
        _section(
            "Handed out and not settled",
            ("durable", "sequence", "messages", "holder", "out for", "lease ends", "attempt", "last error"),
            [
                (
                    *(each.durable, each.sequence, each.messages),
                    each.holder if each.connected else Marked(f"{each.holder} (gone)", "yellow"),
                    *(
                        age_of(each.handed_out_at),
                        time_of_day(each.lease_ends_at),
                        each.attempt,
                        each.last_error or None,
                    ),
                )
                for each in found.in_flight
            ],
        )
        _section(
            "Ordering keys that hold others up",
            ("durable", "key", "sequence", "it is", "holder", "attempt", "until", "last error"),
            [
                (
                    *(each.durable, each.ordering_key, each.sequence, each.state, each.holder or None, each.attempt),
                    *(time_of_day(each.due_at) if each.due_at else None, each.last_error or None),
                )
                for each in found.keys
            ],
        )
        _section(
            "Requests that wait for their answer",
            ("request", "channel", "for", "until", "with"),
            [
                (
                    *(each.request_id, each.channel, age_of(each.asked_at), time_of_day(each.deadline)),
                    ", ".join(each.responders) or "nobody who says so",
                )
                for each in found.requests
            ],
        )
        _section(
            "Subscribers that are too slow",
            ("id", "pattern", "peer", "dropped", "queued", "credit"),
            [
                (each.id, each.pattern, each.peer, each.dropped, each.queued_messages, each.credit)
                for each in found.lagging
            ],
        )
        _section(
            "What connections hold",
            ("peer", "subscriptions", "leased", "queued", "asked", "answering", "replica"),
            [
                (
                    *(each.peer, each.subscriptions, each.leased, each.queued_messages, each.asked, each.answering),
                    each.replica or None,
                )
                for each in found.connections
            ],
        )
        _tell_unheard(found.unheard)

    run(main(), chosen)


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table under its title, or that there is nothing."""
    if rows:
        print_section(title, columns, rows, right=_FIGURES)
    else:
        write_line(f"{title}: none")


@click.command()
@click.argument("pattern", default=">")
@click.option("--rate", type=click.IntRange(1, 100_000), help="Show so many a second, leave out the rest; default 100.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages; default 10,000.")
@click.option("--decode", is_flag=True, help="Print JSON payloads on lines of their own, indented.")
@click.option("--full", is_flag=True, help="On a terminal: do not cut lines to its width.")
@with_settings
def tail(pattern: str, rate: int | None, count: int | None, decode: bool, full: bool) -> None:
    """Shows live traffic of PATTERN as far as a person can read it, and how much was left out.

    Unlike `subscribe`, the bus itself thins it out: it can be pointed at the busiest channel. It answers nothing, takes
    nothing from anybody, and slows nobody down.
    """
    chosen = settings()
    printer = Printer(chosen, full=full)

    async def main() -> int:
        from trunkline import LeftOut

        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        async with bus_client(chosen) as bus:
            found = bus.tail(pattern, max_rate=rate, max_messages=count, on_started=lambda: printer.started(pattern))
            try:
                async for each in found:
                    if not isinstance(each, LeftOut):
                        printer.message(each)
                        if decode and not chosen.as_json:
                            _print_payload(each)
                    elif each.messages:
                        printer.left_out(each.messages, each.total)
            except asyncio.CancelledError:
                return INTERRUPTED
            finally:
                await found.aclose()
        return 0

    run(main(), chosen)


def _print_payload(message: AgentMessage) -> None:
    """Prints a JSON payload so that people can read it; another one is on the message's own line already."""
    from trunkline.cli.describe import indented_payload

    for line in indented_payload(message):
        write_line(f"    {safe(line)}")


def _plain(value: Any) -> Any:
    """Returns an answer for scripts: its fields by their names, what is a list elsewhere as it is there."""
    from trunkline import DurableInfo, SubscriptionInfo
    from trunkline.cli.services.services import describe_subscription

    if isinstance(value, DurableInfo):
        return describe_durable(value)
    if isinstance(value, SubscriptionInfo):
        return describe_subscription(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return json_time(value) if isinstance(value, datetime) else value


def _tell_unheard(replicas: Sequence[str]) -> None:
    if replicas:
        write_line(f"not heard from {counted(len(replicas), 'replica')}: {safe(', '.join(replicas))}")
