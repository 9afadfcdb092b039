"""`trunkline services` and `trunkline subscriptions`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.outcome import exit_code, run, tell
from trunkline.cli.output import Marked, counted, print_facts, print_json, print_table
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.errors import TrunklineError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from trunkline.v1 import state_pb2

Answer = dict[str, Any] | TrunklineError


@click.command()
@click.option("--watch", is_flag=True, help="Show them anew until interrupted.")
@click.option("--interval", type=click.FloatRange(0.1), default=1.0, show_default=True, help="Seconds, with --watch.")
@with_settings
def services(watch: bool, interval: float) -> None:
    """Shows what bus and state count since they started, and what they hold now.

    Exit code 5 where one of them cannot be reached; the other is shown.
    """
    chosen = settings()
    run(_watch(chosen, interval) if watch else _once(chosen), chosen)


async def _once(chosen: Settings) -> int:
    answers = await _ask(chosen)
    _print(chosen, answers)
    failed = [answer for answer in answers.values() if isinstance(answer, TrunklineError)]
    for error in failed:
        tell(error, chosen)
    return exit_code(failed[0]) if failed else 0


async def _watch(chosen: Settings, interval: float) -> None:
    """On a terminal it draws over what it drew; else one answer behind the other."""
    while True:
        answers = await _ask(chosen)
        if not chosen.as_json:
            click.clear()
        _print(chosen, answers)
        await asyncio.sleep(interval)


def _print(chosen: Settings, answers: dict[str, Answer]) -> None:
    if chosen.as_json:
        print_json({n: a.to_dict() if isinstance(a, TrunklineError) else a for n, a in answers.items()})
        return
    for number, (name, answer) in enumerate(answers.items()):
        if number:
            click.echo()
        if isinstance(answer, TrunklineError):
            click.secho(f"{name}: no answer", fg="red")
        else:
            print_facts(shown(answer), title=name)


def shown(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """The figures for people: those of stored messages in a few lines, what needs attention marked."""
    lines: dict[str, Any] = {key.replace("_", " "): value for key, value in facts.items()}
    if "journal_messages" in facts:
        for name in _TOLD_TOGETHER:
            lines.pop(name.replace("_", " "))
        lines |= _durable_lines(facts)
    return [*lines.items()]


_TOLD_TOGETHER = (
    *("stored", "duplicates", "acked", "redelivered", "dead_lettered", "lost_to_limits"),
    *("durable_subscriptions", "dead_letters"),
    *("journal_messages", "journal_bytes", "journal_file_bytes", "held_back"),
)


def _durable_lines(facts: dict[str, Any]) -> dict[str, Any]:
    journal = f"{counted(facts['journal_messages'], 'message')}, {size(facts['journal_bytes'])}"
    if facts["engine"] != "memory":
        journal += f" in files of {size(facts['journal_file_bytes'])}"
    if facts["held_back"]:
        journal += f"; {facts['held_back']:,} held back until later"
    dead, lost = facts["dead_letters"], facts["lost_to_limits"]
    return {
        "stored": f"{facts['stored']:,}, and {counted(facts['duplicates'], 'duplicate')}",
        "durable": f"{counted(facts['durable_subscriptions'], 'subscription')}: {facts['acked']:,} acked, "
        f"{facts['redelivered']:,} redelivered, {facts['dead_lettered']:,} died",
        "journal": journal,
        "lost to limits": Marked(f"{counted(lost, 'message')} still needed", "red") if lost else 0,
        "dead letters": Marked(f"{dead:,}; see trunkline dead-letters list", "red") if dead else 0,
    }


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    figure, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if figure < 1024:
            break
        figure, unit = figure / 1024, larger
    return f"{figure:.1f} {unit}"


async def _ask(chosen: Settings) -> dict[str, Answer]:
    bus, state = await asyncio.gather(_caught(_bus(chosen.bus)), _caught(_state(chosen.state)))
    return (
        {f"bus {chosen.bus}": bus, f"state {chosen.state}": state}
        if not chosen.as_json
        else {"bus": bus, "state": state}
    )


async def _caught(question: Coroutine[Any, Any, dict[str, Any]]) -> Answer:
    try:
        return await question
    except TrunklineError as error:
        return error


async def _bus(address: str) -> dict[str, Any]:
    from trunkline.cli.wire import call_bus
    from trunkline.v1 import bus_pb2

    return _plain(await call_bus(address, "GetStats", bus_pb2.GetStatsRequest()))


async def _state(address: str) -> dict[str, Any]:
    from trunkline.cli.wire import CALL_SECONDS, state_stub
    from trunkline.v1 import state_pb2

    async with state_stub(address) as stub:
        request = state_pb2.GetStateStatsRequest()
        answer: state_pb2.GetStateStatsResponse = await stub.GetStateStats(request, timeout=CALL_SECONDS)
        return _plain(answer)


def _plain(message: Message) -> dict[str, Any]:
    """A message's fields as they are called in protobuf; a time as text, figures as numbers."""
    facts: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            facts[field.name] = dict(value)
        elif field.message_type is not None:
            facts[field.name] = value.ToJsonString() if message.HasField(field.name) else None
        elif field.has_presence and not message.HasField(field.name):
            facts[field.name] = None
        else:
            facts[field.name] = value
    return facts


@click.command()
@click.option("--pattern", default="", help="Only those of this pattern.")
@with_settings
def subscriptions(pattern: str) -> None:
    """Lists the subscriptions that are registered now: who, to what, and what waits for each."""
    chosen = settings()

    async def main() -> None:
        found = await _subscriptions(chosen.bus, pattern)
        if chosen.as_json:
            print_json(found)
            return
        columns = ("id", "pattern", "group", "peer", "queued", "delivered", "dropped", "since")
        rows = [
            (
                each["subscription_id"],
                each["pattern"],
                each["group"] or None,
                each["peer"],
                each["queued_messages"],
                each["delivered"],
                each["dropped"],
                _since(each["started_at"]),
            )
            for each in found
        ]
        print_table(columns, rows, right=frozenset({"id", "queued", "delivered", "dropped"}))

    run(main(), chosen)


async def _subscriptions(address: str, pattern: str) -> list[dict[str, Any]]:
    from trunkline.cli.wire import bus_pages
    from trunkline.limits import MAX_PAGE_SIZE
    from trunkline.v1 import bus_pb2

    request = bus_pb2.ListSubscriptionsRequest(pattern=pattern, page_size=MAX_PAGE_SIZE)
    async with aclosing(bus_pages(address, "ListSubscriptions", request)) as pages:
        return [_plain(each) async for page in pages for each in page.subscriptions]


def _since(time: str | None) -> str | None:
    if time is None:
        return None
    age = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    hours, rest = divmod(max(0, round(age)), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
