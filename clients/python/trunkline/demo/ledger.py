"""Ledger: which files are waiting, under way and done. It knows no message and no clock; both are handed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trunkline.demo.limits import MAX_ATTEMPTS, TASK_SECONDS

Fate = Literal["assigned anew", "given up"]


@dataclass(slots=True)
class Task:
    """One file that is under way."""

    path: str
    attempt: int
    deadline: float
    holder: str | None = None
    """The agent that works on it, as far as is known."""


@dataclass(slots=True)
class Handover:
    """One file that was taken from an agent and given to another."""

    path: str
    taken_from: str | None
    reason: str
    done_by: str | None = None
    """None while it is not done."""


class Ledger:
    """Each file is in one of four places: waiting, under way, done, or given up after MAX_ATTEMPTS."""

    def __init__(self, paths: Iterable[str], seconds: float = TASK_SECONDS) -> None:
        self._waiting: deque[str] = deque(paths)
        self._attempts: dict[str, int] = {}
        self._seconds = seconds
        self.total = len(self._waiting)
        self.under_way: dict[str, Task] = {}
        self.done: dict[str, str] = {}
        """By file, the coding agent whose figures were stored."""
        self.given_up: dict[str, str] = {}
        """By file, the last reason."""
        self.handovers: list[Handover] = []

    @property
    def is_finished(self) -> bool:
        """Whether nothing is waiting or under way."""
        return not self._waiting and not self.under_way

    def assign(self, now: float) -> Task | None:
        """Takes the next waiting file; None where none waits."""
        if not self._waiting:
            return None
        path = self._waiting.popleft()
        attempt = self._attempts[path] = self._attempts.get(path, 0) + 1
        task = self.under_way[path] = Task(path, attempt, now + self._seconds)
        return task

    def started(self, path: str, agent: str, now: float) -> None:
        """An agent began with a file, to measure or to review it: a sign of life, which moves the deadline."""
        task = self.under_way.get(path)
        if task is not None:
            task.holder, task.deadline = agent, now + self._seconds

    def measured(self, path: str, now: float) -> None:
        """A file's figures are on their way to the review: nobody holds it until that starts."""
        task = self.under_way.get(path)
        if task is not None:
            task.holder, task.deadline = None, now + self._seconds

    def finished(self, path: str, coded_by: str) -> None:
        """A file's result is stored. The first word counts."""
        if path in self.done:
            return
        self.under_way.pop(path, None)
        self.given_up.pop(path, None)
        if path in self._waiting:
            self._waiting.remove(path)
        self.done[path] = coded_by
        for handover in self.handovers:
            if handover.path == path:
                handover.done_by = coded_by

    def hand_over(self, path: str, reason: str) -> Fate | None:
        """Takes a file that is under way back: it goes to the next agent that is free, before those that wait. One that
        was assigned MAX_ATTEMPTS times is given up. None: it was not under way."""
        task = self.under_way.pop(path, None)
        if task is None:
            return None
        if task.attempt >= MAX_ATTEMPTS:
            self.given_up[path] = reason
            return "given up"
        self.handovers.append(Handover(path, task.holder, reason))
        self._waiting.appendleft(path)
        return "assigned anew"

    def overdue(self, now: float) -> list[Task]:
        """What is under way for too long without a sign of life."""
        return [task for task in self.under_way.values() if task.deadline < now]

    def held_by(self, agent: str) -> list[Task]:
        """What an agent works on, as far as is known."""
        return [task for task in self.under_way.values() if task.holder == agent]
