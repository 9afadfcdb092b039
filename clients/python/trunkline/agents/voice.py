"""Voice: what an agent says of itself, to its orchestrator and to whoever waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from trunkline.agents.errors import AgentError
from trunkline.agents.events import ERROR_PREFIX, RESULT_PREFIX, AgentEvent
from trunkline.agents.limits import MAX_ERROR_LENGTH
from trunkline.agents.logger import AgentLogger
from trunkline.agents.state_events import StateEvents
from trunkline.errors import TrunklineError
from trunkline.message_channel import ServiceMessage


class Voice:
    """Of one life of an agent."""

    def __init__(
        self, agent: str, send: Callable[[ServiceMessage], None], state_events: StateEvents, logger: AgentLogger
    ) -> None:
        self._agent = agent
        self._send = send
        self._state_events = state_events
        self._logger = logger
        self.life: int | None = None
        """Which of the agent's lives it is; None where nobody counts them."""

    def say(self, event: AgentEvent) -> None:
        """Says what has happened. Raises as `MessageChannel.send`."""
        self._tell(event.value)

    def say_if_heard(self, event: AgentEvent) -> None:
        """As `say`; that it was not taken is logged."""
        self._try(event.value)

    def stumble(self, error: Exception) -> None:
        """Logs and tells an error that the agent goes on after."""
        what = _words(error)
        self._logger.warning("agent %r goes on after %s", self._agent, what)
        self._try(f"{ERROR_PREFIX} {what}")

    def fail(self, error: BaseException) -> str:
        """Logs and tells an error; returns what was told."""
        what = _words(error)
        self._logger.error("agent %r failed: %s", self._agent, what, exc_info=error)
        self._try(f"{ERROR_PREFIX} {what}")
        return what

    def tell_result(self, returned: Any, attribute: Any) -> None:
        """Tells what the work returned, or else what the agent's attribute `result` is; nothing where both are None.

        Raises:
            AgentError: what was returned is no JSON. (Of the attribute, which may be the subclass's own affair, that is
                only logged.)
        """
        result = attribute if returned is None else returned
        if result is None:
            return
        try:
            told = json.dumps(result, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            why = f"the result of agent {self._agent!r} is no JSON: {error}"
            if returned is not None:
                raise AgentError(why, details={"agent": self._agent}) from error
            self._logger.warning("%s; it is not told", why)
        else:
            self._tell(RESULT_PREFIX + told)

    def _try(self, payload: str) -> None:
        try:
            self._tell(payload)
        except TrunklineError as error:
            self._logger.warning("%.40r of agent %r was not taken: %s", payload, self._agent, error)

    def _tell(self, payload: str) -> None:
        self._state_events.said(payload)
        message = ServiceMessage(self._agent, "STATUS", payload)
        self._send(message if self.life is None else message.with_life(self.life))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH].strip()
