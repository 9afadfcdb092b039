"""Between the wire and durable subscriptions: settings, positions, and how subscribers settle what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message as WireMessage

from trunkline.delivery import Backoff, DurableSettings
from trunkline.errors import InvalidMessageError, StaleAckError
from trunkline.limits import (
    MAX_ACK_WAIT,
    MAX_ERROR_BYTES,
    MAX_NAK_DELAY,
    MAX_SETTLED_MESSAGES,
    MIN_ACK_WAIT,
)
from trunkline.v1 import bus_pb2, durable_pb2
from trunklined.bus.durable.stale_ack import StaleAck
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.journal.journal import Journal
from trunklined.bus.wire.translation import check_between, seconds_in, time_in
from trunklined.rpc.errors import to_item

_DEFAULTS: Final = DurableSettings()
CHECKED_AT_ONCE: Final = 512
"""Sequences of a call that are looked at before the first that is not held ends it."""


def settings_of(settings: durable_pb2.DurableSettings, unset: DurableSettings = _DEFAULTS) -> DurableSettings:
    """Translates settings; what is unset is as `unset` has it.

    Raises:
        InvalidMessageError: one is out of bounds.
    """
    backoff = settings.backoff
    initial = _seconds("settings.backoff.initial", backoff, unset.backoff.initial)
    return DurableSettings(
        ack_wait=_seconds("settings.ack_wait", settings, unset.ack_wait),
        backoff=Backoff(
            initial,
            backoff.multiplier if backoff.HasField("multiplier") else unset.backoff.multiplier,
            _seconds("settings.backoff.maximum", backoff, max(unset.backoff.maximum, initial)),
        ),
        **{
            name: getattr(settings if settings.HasField(name) else unset, name)
            for name in ("max_deliveries", "max_leased", "rate", "burst", "key_concurrency")
        },
    ).check()


def position_of(position: durable_pb2.Position, pattern: str, journal: Journal) -> int | None:
    """Returns the first sequence that a position means; None: what comes from now on.

    Raises:
        InvalidMessageError: it is no position.
        CompactedError: not everything from there on is kept.
    """
    match position.WhichOneof("position"):
        case None:
            return None
        case "new" | "all" as kind if not getattr(position, kind):
            raise InvalidMessageError(
                f"position.{kind} is false: set it to true, or another", details={"field": f"position.{kind}"}
            )
        case "new":
            return None
        case "all":
            return 1
        case "time":
            return journal.position_of_time(pattern, time_in("position.time", position.time))
        case _:
            check_between("position.sequence", position.sequence, 1, journal.sequencer.last + 1, "")
            journal.channels.check_kept(pattern, position.sequence)
            return int(position.sequence)


def settle(durable: DurableSubscription, kind: str, frame: Any) -> list[bus_pb2.SubscribeResponse.Refused]:
    """Does what a subscriber says of messages; returns what is to be said of those that it does not hold.

    Raises:
        InvalidMessageError: no sequences, or a figure out of bounds; nothing was settled.
    """
    options = _options_of(kind, frame)
    attempt = _attempt_of(kind, frame)
    sequences = _sequences_of(kind, frame)
    stale = durable.check(sequences, attempt)
    refused = _grouped(durable, stale, attempt)
    if repeated := _repeated(frame.sequences, sequences):
        error = to_item(_named_twice(durable, repeated[0], attempt))
        refused.append(bus_pb2.SubscribeResponse.Refused(sequences=repeated, attempt=attempt, error=error))
    if stale:
        gone = {each.sequence for each in stale}
        sequences = [each for each in sequences if each not in gone]
    if sequences:
        getattr(durable, kind)(sequences, *options)
    return refused


def settle_all(durable: DurableSubscription, kind: str, frame: Any) -> None:
    """Settles all messages that a frame names, or none; for the arguments see `settle`.

    Raises:
        InvalidMessageError: as `settle`.
        StaleAckError: of the first message that is not leased, or is named twice.
    """
    options = _options_of(kind, frame)
    attempt = _attempt_of(kind, frame)
    sequences = _sequences_of(kind, frame)
    for start in range(0, len(sequences), CHECKED_AT_ONCE):
        if stale := durable.check(sequences[start : start + CHECKED_AT_ONCE], attempt):
            raise stale[0].error(durable.name, attempt)
    if repeated := _repeated(frame.sequences, sequences):
        raise _named_twice(durable, repeated[0], attempt)
    getattr(durable, kind)(sequences, *options)


def _options_of(kind: str, frame: Any) -> tuple[Any, ...]:
    """Returns what a frame carries beside the sequences and the attempt, checked: arguments of the verb."""
    match kind:
        case "nak":
            delay = None
            if frame.HasField("delay"):
                delay = check_between("nak.delay", seconds_in("nak.delay", frame.delay), 0, MAX_NAK_DELAY)
            return delay, _cut(frame.error)
        case "terminate":
            return (_cut(frame.reason),)
        case "extend":
            if frame.HasField("lease"):
                return (
                    check_between("extend.lease", seconds_in("extend.lease", frame.lease), MIN_ACK_WAIT, MAX_ACK_WAIT),
                )
            return (None,)
        case _:
            return ()


def _attempt_of(kind: str, frame: Any) -> int:
    """Returns the attempt that the messages were delivered with; unset: the first."""
    if frame.attempt < 0:
        raise InvalidMessageError(
            f"{kind}.attempt is {frame.attempt}, it is at least 1",
            details={"field": f"{kind}.attempt", "value": str(frame.attempt)},
        )
    return frame.attempt or 1


def _sequences_of(kind: str, frame: Any) -> list[int]:
    """Returns each sequence once, in order."""
    if not frame.sequences:
        raise InvalidMessageError(
            f"{kind}.sequences is empty: at least one is needed", details={"field": f"{kind}.sequences"}
        )
    if len(frame.sequences) > MAX_SETTLED_MESSAGES:
        raise InvalidMessageError(
            f"{kind}.sequences has {len(frame.sequences)} entries, at most {MAX_SETTLED_MESSAGES} are allowed",
            details={"field": f"{kind}.sequences", "value": str(len(frame.sequences))},
        )
    if (lowest := min(frame.sequences)) < 1:
        raise InvalidMessageError(
            f"{kind}.sequences has {lowest}, a sequence is at least 1",
            details={"field": f"{kind}.sequences", "value": str(lowest)},
        )
    return list(dict.fromkeys(frame.sequences))


def _repeated(said: Sequence[int], once: Sequence[int]) -> list[int]:
    """What is named more than once, each time but the first."""
    if len(once) == len(said):
        return []
    seen: set[int] = set()
    repeated = []
    for sequence in said:
        if sequence in seen:
            repeated.append(sequence)
        seen.add(sequence)
    return repeated


def _named_twice(durable: DurableSubscription, sequence: int, attempt: int) -> StaleAckError:
    details = {"durable": durable.name, "sequence": sequence, "attempt": attempt, "why": "settled"}
    return StaleAckError(f"message {sequence} of {durable.name!r} is named twice", details=details)


def _grouped(
    durable: DurableSubscription, stale: Sequence[StaleAck], attempt: int
) -> list[bus_pb2.SubscribeResponse.Refused]:
    """One for each reason, with the error of the first."""
    by_reason: dict[str, list[StaleAck]] = {}
    for each in stale:
        by_reason.setdefault(each.why, []).append(each)
    return [
        bus_pb2.SubscribeResponse.Refused(
            sequences=[each.sequence for each in several],
            attempt=attempt,
            error=to_item(several[0].error(durable.name, attempt)),
        )
        for several in by_reason.values()
    ]


def _seconds(field: str, message: WireMessage, unset: float) -> float:
    """The seconds of a field, named with its path; `message` has it under its last name."""
    name = field.rpartition(".")[2]
    return seconds_in(field, getattr(message, name)) if message.HasField(name) else unset


def _cut(text: str) -> str:
    encoded = text.encode()
    return text if len(encoded) <= MAX_ERROR_BYTES else encoded[:MAX_ERROR_BYTES].decode(errors="ignore")
