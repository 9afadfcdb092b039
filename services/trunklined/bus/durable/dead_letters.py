"""What becomes of messages that no subscriber of a durable subscription could finish."""

from __future__ import annotations

from trunklined.bus.attempts import AttemptRecord, Reason
from trunklined.bus.dead_letters import DeadLetter
from trunklined.bus.durable.context import JournalContext
from trunklined.bus.message_batch import MessageBatch


def bury(
    context: JournalContext,
    durable: str,
    pattern: str,
    batch: MessageBatch,
    reason: Reason,
    error: str,
    attempts: tuple[AttemptRecord, ...],
    redrives: int,
) -> None:
    """Stages a dead letter for each message of a batch. They are found, and count, when that is durable."""
    now = context.clock()
    for offset, message in enumerate(batch.messages):
        about = context.describe(message)
        context.staging.dead_letters.append(
            DeadLetter(
                durable=durable,
                pattern=pattern,
                channel=batch.channel,
                sequence=batch.first_sequence + offset,
                published_at=batch.time,
                dead_at=now,
                reason=reason,
                error=error,
                attempts=attempts,
                redrives=redrives,
                message_id=about.message_id,
                message_type=about.message_type,
                sender_id=about.sender_id,
                key=batch.key,
                level=batch.level,
                message=message,
            )
        )
