"""Structured logs on standard error, set up once by the program: structlog's own lines and other libraries' alike."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO, cast

import structlog

from trunkline.text import safe_json, safe_text
from trunklined.rpc.config import ServerSettings


class LastingStream(io.TextIOBase):
    """A stream for logs that ignores failed writes.

    A service whose log reader is gone, or whose log's disk is full, must still answer its callers. There is no other
    place to report the failure.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes text, with what UTF-8 cannot say escaped; returns its length, also if the write fails."""
        with suppress(OSError):
            self._stream.write(safe_text(text))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, if that is possible."""
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Returns whether the stream is a terminal."""
        return self._stream.isatty()


def is_json(settings: ServerSettings, stream: TextIO) -> bool:
    """Returns whether logs on this stream are JSON."""
    return settings.log_format == "json" or (settings.log_format == "auto" and not stream.isatty())


def warn_of(lines: Iterable[str]) -> None:
    """Logs a warning for each line."""
    for line in lines:
        structlog.get_logger().warning(line)


def set_up(settings: ServerSettings, stream: TextIO | None = None) -> None:
    """Sends every log line of the process to `stream` (default: standard error), as json or for a console."""
    out = cast(TextIO, LastingStream(stream or sys.stderr))
    if stream is None:
        sys.stderr = out  # Python flushes it at the end, and exits with 120 where that fails
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    as_json = is_json(settings, out)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(safe_json, default=str)]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    foreign = logging.StreamHandler(out)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [foreign]
    root.setLevel(max(level, logging.WARNING))  # of libraries, only what needs attention


def log_by_stdlib() -> None:
    """Sends structlog's lines to the standard library's loggers, where nobody has set it up: in a user's program, which
    decides what is shown. Idempotent."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
