"""Permissions: the commands that an orchestrator serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trunkline.orchestrator.errors import CommandDeniedError, CommandError

MONITORING: Final = frozenset({"ps", "list", "status", "stats", "history", "history-stats", "commands"})
"""Commands that show states and figures."""
READ_ONLY: Final = MONITORING | {"report", "dependencies"}
"""All commands that change nothing."""
PRODUCTION: Final = READ_ONLY
"""The program alone starts and stops agents, not the users of the socket."""
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
    """A set of allowed commands."""

    allowed: frozenset[str] = ALL_COMMANDS

    @classmethod
    def of(cls, wish: str | Iterable[str] | None) -> Permissions:
        """Returns the permissions of a preset, or of the commands themselves; None allows all.

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
        """Checks that a command is allowed. An unknown command passes: the handler refuses it with another error.

        Raises:
            CommandDeniedError: the command exists and is not allowed.
        """
        if command in ALL_COMMANDS and command not in self.allowed:
            raise CommandDeniedError(
                f"command {command!r} is not allowed; allowed are {', '.join(sorted(self.allowed)) or 'none'}",
                details={"command": command},
            )

    def describe(self) -> dict[str, object]:
        """Returns the answer of `commands`."""
        return {
            "allowed_commands": sorted(self.allowed),
            "restricted_commands": sorted(ALL_COMMANDS - self.allowed),
            "restrictions_active": self.allowed < ALL_COMMANDS,
            "total_available_commands": sorted(ALL_COMMANDS),
        }
