"""CommandHandler: serves the commands of an orchestrator.

A command is `{"command": "ps", "args": []}`, or the same in words: `ps`, `start NAME`. The answer is
`{"status": "success", "data" | "message": …}` or `{"status": "error", "message": …, "error_code": …}`; the message of
an error is repeated under `error`, where some older clients look for it.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from trunkline.errors import MessageTooLargeError, TrunklineError
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.commands.audit import AuditLog, Caller
from trunkline.orchestrator.commands.options import (
    agent_option,
    history_options,
    no_arguments,
    one_name,
    page_options,
    perhaps_a_name,
)
from trunkline.orchestrator.commands.reporting import Reporting
from trunkline.orchestrator.errors import CommandDeniedError, CommandError, OrchestratorError
from trunkline.orchestrator.limits import MAX_ARGUMENT_LENGTH, MAX_ARGUMENTS
from trunkline.orchestrator.permissions import ALL_COMMANDS, CHANGES, Permissions

_log = logging.getLogger(__name__)

Answer = dict[str, Any]
Reply = Callable[[Answer], object]


@dataclass(frozen=True, slots=True)
class _Request:
    """One command with its caller, and the callback that sends the answer."""

    command: str
    args: list[str]
    caller: Caller
    reply: Reply


class CommandHandler:
    """Serves commands: checks the permission, runs the command, audits it, and answers.

    Args:
        reporting: answers the commands that only read.
        permissions: the commands that are allowed.
        audit: gets a line for each command.
        start, stop: start or stop an agent by its name; the future gets a word for the answer.
        shut_down: begins the shutdown; returns at once.
    """

    def __init__(
        self,
        reporting: Reporting,
        permissions: Permissions,
        audit: AuditLog,
        *,
        start: Callable[[str], Future[str]],
        stop: Callable[[str], Future[str]],
        shut_down: Callable[[], object],
    ) -> None:
        self._reporting = reporting
        self._shut_down = shut_down
        self._permissions = permissions
        self._audit = audit
        self._served: dict[str, Callable[[list[str]], Answer | Future[str]]] = {
            "ps": lambda args: {"data": reporting.ps(**page_options(args))},
            "list": lambda args: {"data": reporting.ps(**page_options(args))},
            "status": self._status,
            "report": partial(_data, reporting.report),
            "stats": lambda args: {"data": reporting.stats(**page_options(args))},
            "dependencies": partial(_data, reporting.dependencies),
            "commands": partial(_data, permissions.describe),
            "history": lambda args: {"data": reporting.history(**history_options(args))},
            "history-stats": lambda args: {"data": reporting.history_stats(**agent_option(args))},
            "start": lambda args: start(one_name(args)),
            "stop": lambda args: stop(one_name(args)),
            "shutdown": self._shutdown,
        }

    def handle(self, message: ServiceMessage, caller: Caller, reply: Reply) -> None:
        """Runs the command of a message, and replies at once, or when a command that takes time is done.

        `reply` is called with one answer, in this thread or in the supervisor's; an answer that is too large is
        followed by an error that names the limit. Every failure is answered.
        """
        request = _Request(message.payload, [], caller, reply)
        try:
            command, args = parse(message.payload)
            request = _Request(command, args, caller, reply)
            self._permissions.check(command)
            outcome = self._run(command, args)
        except Exception as error:  # noqa: BLE001  # one command's failure is its answer
            self._fail(request, error)
            return
        if isinstance(outcome, Future):
            outcome.add_done_callback(partial(self._done, request))
        else:
            self._succeed(request, outcome)

    def _run(self, command: str, args: list[str]) -> Answer | Future[str]:
        served = self._served.get(command)
        if served is None:
            raise CommandError(f"there is no command {command[:80]!r}; there are {', '.join(sorted(ALL_COMMANDS))}")
        return served(args)

    def _status(self, args: list[str]) -> Answer:
        name = perhaps_a_name(args)
        return {"data": self._reporting.status() if name is None else self._reporting.agent_status(name)}

    def _shutdown(self, args: list[str]) -> Answer:
        no_arguments(args)
        self._shut_down()
        return {"message": "Shutdown initiated"}

    def _done(self, request: _Request, done: Future[str]) -> None:
        try:
            how = done.result()
        except CancelledError:
            self._fail(request, OrchestratorError("the orchestrator is shutting down"))
        except Exception as error:  # noqa: BLE001  # as in handle
            self._fail(request, error)
        else:
            self._succeed(request, {"message": _sentence(request.args[0], how)})

    def _succeed(self, request: _Request, outcome: Answer) -> None:
        self._audit.record(request.caller, request.command, request.args, "success")
        self._record(request, None)
        self._reply(request, {"status": "success", **outcome})

    def _fail(self, request: _Request, error: Exception) -> None:
        denied = isinstance(error, CommandDeniedError)
        answer = _failure(error, request.command)
        self._audit.record(
            request.caller, request.command, request.args, "denied" if denied else "error", answer["message"]
        )
        if not denied:
            self._record(request, answer["message"])
        self._reply(request, answer)

    def _record(self, request: _Request, failure: str | None) -> None:
        if request.command in CHANGES:
            self._reporting.record_command(
                request.caller, request.command, request.args[0] if request.args else None, failure
            )

    def _reply(self, request: _Request, answer: Answer) -> None:
        try:
            try:
                request.reply(answer)
            except MessageTooLargeError as error:
                hint = f"the answer is too large: {error.message}; ask for less with --page-size or --last"
                request.reply(_failure(MessageTooLargeError(hint), request.command))
        except TrunklineError as error:  # the caller has gone
            _log.warning("%r was not answered its %r: %s", request.caller.sender, request.command[:80], error)


def parse(payload: str) -> tuple[str, list[str]]:
    """Returns the command of a payload, and its arguments.

    Raises:
        CommandError: the payload is neither an object with a `command` nor words, or the arguments are too many or too
            long.
    """
    text = payload.strip()
    command, args = _from_json(text) if text.startswith(("{", "[", '"')) else _from_words(text)
    if len(args) > MAX_ARGUMENTS:
        raise CommandError(f"the command has {len(args)} arguments, at most {MAX_ARGUMENTS} are allowed")
    for arg in args:
        if len(arg) > MAX_ARGUMENT_LENGTH:
            raise CommandError(
                f"the argument {arg[:80]!r}… has {len(arg)} characters, at most {MAX_ARGUMENT_LENGTH} are allowed"
            )
    return command, args


def _from_words(text: str) -> tuple[str, list[str]]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise CommandError(f"the command {text[:80]!r} cannot be read: {error}") from None
    if not words:
        raise CommandError("the command is empty")
    return words[0], words[1:]


def _from_json(text: str) -> tuple[str, list[str]]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"the payload is no JSON: {error}") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("command"), str):
        raise CommandError('the payload must be {"command": NAME, "args": [...]}, with a NAME that is text')
    args = fields.get("args")
    if args is None:
        return fields["command"], []
    if not isinstance(args, list):
        raise CommandError(f"args must be a list, not {json.dumps(args)[:80]}")
    return fields["command"], [_argument(arg) for arg in args]


def _argument(arg: object) -> str:
    """Returns an argument as text: older clients send numbers as numbers, and options as one object."""
    if isinstance(arg, str):
        return arg
    if isinstance(arg, dict) or (isinstance(arg, int) and not isinstance(arg, bool)):
        return json.dumps(arg)
    raise CommandError(f"an argument must be text, not {json.dumps(arg)[:80]}")


def _data(question: Callable[[], Answer], args: list[str]) -> Answer:
    no_arguments(args)
    return {"data": question()}


def _failure(error: Exception, command: str) -> Answer:
    """Returns the answer for an error. An unexpected error is logged, and the answer has only an id to find it by."""
    if isinstance(error, TrunklineError):
        message, code = error.message, error.error_code
    else:
        error_id = uuid4().hex[:12]
        _log.error("the command %r failed (error %s)", command[:80], error_id, exc_info=error)
        message, code = f"the command failed; the orchestrator's log has more of it, as error {error_id}", "INTERNAL"
    return {"status": "error", "message": message, "error": message, "error_code": code}


def _sentence(name: str, how: str) -> str:
    if how in ("started", "stopped"):
        return f"Agent '{name}' {how} successfully"
    return f"Agent '{name}' is {how}"
