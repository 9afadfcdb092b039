"""Every bound of the agents, with what happens at it. Times are seconds."""

from __future__ import annotations

from typing import Final

MAX_ERROR_LENGTH: Final = 8_192
"""Characters of an error that an agent reports; the rest is cut."""

ORPHAN_GRACE: Final = 5.0
"""Time that an agent's process may take to end, after the agent has, when its owner is gone; then it exits."""

REAP_SECONDS: Final = 1.0
"""Wait for the exit code of a process that has ended, where another thread is collecting it; then it is None."""
