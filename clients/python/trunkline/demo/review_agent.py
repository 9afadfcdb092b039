"""ReviewAgent: checks the totals of figures. What it approves, it stores."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from trunkline import MessageType, RevisionMismatchError, TaskResult, TaskStatus
from trunkline.demo.agent import Agent
from trunkline.demo.measuring import Figures, language_of
from trunkline.demo.posts import CODING, REVIEW
from trunkline.sync import DurableMessage, Request


class ReviewAgent(Agent):
    """Approves or rejects, in a thread."""

    durable = REVIEW

    @property
    def channel(self) -> str:
        return self.post.job.reviews

    def setup(self) -> None:
        """Answers for audits, too."""
        super().setup()
        self.bus.respond(self.post.job.audits, self.audit, group=REVIEW, name=self.post.name)

    def stop_listening(self) -> None:
        """Takes no figures and no audits any more."""
        self.bus.unsubscribe(self.post.job.audits)
        super().stop_listening()

    def audit(self, request: Request) -> Iterator[str]:
        """Compares all stored results with the files once more. Yields what is wrong, and says how far it is."""
        results = self.store.list_task_results(status=TaskStatus.COMPLETED)
        paths = {result.task_id: self.post.job.path_of(result.task_id) for result in results}
        own = [result for result in results if paths[result.task_id] is not None]
        for number, result in enumerate(own, start=1):
            path = str(paths[result.task_id])
            content = (self.post.job.root / path).read_bytes()
            figures: Any = result.output_data
            if wrong := objections(PurePath(path), content, Figures(**figures)):
                yield f"{path} is stored with wrong figures: {'; '.join(wrong)}"
            request.progress(number / len(own), f"{number} of {len(own)} results")

    def work(self, message: DurableMessage) -> None:
        """Checks one file's figures. Approved ones become its TaskResult; rejected ones go back with the reasons."""
        path = str(message.payload["path"])
        figures: Any = message.payload["figures"]
        content = (self.post.job.root / path).read_bytes()
        wrong = objections(PurePath(path), content, Figures(**figures))
        if wrong:
            self.notify(message, MessageType.FEEDBACK, reason="; ".join(wrong))
            return
        result = TaskResult(
            task_id=self.post.job.task_id(path),
            agent_id=str(message.payload["coded_by"]),
            status=TaskStatus.COMPLETED,
            output_data=figures,
            started_at=message.timestamp,
            completed_at=datetime.now(UTC),
            metadata={"reviewed_by": self.post.agent_id, "round": message.payload["round"]},
        )
        self.notify(
            message,
            MessageType.TASK_RESULT,
            coded_by=result.agent_id,
            stored=self._save(result),
            attempts={CODING: message.payload["attempt"], REVIEW: message.attempt},
        )

    def _save(self, result: TaskResult) -> bool:
        """False where the file has a result already. A message may be handed out twice (who held it was killed, but had
        finished it); revision 0 means "must not exist", so that the second result is refused, whichever comes first."""
        self.saved_result()
        try:
            self.store.save_task_result(result, expected_revision=0)
        except RevisionMismatchError:
            return False
        return True


class ReviewProcessAgent(ReviewAgent):
    """A `ReviewAgent` in a process of its own."""

    a_type = "process"


def objections(path: PurePath, content: bytes, figures: Figures) -> list[str]:
    """Returns what is wrong with a file's figures, in words; empty where nothing is.

    Lines and blank lines are counted anew. Of the others it is checked that they can be: that comments fit beside blank
    lines, functions and classes into the lines, and the complexity of all functions into the decisions of the file.
    """
    recounted = {
        "lines": content.count(b"\n") + (content[-1:] not in (b"", b"\n")),
        "blank": sum(not line.strip() for line in io.BytesIO(content)),
    }
    wrong = [
        f"{name}: measured {getattr(figures, name)}, recounted {count}"
        for name, count in recounted.items()
        if getattr(figures, name) != count
    ]
    return wrong or _implausible(language_of(path), figures)


def _implausible(language: str, figures: Figures) -> list[str]:
    mean, worst, functions = figures.mean_complexity, figures.max_complexity, figures.functions
    if functions:
        forks = round(mean * functions) - functions  # of all functions: each has 1 and its decisions
        is_possible = 1 <= mean <= worst <= 1 + figures.decisions and forks <= figures.decisions
    else:
        is_possible = mean == worst == 0
    checks = {
        f"language: {figures.language} of a file that is {language}": figures.language.startswith(language),
        f"comment: {figures.comment} beside {figures.blank} blank lines cannot be": figures.comment
        <= figures.lines - figures.blank,
        f"functions and classes: {functions} and {figures.classes} cannot be": functions + figures.classes
        <= figures.lines - figures.blank - figures.comment,
        f"complexity: mean {mean:g} and max {worst} cannot be": is_possible,
    }
    return [words for words, holds in checks.items() if not holds]
