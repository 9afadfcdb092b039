"""CommandClient: sends commands to orchestrators over the bus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trunkline import AgentMessage, MessageBus, MessageType
from trunkline.channels import agent_channel, check_channel
from trunkline.errors import InvalidMessageError, NoRespondersError, TrunklineError
from trunkline.orchestrator.errors import CommandError, OrchestratorNotFoundError, from_answer
from trunkline.text import safe_json

Answer = dict[str, Any]


class CommandClient:
    """Sends commands under one name.

    Args:
        bus: connected.
        sender: name of the caller for the audit logs; a channel token that is no agent's.
        timeout: seconds that an orchestrator may take to answer.

    Raises:
        InvalidChannelError: the sender is no channel token.
    """

    def __init__(self, bus: MessageBus, sender: str, timeout: float) -> None:
        check_channel(agent_channel(sender))
        self._bus = bus
        self._sender = sender
        self._timeout = timeout

    async def ask(self, orchestrator: str, command: str, *args: str) -> Answer:
        """Sends a command to an orchestrator, and returns the answer.

        Raises:
            OrchestratorNotFoundError: no orchestrator subscribes under that name.
            RequestTimeoutError: the orchestrator did not answer.
            The error of the answer.
        """
        payload = safe_json({"command": command, "args": args})
        message = AgentMessage(
            message_type=MessageType.CONTROL,
            sender_id=self._sender,
            recipient_id=orchestrator,
            payload={"payload": payload},
        )
        try:
            reply = await self._bus.request(agent_channel(orchestrator), message, self._timeout)
        except NoRespondersError as error:
            raise OrchestratorNotFoundError(
                f"orchestrator {orchestrator!r} is not heard of", details={"orchestrator": orchestrator}
            ) from error
        try:
            answer: Answer = json.loads(str(reply.payload["payload"]))
            is_fine = answer["status"] == "success"
        except (KeyError, TypeError, ValueError, InvalidMessageError) as error:
            found = reply.payload if reply.data is None else reply.data
            raise CommandError(f"orchestrator {orchestrator!r} answered {found!r:.200}") from error
        if not is_fine:
            raise from_answer(answer)
        return answer

    async def ask_all(
        self, orchestrators: Iterable[str], command: str, args: Callable[[str], Sequence[str]] = lambda name: ()
    ) -> dict[str, Answer]:
        """Sends a command to several orchestrators, and returns the data of the answers by name; `{"error": …}` for one
        that fails.

        Args:
            args: returns the command's arguments for the orchestrator of a name.

        Raises:
            OrchestratorNotFoundError: there are no orchestrators.
            The first error, where all of them fail.
        """
        names = sorted(orchestrators)
        if not names:
            raise OrchestratorNotFoundError("no orchestrator of the fleet is heard of")
        answers = await asyncio.gather(*(self._settled(name, command, args(name)) for name in names))
        errors = [answer for answer in answers if isinstance(answer, TrunklineError)]
        if len(errors) == len(answers):
            raise errors[0]
        return {
            name: {"error": answer.message} if isinstance(answer, TrunklineError) else answer.get("data", {})
            for name, answer in zip(names, answers, strict=True)
        }

    async def _settled(self, name: str, command: str, args: Sequence[str]) -> Answer | TrunklineError:
        try:
            return await self.ask(name, command, *args)
        except TrunklineError as error:
            return error
