"""Limits: every bound stands once, with its meaning."""

from __future__ import annotations

import ast
import inspect

from trunkline import limits


def test_the_promised_bounds() -> None:
    """Ports, the length of a channel and the size of a message are what callers were told."""
    assert (limits.BUS_PORT, limits.STATE_PORT) == (7431, 7432)
    assert limits.MAX_CHANNEL_LENGTH == 255
    assert limits.MAX_MESSAGE_BYTES == 4 * 1024 * 1024
    assert limits.DEFAULT_REQUEST_TIMEOUT == 30.0


def test_bounds_fit_together() -> None:
    """A message fits a frame, a queue holds a message, and waiting times grow."""
    assert limits.MAX_MESSAGE_BYTES < limits.MAX_FRAME_BYTES
    assert limits.MAX_MESSAGE_BYTES <= limits.MAX_QUEUED_BYTES
    assert 0 < limits.RECONNECT_DELAY_MIN < limits.RECONNECT_DELAY_MAX
    assert limits.DEFAULT_REQUEST_TIMEOUT <= limits.MAX_REQUEST_TIMEOUT
    assert limits.DEFAULT_PAGE_SIZE <= limits.MAX_PAGE_SIZE
    assert limits.CLIENT_WINDOW_MESSAGES <= limits.MAX_QUEUED_MESSAGES


def test_the_words_import_only_the_standard_library() -> None:
    """trunkline.limits imports nothing but typing."""
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(limits))) if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imports} == {"__future__", "typing"}
