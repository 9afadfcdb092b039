"""DeadLetterQueue: what an agent could not do, with all that is known of why."""

from __future__ import annotations

import json
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from trunkline.failures.error_codes import code_of
from trunkline.failures.limits import (
    MAX_DEAD_LETTER_ENTRIES,
    MAX_FACTS_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_TRACEBACK_CHARACTERS,
)


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """One failure."""

    error_type: str
    """The name of the error's class."""
    error_code: str
    """Its `error_code`, or else the name of its class."""
    error_message: str
    traceback: str
    context: dict[str, Any]
    """What its finder knew: a JSON object."""
    agent_id: str
    task_id: str | None
    workflow_id: str | None
    attempt: int
    """How often it was tried, from 1."""
    timestamp: datetime
    """Aware, in UTC."""
    error_details: dict[str, Any]
    """The `details` of Trunkline's errors; empty of others."""

    @classmethod
    def of(
        cls,
        error: BaseException,
        *,
        agent_id: str,
        task_id: str | None = None,
        workflow_id: str | None = None,
        attempt: int = 1,
        context: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
    ) -> DeadLetterEntry:
        """Describes an error. What JSON cannot say of `context` and of the error's details becomes text; what is very
        long is cut."""
        details = getattr(error, "details", None)
        return cls(
            error_type=type(error).__name__,
            error_code=code_of(error),
            error_message=_clean(str(error))[:MAX_MESSAGE_CHARACTERS],
            traceback=_clean("".join(traceback.format_exception(error)))[-MAX_TRACEBACK_CHARACTERS:],
            context=_facts(context or {}),
            agent_id=agent_id,
            task_id=task_id,
            workflow_id=workflow_id,
            attempt=attempt,
            timestamp=timestamp or datetime.now(UTC),
            error_details=_facts(details) if isinstance(details, Mapping) else {},
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON object; the timestamp as ISO 8601."""
        return {**asdict(self), "timestamp": self.timestamp.isoformat()}


class DeadLetterQueue:
    """The latest entries of one agent, oldest first. In memory: what must outlive the agent is the bus's to keep, by a
    durable subscription.

    Args:
        max_entries: from 1; beyond it the oldest go.
    """

    def __init__(self, max_entries: int = MAX_DEAD_LETTER_ENTRIES) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries is {max_entries}, it must be at least 1")
        self._entries: deque[DeadLetterEntry] = deque(maxlen=max_entries)
        self.dropped = 0
        """Entries that went because there was no room."""

    def add(self, entry: DeadLetterEntry) -> None:
        """Keeps an entry."""
        self.dropped += len(self._entries) == self._entries.maxlen
        self._entries.append(entry)

    def clear(self) -> None:
        """Forgets them: somebody has seen to them."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[DeadLetterEntry]:
        return iter(tuple(self._entries))


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON can say it."""
    try:
        text = json.dumps(dict(facts), default=repr, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, NaN, circles
        text = json.dumps({"repr": repr(facts)}, ensure_ascii=False)
    if len(text) > MAX_FACTS_CHARACTERS:
        return {"left_out": f"{len(text)} characters of JSON, at most {MAX_FACTS_CHARACTERS} are kept"}
    plain: dict[str, Any] = json.loads(_clean(text))
    return plain


def _clean(text: str) -> str:
    """Without lone surrogates, which cannot travel as UTF-8."""
    return text.encode("utf-8", "replace").decode()
