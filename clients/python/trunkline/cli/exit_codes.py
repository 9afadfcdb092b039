"""How a subcommand ends: exit codes, and errors reported without a traceback."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any, Final, NoReturn, TypeVar

import click

from trunkline.cli.output import safe
from trunkline.cli.settings import Settings
from trunkline.errors import TrunklineError

FAILED: Final = 1
NOT_FOUND: Final = 3
TIMED_OUT: Final = 4
UNREACHABLE: Final = 5
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

Result = TypeVar("Result")

_EXIT_CODES: Final = {
    "NOT_FOUND": NOT_FOUND,
    "SUBSCRIPTION_NOT_FOUND": NOT_FOUND,
    "DEAD_LETTER_NOT_FOUND": NOT_FOUND,
    "TASK_NOT_FOUND": NOT_FOUND,
    "AGENT_NOT_FOUND": NOT_FOUND,
    "REQUEST_TIMEOUT": TIMED_OUT,
    "BUS_DISCONNECTED": UNREACHABLE,
    "BUS_NOT_CONNECTED": UNREACHABLE,
    "STATE_DISCONNECTED": UNREACHABLE,
    "STATE_NOT_CONNECTED": UNREACHABLE,
    "TLS": UNREACHABLE,
    "ORCHESTRATOR_UNREACHABLE": UNREACHABLE,
    "ORCHESTRATOR_NOT_FOUND": UNREACHABLE,
}


def run(main: Coroutine[Any, Any, int | None], settings: Settings, *, log_level: int = logging.WARNING) -> NoReturn:
    """Runs a subcommand's work and ends the process with its exit code; None means 0.

    Args:
        log_level: what the client logs from this level on is shown to people.
    """
    sys.exit(answer(main, settings, log_level=log_level) or 0)


def answer(main: Coroutine[Any, Any, Result], settings: Settings, *, log_level: int = logging.WARNING) -> Result:
    """Runs a part of a subcommand's work and returns its result; where it fails, that ends the process."""
    _set_up_logging(settings, log_level)
    try:
        result = asyncio.run(main)
        sys.stdout.flush()
        return result
    except TrunklineError as error:
        tell(error, settings)
        code = exit_code(error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough, as `head` does. Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    sys.exit(code)


def _set_up_logging(settings: Settings, level: int) -> None:
    """Shows what the client logs (a lost connection, say) as notes to people; scripts have exit code and error."""
    notes = logging.NullHandler() if settings.as_json else logging.StreamHandler()
    note = "-- %(message)s"
    notes.setFormatter(logging.Formatter(click.style(note, fg="yellow") if sys.stderr.isatty() else note))
    logging.basicConfig(handlers=[notes], level=level)


def exit_code(error: TrunklineError) -> int:
    """Returns the exit code of an error."""
    return _EXIT_CODES.get(error.error_code, FAILED)


def tell(error: TrunklineError, settings: Settings) -> None:
    """Reports an error on standard error."""
    if settings.as_json:
        click.echo(json.dumps(error.to_dict(), ensure_ascii=False), err=True)
    else:
        label = click.style("error:", fg="red", bold=True)
        click.echo(f"{label} {safe(error.message)} ({safe(error.error_code)})", err=True)
