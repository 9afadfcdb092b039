"""Staleness: why a message cannot be settled by who was given it with some attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trunkline.errors import StaleAckError
from trunklined.bus.durable.parcel import Parcel

if TYPE_CHECKING:
    from trunklined.bus.durable.subscription import DurableSubscription

LEASE_EXPIRED: Final = "lease expired"
"""What is said of an attempt whose lease was over before it was settled."""


def stale(durable: DurableSubscription, sequence: int, attempt: int) -> StaleAckError:
    """The error that says why."""
    parcel = durable.parcels.leases.of(sequence)
    details: dict[str, object] = {"durable": durable.name, "sequence": sequence, "attempt": attempt}
    if parcel is None:
        why = _why_not_held(durable, sequence, attempt)
    else:
        why = "handed on" if attempt < parcel.attempts else "never handed out"
        details["current_attempt"] = parcel.attempts
    return StaleAckError(
        f"message {sequence} (attempt {attempt}) of {durable.name!r} cannot be settled: {why}",
        details={**details, "why": why},
    )


def _why_not_held(durable: DurableSubscription, sequence: int, attempt: int) -> str:
    waiting = durable.parcels.waits(sequence)
    if waiting is not None:
        return _why_waits(waiting, attempt)
    run = next(iter(durable.desk.engine.messages(sequence, 1)), None)
    if run is None and sequence >= max(cursor.position for cursor in durable.cursors):
        return "never handed out"
    if run is None or not durable.is_for_us(run):
        return "not deliverable"
    passed_over = run.key is not None and durable.keys.waits(run.key, sequence)
    return "settled" if sequence < durable.cursors[run.lane].position and not passed_over else "never handed out"


def _why_waits(parcel: Parcel, attempt: int) -> str:
    """What became of an attempt of what waits for another."""
    if attempt > parcel.attempts:
        return "given back" if attempt == parcel.attempts + 1 else "never handed out"
    ended = next((each for each in parcel.log if each.number == attempt), None)
    return "settled" if ended is not None and ended.error != LEASE_EXPIRED else LEASE_EXPIRED
