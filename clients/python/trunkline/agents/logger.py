"""AgentLogger: the log of an agent, with the levels TRACE and SUCCESS."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

TRACE: Final = 5
SUCCESS: Final = 25
"""Between INFO and WARNING."""

_NAMES: Final = {TRACE: "TRACE", SUCCESS: "SUCCESS"}


@dataclass(frozen=True, slots=True)
class LoggerConfig:
    """The log level of an agent.

    Attributes:
        level: TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL. None: as the program's logging is set up, and
            INFO where it is not.

    Raises:
        ValueError: there is no such level.
    """

    level: str | None = None

    def __post_init__(self) -> None:
        if self.level is not None and _number(self.level) is None:
            raise ValueError(f"level is {self.level!r}, it must be one of {', '.join(_LEVELS)}")


_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class AgentLogger(_Adapter):
    """A logger of the standard library, with two more levels.

    Where the program has not set up logging, which is so in a process that was just started, lines go to standard
    error.
    """

    def __init__(self, name: str, config: LoggerConfig) -> None:
        for number, level in _NAMES.items():
            logging.addLevelName(number, level)
        logger = logging.getLogger(f"trunkline.agents.{name}")
        if config.level is not None:
            logger.setLevel(_number(config.level) or logging.NOTSET)
        elif not logger.hasHandlers():
            logger.setLevel(logging.INFO)
        if not logger.hasHandlers():
            logging.getLogger("trunkline.agents").addHandler(_LastResort())
        super().__init__(logger, {})

    def trace(self, message: object, *arguments: object, **options: Any) -> None:
        """Logs at TRACE, which is below DEBUG."""
        self.log(TRACE, message, *arguments, **options)

    def success(self, message: object, *arguments: object, **options: Any) -> None:
        """Logs at SUCCESS, which is between INFO and WARNING."""
        self.log(SUCCESS, message, *arguments, **options)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Returns both unchanged, so that the caller's own `extra` is kept."""
        return msg, kwargs


class _LastResort(logging.StreamHandler[Any]):
    """Writes to standard error, until the program sets up logging of its own."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            super().emit(record)


def _number(level: str) -> int | None:
    named = {name: number for number, name in _NAMES.items()}
    return named.get(level.upper()) or logging.getLevelNamesMapping().get(level.upper())
