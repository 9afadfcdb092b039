"""Permissions: which commands an orchestrator serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trunkline.orchestrator.errors import CommandDeniedError, CommandError

MONITORING: Final = frozenset({"ps", "list", "status", "stats", "history", "history-stats", "commands"})
"""How it fares."""
READ_ONLY: Final = MONITORING | {"report", "dependencies"}
"""Everything that changes nothing."""
PRODUCTION: Final = READ_ONLY
"""Agents are started and stopped by the program, not by whoever has the socket."""
CHANGES: Final = frozenset({"start", "stop", "shutdown"})
ALL_COMMANDS: Final = READ_ONLY | CHANGES

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
            if wish.lower() not in PRESETS:
                raise CommandError(f"there is no preset {wish!r}; there are {', '.join(PRESETS)}")
            return cls(PRESETS[wish.lower()])
        if not isinstance(wish, Iterable):
            raise CommandError(f"the allowed commands must be a preset's name or names of commands, not {wish!r}")
        commands = list(wish)
        unknown = [command for command in commands if not isinstance(command, str) or command not in ALL_COMMANDS]
        if unknown:
            raise CommandError(f"there is no command {unknown[0]!r}; there are {', '.join(sorted(ALL_COMMANDS))}")
        return cls(frozenset(commands))

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

    def describe(self) -> dict[str, object]:
        """What `commands` says."""
        return {
            "allowed_commands": sorted(self.allowed),
            "restricted_commands": sorted(ALL_COMMANDS - self.allowed),
            "restrictions_active": self.allowed < ALL_COMMANDS,
            "total_available_commands": sorted(ALL_COMMANDS),
        }
