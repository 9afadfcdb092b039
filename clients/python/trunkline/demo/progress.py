"""Progress: watches the state service, and shows how many results are stored."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trunkline import Change, StateError, TaskResult, TaskStatus, WorkflowState
from trunkline.demo.limits import END_SECONDS
from trunkline.demo.narrator import PLAIN_STEPS, Narrator
from trunkline.demo.posts import Job
from trunkline.sync import StateManager


class Watcher:
    """A context in which what is stored is shown: it watches the store, as any program could.

    It ends by itself when the workflow is stored as completed or failed.
    """

    def __init__(self, job: Job, total: int, address: str, narrator: Narrator) -> None:
        self._job = job
        self._total = total
        self._narrator = narrator
        self._state = StateManager(address)
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._stored = 0
        self._leaving = False
        self._bar = Progress(
            TextColumn("{task.description:<12}", style="bold cyan"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("files stored"),
            TimeElapsedColumn(),
            console=narrator.console,
            transient=True,
        )
        self._row = self._bar.add_task("starting", total=total)

    def __enter__(self) -> Self:
        self._state.connect()
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            self._thread.join(END_SECONDS)  # it sees the end itself
        self._leaving = True
        self._state.disconnect()
        self._thread.join(END_SECONDS)

    def _watch(self) -> None:
        with ExitStack() as drawing:
            if self._narrator.is_live:
                drawing.enter_context(self._bar)
            try:
                for change in self._state.watch("task_result", "workflow_state"):
                    if self._is_last(change):
                        return
            except StateError as error:
                if not self._leaving:
                    self._narrator.warn(f"the watcher ended: {error}")

    def _is_last(self, change: Change) -> bool:
        match change.record:
            case TaskResult(task_id=task_id) if self._job.path_of(task_id) is not None:
                self._count()
            case WorkflowState(workflow_id=self._job.id) as workflow:
                self._bar.update(self._row, description=str(workflow.current_phase))
                return workflow.status != TaskStatus.IN_PROGRESS
        return False

    def _count(self) -> None:
        self._stored += 1
        self._bar.update(self._row, completed=self._stored)
        if not self._narrator.is_live and self._stored * PLAIN_STEPS % self._total < PLAIN_STEPS:
            self._narrator.say(f"{'':<12}{self._stored} of {self._total} files stored")
