"""The options of every subcommand, before or behind its name: where the services are, and how to print."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, cast

import click

from trunkline.limits import BUS_PORT, STATE_PORT

CONNECT_SECONDS: Final = 3.0
"""Seconds that a command waits for a service to answer."""

Format = Literal["table", "json"]
Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULTS = {
    "bus": f"127.0.0.1:{BUS_PORT}",
    "state": f"127.0.0.1:{STATE_PORT}",
    "format": "table",
}
VARIABLES = {
    "bus": "TRUNKLINE_BUS",
    "state": "TRUNKLINE_STATE",
    "format": "TRUNKLINE_FORMAT",
    "socket": "TRUNKLINE_SOCKET",
}


class Settings:
    """What was chosen. The nearest word counts: behind the subcommand, before it, in the environment, the default."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given

    def given(self, name: str) -> str | None:
        """Returns what was given as an option or in the environment; None where only the default is left."""
        return self._given.get(name) or os.environ.get(VARIABLES[name]) or None

    def said(self, name: str) -> str | None:
        """Returns what was given as an option; None where at most the environment gives it."""
        return self._given.get(name) or None

    def _value(self, name: str) -> str:
        return self.given(name) or DEFAULTS[name]

    @property
    def bus(self) -> str:
        """Address of the BusService."""
        return self._value("bus")

    @property
    def state(self) -> str:
        """Address of the StateService."""
        return self._value("state")

    @property
    def socket(self) -> str:
        """Path of an orchestrator's command socket."""
        from trunkline.message_channel import DEFAULT_SOCKET_PATH

        return self.given("socket") or DEFAULT_SOCKET_PATH

    @property
    def format(self) -> Format:
        """For people or for scripts."""
        value = self._value("format")
        if value not in ("table", "json"):
            raise click.UsageError(f"{VARIABLES['format']} is {value!r}, it must be table or json")
        return cast(Format, value)

    @property
    def as_json(self) -> bool:
        """Whether scripts read."""
        return self.format == "json"


def with_settings(command: Command) -> Command:
    """Adds the options --bus, --state and --format; what they say is found by `settings()`."""
    return _with_options(
        command,
        ("bus", "state", "format"),
        click.option("--bus", metavar="ADDRESS", help=f"The BusService. [{VARIABLES['bus']}; {DEFAULTS['bus']}]"),
        click.option(
            "--state", metavar="ADDRESS", help=f"The StateService. [{VARIABLES['state']}; {DEFAULTS['state']}]"
        ),
        _format,
    )


def with_orchestrator(command: Command) -> Command:
    """Adds the options of what speaks to orchestrators: --socket for one of them, or --bus and --state for a fleet."""
    return _with_options(
        command,
        ("socket", "bus", "state", "format"),
        click.option(
            "--socket",
            metavar="PATH",
            help=f"An orchestrator's command socket. [{VARIABLES['socket']}; /tmp/pyorchestrate.sock]",
        ),
        click.option("--bus", metavar="ADDRESS", help="Instead, the whole fleet of orchestrators on this bus."),
        click.option("--state", metavar="ADDRESS", help="The fleet's StateService; with --bus, or alone."),
        _format,
    )


_format = click.option(
    "--format", type=click.Choice(["table", "json"]), help=f"For people or for scripts. [{VARIABLES['format']}]"
)


def _with_options(command: Command, names: tuple[str, ...], *options: Callable[[Any], Any]) -> Command:
    """Adds options, and takes the values of these names for settings. Others of the same name are the command's own."""

    @functools.wraps(command)
    def with_options(*args: Any, **kwargs: Any) -> Any:
        given = click.get_current_context().ensure_object(dict)
        given |= {name: word for name in names if (word := kwargs.pop(name, None))}
        return command(*args, **kwargs)

    for option in reversed(options):
        with_options = option(with_options)
    return cast(Command, with_options)


def settings() -> Settings:
    """Returns the settings of the subcommand that runs."""
    return Settings(click.get_current_context().ensure_object(dict))
