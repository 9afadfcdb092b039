"""Waiting for what only the system can make true."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.patience import PATIENCE


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Returns when a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
