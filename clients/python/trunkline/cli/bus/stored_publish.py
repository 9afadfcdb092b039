"""`trunkline publish --stored`: many messages in flight, and their receipts in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from trunkline.cli.output import counted, print_json, safe, write_line
from trunkline.cli.times import local_time
from trunkline.errors import TrunklineError

if TYPE_CHECKING:
    from trunkline import AgentMessage, MessageBus, Receipt

IN_FLIGHT: Final = 4_096
"""Messages that wait for their receipts at once; beyond it no more are read."""

Pending = tuple["AgentMessage", "asyncio.Task[Receipt]"]


class StoredPublish:
    """Publishes messages to be stored, and prints their receipts.

    Args:
        bus: connected.
        options: `ordering_key`, `deliver_at`, `deliver_after`.
        as_json: a line for each receipt; else one for the only one, or a summary.
    """

    def __init__(self, bus: MessageBus, channel: str, options: dict[str, Any], *, as_json: bool) -> None:
        self._bus = bus
        self._channel = channel
        self._options = options
        self._as_json = as_json
        self._began = time.monotonic()
        self._receipts: list[tuple[AgentMessage, Receipt]] = []
        """The first and the last."""
        self._stored = self._duplicates = self._held = self._expired = self._failed = 0
        self._error: TrunklineError | None = None

    async def run(self, messages: AsyncIterator[AgentMessage]) -> None:
        """Publishes until all have their receipts. After a failure no more are begun.

        Raises:
            TrunklineError: the first that was not stored; the receipts of all others are printed before.
        """
        pending: asyncio.Queue[Pending | None] = asyncio.Queue()
        room = asyncio.Semaphore(IN_FLIGHT)
        settling = asyncio.create_task(self._settle(pending))
        try:
            async for message in messages:
                await room.acquire()
                if self._error is not None or settling.done():
                    break
                task = asyncio.create_task(self._bus.publish(self._channel, message, stored=True, **self._options))
                task.add_done_callback(lambda _: room.release())
                pending.put_nowait((message, task))
        finally:
            pending.put_nowait(None)
            await settling
            self._print_summary()
        if self._error is not None:
            raise self._error

    async def _settle(self, pending: asyncio.Queue[Pending | None]) -> None:
        while (each := await pending.get()) is not None:
            message, task = each
            try:
                self._take(message, await task)
            except TrunklineError as error:
                self._failed += 1
                self._error = self._error or error

    def _take(self, message: AgentMessage, receipt: Receipt) -> None:
        self._duplicates += receipt.duplicate
        self._held += receipt.held_by_sidecar
        self._expired += _is_expired(receipt)
        self._stored += bool(receipt.sequence) and not receipt.duplicate
        self._receipts[1:] = [(message, receipt)]
        if self._as_json:
            print_json(
                {
                    "channel": self._channel,
                    "message_id": message.message_id,
                    "sequence": receipt.sequence,
                    "time": receipt.time.isoformat(),
                    "durability": receipt.durability.value,
                    "duplicate": receipt.duplicate,
                    "held_by_sidecar": receipt.held_by_sidecar,
                    "matched": receipt.matched,
                }
            )

    def _print_summary(self) -> None:
        if self._as_json or not self._receipts:
            return
        count = self._stored + self._duplicates + self._held + self._expired
        if count == 1:
            message, receipt = self._receipts[0]
            write_line(_one(self._channel, message, receipt, self._due(receipt)))
            return
        sequences = [receipt.sequence for _, receipt in self._receipts if receipt.sequence]
        took = time.monotonic() - self._began
        what = f"stored {counted(self._stored, 'message')} on {safe(self._channel)}"
        between = f", sequences {sequences[0]:,} to {sequences[-1]:,}" if sequences else ""
        write_line(f"{what}{between}, {took:.2f} s, {count / max(took, 1e-9):,.0f}/s")
        if self._held:
            click.secho(f"{self._held:,} of {count:,} are held by the sidecar until the bus is back", fg="yellow")
        if self._duplicates:
            click.secho(f"{self._duplicates:,} of {count:,} were duplicates: their ids were stored before", fg="yellow")
        if self._expired:
            click.secho(f"{self._expired:,} of {count:,} were past their TTL and dropped", fg="yellow")
        if self._failed:
            click.secho(f"{self._failed:,} were not stored, or it is not known", fg="red")

    def _due(self, receipt: Receipt) -> datetime:
        after, at = self._options["deliver_after"], self._options["deliver_at"]
        return at or receipt.time + timedelta(seconds=after or 0)


def _one(channel: str, message: AgentMessage, receipt: Receipt, due: datetime) -> str:
    if receipt.held_by_sidecar:
        return click.style(
            f"held {safe(message.message_id)}: the sidecar hands it on when the bus is back", fg="yellow"
        )
    if _is_expired(receipt):
        return click.style(f"dropped {safe(message.message_id)}: it is past its TTL", fg="yellow")
    did = click.style("duplicate of", fg="yellow") if receipt.duplicate else receipt.durability.value
    at = local_time(receipt.time)
    if receipt.duplicate:
        then = ""
    elif due > receipt.time:
        then = f", held back until {local_time(due)}"
    else:
        then = f", for {counted(receipt.matched, 'subscription')}"
    return f"{did} {safe(message.message_id)} on {safe(channel)}: sequence {receipt.sequence:,}, {at}{then}"


def _is_expired(receipt: Receipt) -> bool:
    return not receipt.sequence and not receipt.held_by_sidecar
