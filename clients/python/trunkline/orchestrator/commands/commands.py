"""CommandHandler: the commands that an orchestrator serves, and their answers.

A command is `{"command": "ps", "args": []}`, or the same in words: `ps`, `start NAME`. The answer is
`{"status": "success", "data" | "message": …}` or `{"status": "error", "message": …, "error_code": …}`; the message of
an error also stands under `error`, where the later of the older clients look for it.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from trunkline.errors import MessageTooLargeError, TrunklineError
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator.commands.audit import Asker, AuditLog
from trunkline.orchestrator.commands.options import (
    agent_option,
    history_options,
    no_arguments,
    one_name,
    page_options,
    perhaps_a_name,
)
from trunkline.orchestrator.errors import CommandDeniedError, CommandError, OrchestratorError
from trunkline.orchestrator.limits import MAX_ARGUMENT_LENGTH, MAX_ARGUMENTS
from trunkline.orchestrator.permissions import ALL_COMMANDS, CHANGES, Permissions

_log = logging.getLogger(__name__)

Answer = dict[str, Any]
Reply = Callable[[Answer], object]


class Facts(Protocol):
    """What an orchestrator says of itself."""

    def ps(self, page_size: int | None, page_token: str) -> Answer: ...

    def agent_status(self, name: str) -> Answer: ...

    def status(self) -> Answer: ...

    def report(self) -> Answer: ...

    def stats(self, page_size: int | None, page_token: str) -> Answer: ...

    def history(
        self, last: int | None, agent: str | None, type: str | None, after_seq: int, first: int | None
    ) -> Answer: ...

    def history_stats(self, agent: str | None) -> Answer: ...

    def dependencies(self) -> Answer: ...

    def commanded(self, asker: Asker, command: str, agent: str | None, failure: str | None) -> None:
        """Takes note that somebody had something changed, or tried to."""


class Deeds(Protocol):
    """What it does."""

    def starting(self, name: str) -> Future[str]: ...

    def stopping(self, name: str) -> Future[str]: ...

    def shutting_down(self) -> None:
        """Begins to; returns at once."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One command, who gave it, and what brings the answer."""

    command: str
    args: list[str]
    asker: Asker
    reply: Reply


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
            "report": partial(_told, facts.report),
            "stats": lambda args: {"data": facts.stats(**page_options(args))},
            "dependencies": partial(_told, facts.dependencies),
            "commands": partial(_told, permissions.describe),
            "history": lambda args: {"data": facts.history(**history_options(args))},
            "history-stats": lambda args: {"data": facts.history_stats(**agent_option(args))},
            "start": lambda args: deeds.starting(one_name(args)),
            "stop": lambda args: deeds.stopping(one_name(args)),
            "shutdown": self._shutdown,
        }

    def handle(self, request: ServiceMessage, asker: Asker, reply: Reply) -> None:
        """Does what a message commands, and replies: at once, or where it takes time when it is done.

        `reply` gets one answer, in this thread or in the supervisor's; one that is too large for it is followed by one
        that says so. What goes wrong is an answer too.
        """
        asked = _Asked(request.payload, [], asker, reply)
        try:
            command, args = parse(request.payload)
            asked = _Asked(command, args, asker, reply)
            self._permissions.check(command)
            outcome = self._run(command, args)
        except Exception as error:  # noqa: BLE001  # one command's failure is its answer
            self._fail(asked, error)
            return
        if isinstance(outcome, Future):
            outcome.add_done_callback(partial(self._done, asked))
        else:
            self._succeed(asked, outcome)

    def _run(self, command: str, args: list[str]) -> Answer | Future[str]:
        served = self._served.get(command)
        if served is None:
            raise CommandError(f"there is no command {command[:80]!r}; there are {', '.join(sorted(ALL_COMMANDS))}")
        return served(args)

    def _status(self, args: list[str]) -> Answer:
        name = perhaps_a_name(args)
        return {"data": self._facts.status() if name is None else self._facts.agent_status(name)}

    def _shutdown(self, args: list[str]) -> Answer:
        no_arguments(args)
        self._deeds.shutting_down()
        return {"message": "Shutdown initiated"}

    def _done(self, asked: _Asked, done: Future[str]) -> None:
        try:
            how = done.result()
        except CancelledError:
            self._fail(asked, OrchestratorError("the orchestrator is shutting down"))
        except Exception as error:  # noqa: BLE001  # as in handle
            self._fail(asked, error)
        else:
            self._succeed(asked, {"message": _sentence(asked.args[0], how)})

    def _succeed(self, asked: _Asked, outcome: Answer) -> None:
        self._audit.record(asked.asker, asked.command, asked.args, "success")
        self._take_note(asked, None)
        self._reply(asked, {"status": "success", **outcome})

    def _fail(self, asked: _Asked, error: Exception) -> None:
        denied = isinstance(error, CommandDeniedError)
        answer = _failure(error, asked.command)
        self._audit.record(asked.asker, asked.command, asked.args, "denied" if denied else "error", answer["message"])
        if not denied:
            self._take_note(asked, answer["message"])
        self._reply(asked, answer)

    def _take_note(self, asked: _Asked, failure: str | None) -> None:
        if asked.command in CHANGES:
            self._facts.commanded(asked.asker, asked.command, asked.args[0] if asked.args else None, failure)

    def _reply(self, asked: _Asked, answer: Answer) -> None:
        try:
            try:
                asked.reply(answer)
            except MessageTooLargeError as error:
                hint = f"the answer is too large: {error.message}; ask for less with --page-size or --last"
                asked.reply(_failure(MessageTooLargeError(hint), asked.command))
        except TrunklineError as error:  # whoever asked has gone
            _log.warning("%r was not answered its %r: %s", asked.asker.sender, asked.command[:80], error)


def parse(payload: str) -> tuple[str, list[str]]:
    """The command and its arguments.

    Raises:
        CommandError: it is neither an object with a `command` nor words, or has too many or too long arguments.
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
    """An argument as text: older clients send a number as it is, and options as one object."""
    if isinstance(arg, str):
        return arg
    if isinstance(arg, dict) or (isinstance(arg, int) and not isinstance(arg, bool)):
        return json.dumps(arg)
    raise CommandError(f"an argument must be text, not {json.dumps(arg)[:80]}")


def _told(fact: Callable[[], Answer], args: list[str]) -> Answer:
    no_arguments(args)
    return {"data": fact()}


def _failure(error: Exception, command: str) -> Answer:
    """The answer that says what went wrong. What nobody expected is in the log; the answer has an id to find it by."""
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
