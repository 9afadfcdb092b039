"""Ledger: which files have a receipt, and what came of them. What is under way, and with whom, the bus knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.demo.limits import MAX_ROUNDS


@dataclass(frozen=True, slots=True)
class Again:
    """One message that was delivered again, with an attempt above 1."""

    path: str
    durable: str
    """What it was to be: measured ("coding") or checked ("review")."""
    attempt: int
    """From 2."""
    done_by: str


class Ledger:
    """Each file is stored in time, and then done or given up."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._rounds = dict.fromkeys(paths, 1)
        self.total = len(self._rounds)
        self.receipts: dict[str, int] = {}
        """By file, the sequence of its first task."""
        self.done: dict[str, str] = {}
        """By file, the coding agent whose figures were stored."""
        self.given_up: dict[str, str] = {}
        """By file, the reason."""
        self.again: list[Again] = []

    @property
    def paths(self) -> list[str]:
        """All files, in order."""
        return list(self._rounds)

    @property
    def open(self) -> int:
        """How many files are neither done nor given up."""
        return self.total - len(self.done) - len(self.given_up)

    @property
    def is_finished(self) -> bool:
        """Whether every file is done or given up."""
        return not self.open

    def round_of(self, path: str) -> int:
        """How often a file was assigned: 1, and 1 more for each time that the review rejected its figures."""
        return self._rounds[path]

    def stored(self, path: str, sequence: int) -> None:
        """The bus gave a receipt for a file's task. The first one's counts."""
        self.receipts.setdefault(path, sequence)

    def finished(self, path: str, coded_by: str) -> bool:
        """A file's result is stored. False: that was known. A result goes before a reason to give up."""
        if path in self.done:
            return False
        self.given_up.pop(path, None)
        self.done[path] = coded_by
        return True

    def reject(self, path: str) -> bool:
        """A file's figures are wrong: True if it is to be assigned anew, False if that was done often enough."""
        if self._rounds[path] >= MAX_ROUNDS:
            return False
        self._rounds[path] += 1
        return True

    def give_up(self, path: str, reason: str) -> bool:
        """A file cannot be done. False: it is done, or was given up before."""
        if path in self.done or path in self.given_up:
            return False
        self.given_up[path] = reason
        return True
