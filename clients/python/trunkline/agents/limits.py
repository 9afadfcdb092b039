"""Every bound of the agents, with what happens at it."""

from __future__ import annotations

from typing import Final

MAX_ERROR_LENGTH: Final = 8_192
"""Characters of an error that an agent tells; the rest is cut."""
