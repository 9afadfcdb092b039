"""`trunkline services` and `trunkline subscriptions`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from trunkline.cli.clients import bus_client, state_client
from trunkline.cli.exit_codes import exit_code, run, tell
from trunkline.cli.output import Marked, counted, print_facts, print_json, print_table
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.cli.state.outbox import describe, line_of
from trunkline.cli.times import json_time
from trunkline.errors import TrunklineError

if TYPE_CHECKING:
    from trunkline import SubscriptionInfo

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
    """Shows the figures again and again: on a terminal in the same place, else one below the other."""
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
            _print_replicas(answer)


_REPLICA_FIGURES = (
    *("published", "delivered", "dropped", "requests", "pending_requests", "subscriptions", "connections"),
    "queued_messages",
)


def _print_replicas(facts: dict[str, Any]) -> None:
    """Shows the replicas beside each other, where there are several: which has how much, and who owns the journal."""
    if not facts.get("other_replicas"):
        return
    answered = {each["replica"]: each for each in (facts, *facts["others"])}
    rows: list[tuple[object, ...]] = []
    for name in sorted((facts["replica"], *facts["other_replicas"])):
        each = answered.get(name)
        if each is None:
            rows.append((name, Marked("no answer", "yellow"), *[None] * (2 + len(_REPLICA_FIGURES))))
            continue
        figures = {**each, "dropped": sum(each["dropped"].values())}
        journal = _journal_of(each, facts["journal_owner"])
        since = _since(datetime.fromisoformat(each["started_at"]))
        rows.append((name, each["address"], journal, since, *(figures[figure] for figure in _REPLICA_FIGURES)))
    titles = [figure.replace("_", " ") for figure in _REPLICA_FIGURES]
    click.echo()
    print_table(("replica", "address", "journal", "up", *titles), rows, right=frozenset(titles))


def _journal_of(each: dict[str, Any], owner: str) -> str:
    """Returns what a replica has to do with the journal."""
    if each["engine"] != "redis":
        return "its own"
    return "owner" if each["address"] == owner else "-"


def shown(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """Returns the figures for people: those of memory and of stored messages in a few lines, what needs attention
    marked."""
    lines: dict[str, Any] = {key.replace("_", " "): value for key, value in facts.items() if key not in _IN_TABLE}
    if "journal_messages" in facts:
        for name in _IN_FEW_LINES:
            lines.pop(name.replace("_", " "))
        lines |= _durable_lines(facts)
    return [*lines.items()]


_IN_TABLE = ("address", "other_replicas", "others", "journal_owner", "journal_takeovers")

_IN_FEW_LINES = (
    *("stored", "duplicates", "acked", "redelivered", "dead_lettered", "lost_to_limits"),
    *("durable_subscriptions", "dead_letters", "tasks"),
    *("journal_messages", "journal_bytes", "journal_file_bytes", "held_back"),
    *("queue_memory_bytes", "max_queue_memory_bytes"),
)


def _durable_lines(facts: dict[str, Any]) -> dict[str, Any]:
    journal = f"{counted(facts['journal_messages'], 'message')}, {size(facts['journal_bytes'])}"
    if facts["engine"] != "memory":
        journal += f" in files of {size(facts['journal_file_bytes'])}"
    if facts["held_back"]:
        journal += f"; {facts['held_back']:,} held back until later"
    dead, lost = facts["dead_letters"], facts["lost_to_limits"]
    return {
        "queue memory": f"{size(facts['queue_memory_bytes'])} of {size(facts['max_queue_memory_bytes'])}",
        "stored": f"{facts['stored']:,}, and {counted(facts['duplicates'], 'duplicate')}",
        "durable": f"{counted(facts['durable_subscriptions'], 'subscription')}: {facts['acked']:,} acked, "
        f"{facts['redelivered']:,} redelivered, {facts['dead_lettered']:,} died",
        "journal": journal,
        "tasks": f"{facts['tasks']:,} kept",
        "lost to limits": Marked(f"{counted(lost, 'message')} still needed", "red") if lost else 0,
        "dead letters": Marked(f"{dead:,}; see trunkline dead-letters list", "red") if dead else 0,
    }


def size(count: int) -> str:
    """Returns a number of bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    figure, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if figure < 1024:
            break
        figure, unit = figure / 1024, larger
    return f"{figure:.1f} {unit}"


async def _ask(chosen: Settings) -> dict[str, Answer]:
    bus, state = await asyncio.gather(_caught(_bus(chosen)), _caught(_state(chosen)))
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


async def _bus(chosen: Settings) -> dict[str, Any]:
    async with bus_client(chosen) as bus:
        figures = await bus.statistics()
    return _plain(figures) | {"others": [_plain(each) for each in figures.others]}


async def _state(chosen: Settings) -> dict[str, Any]:
    async with state_client(chosen) as store:
        figures = await store.statistics()
    outbox = figures.outbox
    if outbox is None:
        return _plain(figures) | {"outbox": None}
    return _plain(figures) | {"outbox": describe(outbox) if chosen.as_json else line_of(outbox)}


def _plain(figures: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass: times as text, the rest as it is."""
    facts = {field.name: getattr(figures, field.name) for field in fields(figures)}
    return {name: json_time(value) if isinstance(value, datetime) else value for name, value in facts.items()}


@click.command()
@click.option("--pattern", default="", help="Only those of this pattern.")
@with_settings
def subscriptions(pattern: str) -> None:
    """Lists the subscriptions that are registered now: who, to what, and what waits for each."""
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = [each async for each in bus.subscriptions(pattern or None)]
        if chosen.as_json:
            print_json([describe_subscription(each) for each in found])
            return
        columns: tuple[str, ...] = ("id", "pattern", "shared by", "peer", "queued", "delivered", "dropped", "since")
        several = any(each.replica for each in found)
        rows: list[tuple[object, ...]] = [
            (
                each.id,
                each.pattern,
                each.group or (f"{each.durable} (durable)" if each.durable else None),
                each.peer,
                each.queued_messages,
                each.delivered,
                each.dropped,
                _since(each.started_at),
                *([each.replica] if several else []),
            )
            for each in found
        ]
        if several:
            columns = (*columns, "replica")
        print_table(columns, rows, right=frozenset({"id", "queued", "delivered", "dropped"}))

    run(main(), chosen)


def describe_subscription(each: SubscriptionInfo) -> dict[str, Any]:
    """Returns a subscription for scripts."""
    return {
        "subscription_id": each.id,
        "pattern": each.pattern,
        "group": each.group,
        "peer": each.peer,
        "queued_messages": each.queued_messages,
        "queued_bytes": each.queued_bytes,
        "delivered": each.delivered,
        "dropped": each.dropped,
        "started_at": json_time(each.started_at),
        "credit": each.credit,
        "replica": each.replica,
        "durable": each.durable,
        "observer": each.observer,
        "responder": each.responder,
        "leased": each.leased,
    }


def _since(time: datetime) -> str:
    """Returns hours, minutes and seconds since a time."""
    hours, rest = divmod(max(0, round((datetime.now(UTC) - time).total_seconds())), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
