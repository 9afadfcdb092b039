"""Narrator: what the demo says while it runs. On a terminal in colour; elsewhere plain lines."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console
from rich.text import Text

from trunkline.cli.output import safe

_PIPE_WIDTH: Final = 120
PLAIN_STEPS: Final = 4
"""So often a line says how far something is."""

LOG_FORMAT: Final = "! %(name)s: %(message)s"


class Narrator:
    """Writes lines for people. Safe to use from several threads.

    Args:
        as_json: scripts read standard output; what is for people goes to standard error.
    """

    def __init__(self, as_json: bool) -> None:
        file = sys.stderr if as_json else sys.stdout
        width = None if file.isatty() else _PIPE_WIDTH
        self.console = Console(file=file, highlight=False, width=width)

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal that can be drawn upon."""
        return self.console.is_terminal

    def say(self, text: str, style: str = "") -> None:
        """A line."""
        self.console.print(Text(safe(text), style), soft_wrap=True)

    def phase(self, name: str, text: str) -> None:
        """The workflow enters a phase."""
        self.console.print(Text.assemble((f"{name:<12}", "bold cyan"), safe(text)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Something went wrong, and is dealt with."""
        self.console.print(Text.assemble(("! ", "bold yellow"), (safe(text), "yellow")), soft_wrap=True)

    def fail(self, text: str) -> None:
        """It cannot go on."""
        self.console.print(
            Text.assemble(("✘ ", "bold red"), ("\n".join(map(safe, text.splitlines())), "red")), soft_wrap=True
        )
