"""Audit: the coordinator asks a review agent whether what is stored in the end is what the files say.

A request with a life: while it goes on the coordinator hears how far it is, and of each result that is wrong; it hears
at once when the agent or the bus is gone, and another agent begins anew.
"""

from __future__ import annotations

from math import floor
from typing import Final

from trunkline import Accepted, AgentMessage, Cancellation, Failure, MessageType, Part, Progress
from trunkline.demo.limits import AUDIT_SECONDS
from trunkline.demo.narrator import PLAIN_STEPS, Narrator
from trunkline.demo.posts import COORDINATOR, Job
from trunkline.sync import MessageBus

_UNSAID: Final = -1


def audit(job: Job, bus: MessageBus, narrator: Narrator) -> list[str]:
    """Shows how far the audit is, and returns what is wrong; empty where nothing is.

    Raises:
        TrunklineError: the bus went away, or the agents did not finish in AUDIT_SECONDS.
    """
    question = AgentMessage(message_type=MessageType.CONTROL, sender_id=COORDINATOR, payload={"workflow_id": job.id})
    wrong: list[str] = []
    auditor = ""
    said = _UNSAID
    for event in bus.request_stream(job.audits, question, AUDIT_SECONDS, wait_for_responder=True, repeatable=True):
        match event:
            case Accepted(responder=auditor):
                wrong, said = [], _UNSAID  # where another one begins anew
            case Progress(fraction=float(fraction), text=text) if (step := floor(fraction * PLAIN_STEPS)) > said:
                narrator.say(f"{'':<12}{text} audited by {auditor}")
                said = step
            case Part():
                wrong.append(event.text)
            case Failure(text=why):
                wrong.append(f"the audit failed: {why}")
            case Cancellation(by=who):
                wrong.append(f"the audit was called off by {who or 'somebody'}")
    return wrong
