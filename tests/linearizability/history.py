"""A history of calls of one record, and whether one order of them explains all that was answered.

The record is a register with a revision. The search is that of Wing and Gong, with Lowe's memory of what was tried: a
call that returned before another began comes before it; of calls that overlap any may come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count
from typing import Final

NEVER: Final = 10**12
"""When a call returned whose outcome is not known: it may come after all others, or never."""

MAX_STATES: Final = 2_000_000
"""Orders that are tried at the most."""


class Verb(Enum):
    """What was called."""

    SAVE = "save"
    GET = "get"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Call:
    """A call and what it answered.

    Args:
        verb: what was called.
        key: the record.
        began, ended: in the order of all that happened; `NEVER`: the outcome is not known.
        value: what was saved, which no other call saves; or what a get answered, None: no record.
        expected: the revision that a save or a delete asked for; None: any.
        revision: of the record that was saved or read, if that is known; 0: there is none.
        refused: the revision that the record had when it was not the expected one.
        found: whether a delete found a record.
    """

    verb: Verb
    key: str
    began: int
    ended: int = NEVER
    value: str | None = None
    expected: int | None = None
    revision: int | None = None
    refused: int | None = None
    found: bool | None = None

    @property
    def is_known(self) -> bool:
        """Whether its outcome is known."""
        return self.ended != NEVER


class History:
    """Takes note of calls, as they begin and end."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._order = count(1)

    def begin(self, verb: Verb, key: str, value: str | None = None, expected: int | None = None) -> Call:
        """Returns a call that begins now."""
        return Call(verb, key, next(self._order), value=value, expected=expected)

    def end(self, call: Call, **answer: object) -> None:
        """Takes note of what a call answered just now."""
        self.calls.append(replace(call, ended=next(self._order), **answer))  # type: ignore[arg-type]

    def lose(self, call: Call) -> None:
        """Takes note of a call whose outcome nobody will know. A get that was not answered says nothing."""
        if call.verb is not Verb.GET:
            self.calls.append(call)

    @property
    def keys(self) -> list[str]:
        """The records, each once."""
        return sorted({call.key for call in self.calls})

    def of(self, key: str) -> list[Call]:
        """Returns the calls of one record, in the order in which they began."""
        return sorted((call for call in self.calls if call.key == key), key=lambda call: call.began)


class UndecidedError(Exception):
    """There are too many orders to try."""


_Register = tuple[str | None, int]
"""The value, and the highest revision that was written so far."""


def explain(calls: Sequence[Call]) -> list[Call] | None:
    """Returns one order of the calls of one record that explains all answers; None: there is none.

    Raises:
        UndecidedError: more than `MAX_STATES` were tried.
    """
    revisions = _revisions(calls)
    if revisions is None:
        return None
    calls = sorted(calls, key=lambda call: call.began)
    needed = sum(1 << index for index, call in enumerate(calls) if call.is_known)
    start: tuple[int, _Register] = 0, (None, 0)
    tried = {start}
    path: list[tuple[int, _Register, Iterable[int]]] = [(*start, iter(_next(calls, 0)))]
    order: list[int] = []
    while path:
        done, register, choices = path[-1]
        if done & needed == needed:
            return [calls[index] for index in order]
        for index in choices:
            after = _apply(calls[index], register, revisions)
            state = done | 1 << index, after
            if after is None or state in tried:
                continue
            if len(tried) >= MAX_STATES:
                raise UndecidedError(f"{len(calls)} calls of {calls[0].key!r}")
            tried.add((state[0], after))
            order.append(index)
            path.append((state[0], after, iter(_next(calls, state[0]))))
            break
        else:
            path.pop()
            if order:
                order.pop()
    return None


def _next(calls: Sequence[Call], done: int) -> list[int]:
    """Returns the calls that may come next: none that is left returned before they began."""
    found: list[int] = []
    first_end = NEVER + 1
    for index, call in enumerate(calls):
        if done >> index & 1:
            continue
        if call.began > first_end:
            break
        found.append(index)
        first_end = min(first_end, call.ended)
    # Those whose outcome is not known come last: mostly they were never done, or nobody cares.
    return sorted(found, key=lambda index: calls[index].ended)


def _revisions(calls: Iterable[Call]) -> dict[str, int] | None:
    """Returns the revision of each value, as far as anybody heard it; None: one has two, or two have one."""
    found: dict[str, int] = {}
    for call in calls:
        if (
            call.value is not None
            and call.revision is not None
            and found.setdefault(call.value, call.revision) != (call.revision)
        ):
            return None
    return found if len(set(found.values())) == len(found) else None


def _apply(call: Call, register: _Register, revisions: dict[str, int]) -> _Register | None:
    """Returns the register after a call; None: it would have answered something else."""
    value, floor = register
    # A revision that nobody heard is none of those that somebody did.
    revision = 0 if value is None else revisions.get(value)
    if call.verb is Verb.GET:
        return register if call.value == value else None
    if call.refused is not None:
        is_so = call.refused == revision if revision is not None else call.refused not in {0, *revisions.values()}
        return register if is_so and call.refused != call.expected else None
    if call.expected is not None and call.expected != revision:
        return None if call.is_known else register
    if call.verb is Verb.DELETE:
        return (None, floor) if call.found in (None, value is not None) else None
    written = revisions.get(call.value or "")
    if written is None:
        return call.value, floor
    return (call.value, written) if written > floor else None
