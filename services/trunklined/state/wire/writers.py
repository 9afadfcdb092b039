"""Whose write something is, on the wire: the one place where it is said."""

from __future__ import annotations

from typing import Any

from trunklined.state.records import Written


def fill_written(message: Any, written: Written) -> None:
    """Says in a Record, a Left or a Lease whose write it is; nothing where that is not known."""
    by, at_ms = written
    if by:
        message.written_by = by
    if at_ms:
        at = message.written_at
        at.seconds, at.nanos = at_ms // 1000, at_ms % 1000 * 1_000_000
