"""A group of commands that are loaded when they are called, so that the command starts at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Home:
    """Where a command stands, and what the help says of it before it is loaded."""

    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """Takes its commands from a table of homes."""

    def __init__(self, *args: Any, homes: Mapping[str, Home], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order."""
        return list(self._homes)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Loads it."""
        home = self._homes.get(name)
        if home is None:
            return None
        command = getattr(importlib.import_module(home.module), home.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table: the help loads nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, home.summary) for name, home in self._homes.items()])
