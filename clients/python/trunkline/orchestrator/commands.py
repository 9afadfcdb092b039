"""CommandHandler: the commands that an orchestrator serves, and their answers.

A command is `{"command": "ps", "args": []}`, or the same in words: `ps`, `start NAME`. The answer is
`{"status": "success", "data" | "message": …}` or `{"status": "error", "message": …, "error_code": …}`.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from trunkline.errors import TrunklineError
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.audit import Asker, AuditLog
from trunkline.orchestrator.errors import CommandDeniedError, CommandError
from trunkline.orchestrator.options import history_options, no_arguments, one_name, page_options, perhaps_a_name
from trunkline.orchestrator.permissions import ALL_COMMANDS, Permissions

_log = logging.getLogger(__name__)

Answer = dict[str, Any]
Reply = Callable[[Answer], object]


class Facts(Protocol):
    """What an orchestrator says of itself."""

    def ps(self, page_size: int | None = None, page_token: str = "") -> Answer: ...

    def agent_status(self, name: str) -> Answer: ...

    def status(self) -> Answer: ...

    def report(self) -> Answer: ...

    def stats(self) -> Answer: ...

    def history(self, last: int | None, agent: str | None, type: str | None, after_seq: int) -> Answer: ...

    def dependencies(self) -> Answer: ...


class Deeds(Protocol):
    """What it does."""

    def starting(self, name: str) -> Future[str]: ...

    def stopping(self, name: str) -> Future[str]: ...

    def shutting_down(self) -> None:
        """Begins to; returns at once."""


class CommandHandler:
    """Of one orchestrator."""

    def __init__(self, facts: Facts, deeds: Deeds, permissions: Permissions, audit: AuditLog) -> None:
        self._facts = facts
        self._deeds = deeds
        self._permissions = permissions
        self._audit = audit
        self._served: dict[str, Callable[[list[str]], Answer | Future[str]]] = {
            "ps": lambda args: {"data": facts.ps(**page_options(args))},
            "list": lambda args: {"data": facts.ps(**page_options(args))},
            "status": self._status,
            "report": partial(self._told, facts.report),
            "stats": partial(self._told, facts.stats),
            "dependencies": partial(self._told, facts.dependencies),
            "commands": partial(self._told, self._allowed),
            "history": lambda args: {"data": facts.history(**history_options(args))},
            "start": lambda args: deeds.starting(one_name(args)),
            "stop": lambda args: deeds.stopping(one_name(args)),
            "shutdown": self._shutdown,
        }

    def handle(self, request: ServiceMessage, asker: Asker, reply: Reply) -> None:
        """Does what a message commands, and replies: at once, or where it takes time when it is done.

        `reply` gets one answer, in this thread or in the supervisor's. What goes wrong is an answer too.
        """
        command = ""
        args: list[str] = []
        try:
            command, args = parse(request.payload)
            self._permissions.check(command)
            outcome = self._run(command, args)
        except Exception as error:  # noqa: BLE001  # one command's failure is its answer
            self._answer(reply, asker, command, args, error)
            return
        if isinstance(outcome, Future):
            outcome.add_done_callback(lambda done: self._done(reply, asker, command, args, done))
        else:
            self._answer(reply, asker, command, args, outcome)

    def _run(self, command: str, args: list[str]) -> Answer | Future[str]:
        served = self._served.get(command)
        if served is None:
            raise CommandError(f"there is no command {command!r}; there are {', '.join(sorted(ALL_COMMANDS))}")
        return served(args)

    def _status(self, args: list[str]) -> Answer:
        name = perhaps_a_name(args)
        return {"data": self._facts.status() if name is None else self._facts.agent_status(name)}

    def _told(self, fact: Callable[[], Answer], args: list[str]) -> Answer:
        no_arguments(args)
        return {"data": fact()}

    def _shutdown(self, args: list[str]) -> Answer:
        no_arguments(args)
        self._deeds.shutting_down()
        return {"message": "Shutdown initiated"}

    def _allowed(self) -> Answer:
        return {"commands": sorted(self._permissions.allowed)}

    def _done(self, reply: Reply, asker: Asker, command: str, args: list[str], done: Future[str]) -> None:
        error = done.exception()
        self._answer(reply, asker, command, args, error or {"message": _sentence(args[0], done.result())})

    def _answer(
        self, reply: Reply, asker: Asker, command: str, args: list[str], outcome: Answer | BaseException
    ) -> None:
        if isinstance(outcome, TrunklineError):
            answer: Answer = {"status": "error", "message": outcome.message, "error_code": outcome.error_code}
            self._audit.record(asker, command, args, _kind(outcome), outcome.message)
        elif isinstance(outcome, BaseException):
            _log.error("the command %r failed", command, exc_info=outcome)
            answer = {"status": "error", "message": f"the command failed: {outcome}", "error_code": "INTERNAL"}
            self._audit.record(asker, command, args, "error", str(outcome))
        else:
            answer = {"status": "success", **outcome}
            self._audit.record(asker, command, args, "success")
        try:
            reply(answer)
        except TrunklineError as error:  # it has gone, or the answer is too large for it
            _log.warning("%r was not answered its %r: %s", asker.sender, command, error)


def parse(payload: str) -> tuple[str, list[str]]:
    """The command and its arguments.

    Raises:
        CommandError: it is neither an object with a `command` nor words.
    """
    text = payload.strip()
    if not text.startswith(("{", "[", '"')):
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise CommandError(f"the command cannot be read: {error}: {text[:80]!r}") from None
        if not words:
            raise CommandError("the command is empty")
        return words[0], words[1:]
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"the payload is no JSON: {error}") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("command"), str):
        raise CommandError('the payload must be {"command": NAME, "args": [...]}, with a NAME that is text')
    args = fields.get("args") or []
    if not isinstance(args, list) or not all(isinstance(arg, str | int | float) for arg in args):
        raise CommandError(f"args must be a list of texts, not {args!r:.80}")
    return fields["command"], [str(arg) for arg in args]


def _kind(error: TrunklineError) -> Any:
    return "denied" if isinstance(error, CommandDeniedError) else "error"


def _sentence(name: str, how: str) -> str:
    return f"Agent '{name}' {how} successfully" if how in ("started", "stopped") else f"Agent '{name}' {how}"
