"""Why a message cannot be settled by the subscriber that got it with some attempt."""

from __future__ import annotations

from trunkline.errors import StaleAckError
from trunklined.bus.attempts import LEASE_EXPIRED
from trunklined.bus.durable.pending import Pending


def stale_ack(durable: str, sequence: int, attempt: int, leased: Pending | None, why: str | None) -> StaleAckError:
    """Returns the error.

    Args:
        durable: name of the subscription.
        sequence, attempt: what was to be settled.
        leased: the pending batch in which the message is leased with another attempt.
        why: the reason, where it is not leased.
    """
    details: dict[str, object] = {"durable": durable, "sequence": sequence, "attempt": attempt}
    if leased is not None:
        why = "handed on" if attempt < leased.attempts else "never handed out"
        details["current_attempt"] = leased.attempts
    return StaleAckError(
        f"message {sequence} (attempt {attempt}) of {durable!r} cannot be settled: {why}",
        details={**details, "why": why},
    )


def why_retrying(pending: Pending, attempt: int) -> str:
    """Returns what became of an attempt of a message that waits for another."""
    if attempt > pending.attempts:
        return "given back" if attempt == pending.attempts + 1 else "never handed out"
    ended = next((each for each in pending.log if each.number == attempt), None)
    return "settled" if ended is not None and ended.error != LEASE_EXPIRED else LEASE_EXPIRED
