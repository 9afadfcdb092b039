"""`trunkline tasks`: submitted work listed, shown, followed and cancelled."""

from __future__ import annotations

from typing import Any

import click

from trunkline import Result
from trunkline.cli.bus.lives import describe_event, line_of
from trunkline.cli.bus.task_view import COLUMNS, describe, facts_of, row_of
from trunkline.cli.clients import bus_client
from trunkline.cli.exit_codes import FAILED, run
from trunkline.cli.input import read_object
from trunkline.cli.output import print_facts, print_json, print_table, safe, write_line
from trunkline.cli.settings import settings, with_settings
from trunkline.cli.times import local_time, read_span

_STATES = ("waiting", "running", "done", "failed", "cancelled")


@click.group()
@with_settings
def tasks() -> None:
    """Keeps an eye on submitted work: each task is done by a durable subscription, and its life is kept."""


@tasks.command("list")
@click.option("--status", type=click.Choice(_STATES), help="Only those that stand so.")
@click.option("--channel", metavar="PATTERN", help="Only those of channels that match.")
@click.option("--durable", metavar="NAME", help="Only those of this durable subscription.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@with_settings
def list_(status: Any, channel: str | None, durable: str | None, limit: int) -> None:
    """Lists the tasks that are kept, the newest first."""
    chosen = settings()

    async def main() -> None:
        found = []
        async with bus_client(chosen) as bus:
            async for each in bus.tasks(state=status, channel=channel, durable=durable):
                found.append(each)
                if len(found) == limit:
                    break
        if chosen.as_json:
            for each in found:
                print_json(describe(each))
        elif found:
            print_table(COLUMNS, map(row_of, found), right=frozenset({"attempt", "age"}))
        else:
            write_line("there are no such tasks")

    run(main(), chosen)


@tasks.command()
@click.argument("task_id")
@with_settings
def show(task_id: str) -> None:
    """Shows one as it is now. Exit code 3 where there is none with this id."""
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = await bus.task(task_id).status()
        if chosen.as_json:
            print_json(describe(found))
        else:
            print_facts(facts_of(found), title=task_id)

    run(main(), chosen)


@tasks.command()
@click.argument("task_id")
@click.option("--after", type=click.IntRange(0), default=0, show_default=True, help="Only events behind this number.")
@with_settings
def follow(task_id: str, after: int) -> None:
    """Shows the life of one, an event a line, up to its end, also while the bus is away.

    Exit code 1 where it failed or was cancelled, 3 where there is none with this id.
    """
    chosen = settings()

    async def main() -> int:
        event = None
        async with bus_client(chosen) as bus:
            async for event in bus.task(task_id).events(after):
                if chosen.as_json:
                    print_json(describe_event(event))
                else:
                    write_line(safe(f"{local_time(event.time)}  {line_of(event)}"))
            end = (await bus.task(task_id).status()).end if event is None else event
        return 0 if end is None or isinstance(end, Result) else FAILED

    run(main(), chosen)


@tasks.command()
@click.argument("task_id")
@click.option("--by", default="", help="Who cancels it; kept in its life.")
@click.option("--reason", default="", help="Why; kept in its life.")
@with_settings
def cancel(task_id: str, by: str, reason: str) -> None:
    """Cancels one: it is never handed out, or whoever works on it is told.

    One that has ended stays as it is. Exit code 3 where there is none with this id.
    """
    chosen = settings()

    async def main() -> None:
        async with bus_client(chosen) as bus:
            found = await bus.task(task_id).cancel(by=by, reason=reason)
        if chosen.as_json:
            print_json(describe(found))
        elif found.cancelling:
            write_line(f"{safe(task_id)} is being cancelled: {safe(found.responder or 'its holder')} was told")
        else:
            write_line(f"{safe(task_id)} is {found.state}")

    run(main(), chosen)


@tasks.command()
@click.argument("channel")
@click.argument("payload", metavar="[JSON]", default="{}")
@click.option(
    "--durable", metavar="NAME", help="Which durable subscription does it. Default: the only one that matches."
)
@click.option("--keep", type=read_span, metavar="SECONDS", help="How long its life is kept after its end. [1d]")
@click.option("--id", "task_id", metavar="ID", help="Its id. Default: a new one. The same id is the same task.")
@with_settings
def submit(channel: str, payload: str, durable: str | None, keep: float | None, task_id: str | None) -> None:
    """Submits a JSON object as a task on CHANNEL, and shows its id; it is done whoever is connected then."""
    from trunkline import AgentMessage

    chosen = settings()

    async def main() -> None:
        words: dict[str, Any] = {} if task_id is None else {"message_id": task_id}
        message = AgentMessage(
            message_type="task_assignment",
            sender_id="trunkline-cli",
            payload=read_object(payload, "the payload"),
            **words,
        )
        options: dict[str, Any] = {} if keep is None else {"keep": keep}
        async with bus_client(chosen, wait_for_ready=True) as bus:
            task = await bus.submit(channel, message, durable=durable, **options)
            found = await task.status()
        if chosen.as_json:
            print_json(describe(found))
        else:
            write_line(f"submitted {safe(task.id)} to {safe(found.durable)}")

    run(main(), chosen)
