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
    """Takes its commands from tables of homes, each with the heading that it has in the help."""

    def __init__(self, *args: Any, homes: Mapping[str, Mapping[str, Home]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = homes
        self._homes = {name: home for section in homes.values() for name, home in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the tables' order."""
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
        """From the tables: the help loads nothing."""
        for heading, homes in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, home.summary) for name, home in homes.items()])
