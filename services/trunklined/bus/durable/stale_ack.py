"""Why a message cannot be settled by the subscriber that got it with some attempt."""

from __future__ import annotations

from typing import NamedTuple

from trunkline.errors import StaleAckError
from trunklined.bus.attempts import LEASE_EXPIRED
from trunklined.bus.durable.pending import Pending


class StaleAck(NamedTuple):
    """A message that cannot be settled, and why; its error is made where somebody is to see it."""

    sequence: int
    why: str
    current_attempt: int | None = None
    """The attempt with which it is leased, if it is."""

    def error(self, durable: str, attempt: int) -> StaleAckError:
        """Returns the error for an attempt of a durable subscription."""
        details: dict[str, object] = {"durable": durable, "sequence": self.sequence, "attempt": attempt}
        if self.current_attempt is not None:
            details["current_attempt"] = self.current_attempt
        return StaleAckError(
            f"message {self.sequence} (attempt {attempt}) of {durable!r} cannot be settled: {self.why}",
            details={**details, "why": self.why},
        )


def why_leased(pending: Pending, attempt: int) -> str:
    """Returns why a message that is leased cannot be settled with another attempt."""
    return "handed on" if attempt < pending.attempts else "never handed out"


def why_retrying(pending: Pending, attempt: int) -> str:
    """Returns what became of an attempt of a message that waits for another."""
    if attempt > pending.attempts:
        return "given back" if attempt == pending.attempts + 1 else "never handed out"
    ended = next((each for each in pending.log if each.number == attempt), None)
    return "settled" if ended is not None and ended.error != LEASE_EXPIRED else LEASE_EXPIRED
