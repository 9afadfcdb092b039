"""Permissions: which commands an orchestrator serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trunkline.orchestrator.errors import CommandDeniedError, CommandError

MONITORING: Final = frozenset({"ps", "list", "status", "stats", "history", "commands"})
"""How it fares."""
READ_ONLY: Final = MONITORING | {"report", "dependencies"}
"""Everything that changes nothing."""
PRODUCTION: Final = READ_ONLY
"""Agents are started and stopped by the program, not by whoever has the socket."""
ALL_COMMANDS: Final = READ_ONLY | {"start", "stop", "shutdown"}

PRESETS: Final = {
    "production": PRODUCTION,
    "development": ALL_COMMANDS,
    "read_only": READ_ONLY,
    "monitoring": MONITORING,
}


@dataclass(frozen=True, slots=True)
class Permissions:
    """The allowed commands."""

    allowed: frozenset[str] = ALL_COMMANDS

    @classmethod
    def of(cls, wish: str | Iterable[str] | None) -> Permissions:
        """Of a preset's name, or of the commands themselves; None allows all.

        Raises:
            CommandError: there is no such preset or command.
        """
        if wish is None:
            return cls()
        if isinstance(wish, str):
            if wish not in PRESETS:
                raise CommandError(f"there is no preset {wish!r}; there are {', '.join(PRESETS)}")
            return cls(PRESETS[wish])
        commands = frozenset(wish)
        unknown = sorted(map(str, commands - ALL_COMMANDS))
        if unknown:
            raise CommandError(f"there is no command {unknown[0]!r}; there are {', '.join(sorted(ALL_COMMANDS))}")
        return cls(commands)

    def check(self, command: str) -> None:
        """Lets an allowed command pass. One that does not exist passes too: whoever runs it says so.

        Raises:
            CommandDeniedError: it exists and is not allowed.
        """
        if command in ALL_COMMANDS and command not in self.allowed:
            raise CommandDeniedError(
                f"command {command!r} is not allowed; allowed are {', '.join(sorted(self.allowed)) or 'none'}",
                details={"command": command},
            )
