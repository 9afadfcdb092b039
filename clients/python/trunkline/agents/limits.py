"""Every bound of the agents, with what happens at it."""

from __future__ import annotations

from typing import Final

MAX_ERROR_LENGTH: Final = 8_192
"""Characters of an error that an agent tells; the rest is cut."""

ORPHAN_GRACE: Final = 5.0
"""Seconds that the process of an agent may take to end, after the agent has, when its owner is gone."""

REAP_SECONDS: Final = 1.0
"""How long the exit code of a process that has ended is waited for, where another thread has just asked for it."""
