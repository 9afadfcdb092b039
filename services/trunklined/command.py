"""The command line of the programs. Options mirror each program's settings; only the program that runs is loaded.

Exit codes: 0 after a graceful end, 1 if the program cannot start, 2 for invalid settings, also for those that only the
start could try: an error that names its setting.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, get_origin

import click

from trunkline import __version__
from trunkline.errors import TrunklineError
from trunkline.text import safe_json, safe_text
from trunkline.tls.pem import is_pem, shown

if TYPE_CHECKING:
    from pydantic import ValidationError

    from trunklined.rpc.config import ServerSettings

PROGRAMS = {
    "bus": "Carries messages between agents.",
    "state": "Keeps agent states, workflow states and task results.",
    "sidecar": "Stands beside agents and forwards them to bus and state.",
}


_INVALID: Final = "invalid setting"
_CREDENTIALS: Final = re.compile(r".*@", re.DOTALL)
"""User and password in a URL, however it is malformed: nobody shall read them in a log."""


TOOLS = {
    "backup": "Copies what bus, state and sidecar keep in files while they run, and puts it back.",
    "migrate": "Copies what bus or state keeps from a file into Redis, or back.",
    "access": "Makes tokens, and says what an access file allows.",
}
_HOMES = {
    "backup": ("trunklined.backup.command", "backup"),
    "migrate": ("trunklined.migration.command", "migrate"),
    "access": ("trunklined.access.command", "access"),
}


class _Programs(click.Group):
    """The group of the programs' commands, and of the tools; a command is made when it is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*PROGRAMS, *TOOLS]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in _HOMES:
            module, function = _HOMES[name]
            command: click.Command = getattr(importlib.import_module(module), function)
            return command
        return _command(name) if name in PROGRAMS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Programs"):
            formatter.write_dl(list(PROGRAMS.items()))
        with formatter.section("Tools"):
            formatter.write_dl(list(TOOLS.items()))


@click.group(cls=_Programs)
@click.version_option(__version__, prog_name="trunklined")
def main() -> None:
    """Runs one program of Trunkline until SIGTERM or SIGINT."""


def _command(name: str) -> click.Command:
    settings_class: type[ServerSettings] = importlib.import_module(f"trunklined.{name}.config").Settings

    def run(**options: Any) -> None:
        given = {key: value for key, value in options.items() if value is not None}
        sys.exit(_serve(name, settings_class, given))

    return click.Command(name, callback=run, params=_options(settings_class), help=PROGRAMS[name])


def _options(settings_class: type[ServerSettings]) -> list[click.Parameter]:
    prefix = _prefix(settings_class)
    options: list[click.Parameter] = []
    for field, info in settings_class.model_fields.items():
        flag = f"--{field.replace('_', '-')}"
        default = f" Default: {info.default}." if not info.is_required() and info.default != "" else ""
        help_text = f"{info.description or ''}{default} [{(prefix + field).upper()}]"
        if info.annotation is bool:
            options.append(click.Option([f"{flag}/--no-{flag[2:]}", field], default=None, help=help_text))
        elif get_origin(info.annotation) is list:  # as in the environment: JSON
            options.append(click.Option([flag, field], type=json.loads, metavar="JSON", help=help_text))
        else:
            options.append(click.Option([flag, field], metavar="VALUE", help=help_text))
    return options


def _serve(name: str, settings_class: type[ServerSettings], given: dict[str, Any]) -> int:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    for field in ("tls_key", "redis_tls_key"):
        if is_pem(str(given.get(field, ""))):
            option, variable = f"--{field.replace('_', '-')}", f"{_prefix(settings_class)}{field.upper()}"
            line = f"{option} is a key itself, which everybody sees in the list of processes"
            line = f"{line}: name a file, or set {variable}"
            _say(name, _INVALID, line, as_json=settings_class.asks_for_json(given))
            return 2
    try:
        settings = settings_class(**given)
    except ValidationError as error:
        for line in _complaints(settings_class, error, given):
            _say(name, _INVALID, line, as_json=settings_class.asks_for_json(given))
        return 2
    except SettingsError as error:
        _say(name, _INVALID, str(error), as_json=settings_class.asks_for_json(given))
        return 2

    _load_structlog_alone()
    from trunklined.rpc import logging, server

    logging.set_up(settings)
    logging.warn_of(settings_class.unknown_variables())
    try:
        program = importlib.import_module(f"trunklined.{name}.app").build(settings)
        _run_on_best_loop(lambda: server.run(program, settings))
    except TrunklineError as error:
        as_json = logging.is_json(settings, sys.stderr)
        if setting := error.details.get("setting"):
            variable = f"{_prefix(settings_class)}{setting}".upper()
            _say(name, _INVALID, f"--{setting.replace('_', '-')} ({variable}): {error.message}", as_json=as_json)
            return 2
        _say(name, "cannot start", f"{error.message}{_where_set(settings, error)}", as_json=as_json)
        return 1
    return 0


def _load_structlog_alone() -> None:
    """Loads structlog without rich, which it loads where that is installed, to draw tracebacks with; logs show them
    plain, and it would be a tenth of what a start costs."""
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that an import of it says that it is not there
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]


def _say(name: str, event: str, reason: str, *, as_json: bool) -> None:
    """Writes why a program does not start on standard error: for people, or as its logs would be."""
    if as_json:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = safe_json({"program": name, "reason": reason, "event": event, "level": "error", "time": now})
    else:
        line = safe_text(f"trunklined {name}: {'' if event == _INVALID else f'{event}: '}{reason}")
    click.echo(line, err=True)


def _prefix(settings_class: type[ServerSettings]) -> str:
    return settings_class.model_config.get("env_prefix", "")


def _where_set(settings: ServerSettings, error: TrunklineError) -> str:
    """Names the setting of a file that cannot be made or opened."""
    if not isinstance(error.__cause__, OSError):
        return ""
    for field in ("path", "store_path"):
        if value := getattr(settings, field, None):
            variable = f"{_prefix(type(settings))}{field.upper()}"
            return f" (--{field.replace('_', '-')} or {variable} says where it is: {value})"
    return ""


def _complaints(settings_class: type[ServerSettings], error: ValidationError, given: dict[str, Any]) -> list[str]:
    """Returns a line for each invalid setting: where it was set, its value, and what is wrong with it."""
    prefix = _prefix(settings_class)
    lines = []
    for fault in error.errors(include_url=False):
        field = str(fault["loc"][0]) if fault["loc"] else ""
        option, variable = f"--{field.replace('_', '-')}", (prefix + field).upper()
        wrong = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "missing":
            lines.append(f"{option} ({variable}) must be set")
        elif field:
            value = _CREDENTIALS.sub("***@", shown(str(fault["input"])))
            lines.append(f"{option if field in given else variable}={value:.200}: {wrong}")
        else:
            lines.append(wrong)
    return lines


def _run_on_best_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs on uvloop if it is installed (not on Windows): half again as fast."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
