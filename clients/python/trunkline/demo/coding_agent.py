"""CodingAgent: measures files. Its figures go to the review agents."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from trunkline import AgentMessage, MessageType
from trunkline.demo.agent import Agent
from trunkline.demo.limits import REQUEST_SECONDS
from trunkline.demo.measuring import measure
from trunkline.demo.posts import CODING
from trunkline.sync import DurableMessage


class CodingAgent(Agent):
    """Measures by itself, in a thread."""

    durable = CODING

    @property
    def channel(self) -> str:
        return self.post.job.assignments

    def work(self, message: DurableMessage) -> None:
        """Measures the file of an assignment, and publishes the figures."""
        path = str(message.payload["path"])
        facts = {"attempt": message.attempt, "coded_by": self.post.agent_id, "figures": self.figures(path)}
        report = AgentMessage(
            message_id=f"{message.message_id}:figures",
            message_type=MessageType.TASK_RESULT,
            sender_id=self.post.agent_id,
            correlation_id=message.message_id,
            payload={**message.payload, **facts},
        )
        self.publish(self.post.job.reviews, report)

    def figures(self, path: str) -> dict[str, Any]:
        """A file's figures as a JSON object."""
        return asdict(measure(PurePath(path), (self.post.job.root / path).read_bytes()))


class CodingProcessAgent(CodingAgent):
    """A `CodingAgent` in a process of its own."""

    a_type = "process"


class ExternalCodingAgent(CodingAgent):
    """Stands in the team for a program that speaks lines of JSON on the sidecar's UNIX socket: asks it, and takes its
    answer for its own. To the program this is a COMMAND line that wants a STATUS line."""

    def figures(self, path: str) -> dict[str, Any]:
        """Raises TrunklineError where the program is gone or does not answer in time."""
        request = AgentMessage(
            message_type=MessageType.CONTROL,
            sender_id=self.post.agent_id,
            payload={"root": str(self.post.job.root), "path": path},
        )
        reply = self.patience.run(self.bus.request, self.post.external_channel, request, REQUEST_SECONDS)
        answer = json.loads(str(reply.payload["payload"]))
        if "error" in answer:
            raise OSError(answer["error"])
        figures: dict[str, Any] = answer["figures"]
        return figures
