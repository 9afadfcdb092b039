"""StatusReporter: the STATUS messages of an agent, to its orchestrator and to its `StateEvents`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trunkline.agents.errors import AgentError
from trunkline.agents.events import ERROR_PREFIX, RESULT_PREFIX, AgentEvent
from trunkline.agents.limits import MAX_ERROR_LENGTH
from trunkline.agents.logger import AgentLogger
from trunkline.agents.state_events import StateEvents
from trunkline.errors import TrunklineError
from trunkline.message_channel import ServiceMessage
from trunkline.models.json import encode_json
from trunkline.text import error_text, safe_text


class StatusReporter:
    """Reports one life of an agent.

    Args:
        agent: its name.
        send: sends a message to the orchestrator; raises as `MessageChannel.send`.
        state_events: records the life cycle events.
        logger: gets errors, and what could not be sent.
    """

    def __init__(
        self, agent: str, send: Callable[[ServiceMessage], None], state_events: StateEvents, logger: AgentLogger
    ) -> None:
        self._agent = agent
        self._send = send
        self._state_events = state_events
        self._logger = logger
        self.life: int | None = None
        """Number of the agent's life; None where lives are not counted."""

    def report(self, event: AgentEvent) -> None:
        """Reports an event. Raises as `MessageChannel.send`."""
        self._send_status(event.value)

    def try_report(self, event: AgentEvent) -> None:
        """Reports an event; where that fails, the failure is logged."""
        self._try(event.value)

    def report_recoverable(self, error: Exception) -> None:
        """Logs and reports an error after which the agent goes on."""
        text = _text(error)
        self._logger.warning("agent %r goes on after %s", self._agent, text)
        self._try(f"{ERROR_PREFIX} {text}")

    def report_failure(self, error: BaseException) -> str:
        """Logs and reports an error; returns its text."""
        text = _text(error)
        self._logger.error("agent %r failed: %s", self._agent, text, exc_info=error)
        self._try(f"{ERROR_PREFIX} {text}")
        return text

    def report_result(self, returned: Any, attribute: Any) -> None:
        """Reports what the work returned, or else the agent's attribute `result`; nothing where both are None.

        Raises:
            AgentError: the returned value is no JSON. An attribute that is no JSON may be the subclass's own affair:
                that is only logged.
        """
        result = attribute if returned is None else returned
        if result is None:
            return
        try:
            text = encode_json(result).decode()
        except (ValueError, RecursionError) as error:
            why = safe_text(f"the result of agent {self._agent!r} is no JSON: {error}")
            if returned is not None:
                raise AgentError(why, details={"agent": self._agent}) from error
            self._logger.warning("%s; it is not told", why)
        else:
            self._send_status(RESULT_PREFIX + text)

    def _try(self, payload: str) -> None:
        try:
            self._send_status(payload)
        except TrunklineError as error:
            self._logger.warning("%.40r of agent %r was not taken: %s", payload, self._agent, error)

    def _send_status(self, payload: str) -> None:
        self._state_events.record(payload)
        message = ServiceMessage(self._agent, "STATUS", payload)
        self._send(message if self.life is None else message.with_life(self.life))


def _text(error: BaseException) -> str:
    return error_text(error)[:MAX_ERROR_LENGTH].strip()
