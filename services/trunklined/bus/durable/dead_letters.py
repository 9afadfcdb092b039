"""What becomes of messages that no subscriber of a durable subscription could finish."""

from __future__ import annotations

from trunklined.bus.attempts import AttemptRecord, Reason
from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.run import Run


def bury(
    context: JournalContext,
    durable: str,
    pattern: str,
    run: Run,
    reason: Reason,
    error: str,
    attempts: tuple[AttemptRecord, ...],
    redrives: int,
) -> None:
    """Stages a dead letter for each message of a run."""
    now = context.clock()
    context.dead_lettered += len(run.messages)
    for offset, message in enumerate(run.messages):
        about = context.describe(message)
        context.staging.dead_letters.append(
            DeadLetter(
                durable=durable,
                pattern=pattern,
                channel=run.channel,
                sequence=run.first_sequence + offset,
                published_at=run.time,
                dead_at=now,
                reason=reason,
                error=error,
                attempts=attempts,
                redrives=redrives,
                message_id=about.message_id,
                message_type=about.message_type,
                sender_id=about.sender_id,
                key=run.key,
                lane=run.lane,
                message=message,
            )
        )
