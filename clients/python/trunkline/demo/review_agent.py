"""ReviewAgent: checks figures by counting anew, another way. What it approves, it stores."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from trunkline import MessageType, RevisionMismatchError, TaskResult, TaskStatus
from trunkline.demo.agent import Agent
from trunkline.demo.measuring import Figures
from trunkline.demo.posts import CODING, REVIEW
from trunkline.demo.recounting import objections
from trunkline.sync import DurableMessage


class ReviewAgent(Agent):
    """Approves or rejects."""

    durable = REVIEW

    @property
    def channel(self) -> str:
        return self.post.job.reviews

    def work(self, message: DurableMessage) -> None:
        """Checks one file's figures. Approved ones become its TaskResult; rejected ones go back with the reasons."""
        path = str(message.payload["path"])
        figures: Any = message.payload["figures"]
        content = (self.post.job.root / path).read_bytes()
        wrong = objections(PurePath(path), content, Figures(**figures))
        if wrong:
            self.tell(message, MessageType.FEEDBACK, reason="; ".join(wrong))
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
        self.tell(
            message,
            MessageType.TASK_RESULT,
            coded_by=result.agent_id,
            stored=self._store(result),
            attempts={CODING: message.payload["attempt"], REVIEW: message.attempt},
        )

    def _store(self, result: TaskResult) -> bool:
        """False where the file has a result already. A message may be handed out twice (who held it was killed, but had
        finished it); revision 0 means "must not exist", so that the second result is refused, whoever comes first."""
        self.saved_result()
        try:
            self.store.save_task_result(result, expected_revision=0)
        except RevisionMismatchError:
            return False
        return True
