"""Every bound of the failure handling, with what happens at it. Times are seconds."""

from __future__ import annotations

from typing import Final

MAX_RETRIES: Final = 1_000
MAX_RETRY_DELAY: Final = 86_400.0
"""What a policy may ask for; beyond either ValueError."""

MAX_DEAD_LETTER_ENTRIES: Final = 1_000
"""Entries that a dead-letter queue keeps, by default; beyond it the oldest go, which is counted."""

MAX_TRACEBACK_CHARACTERS: Final = 16_384
"""What an entry keeps of a traceback: its end, where the error is."""

MAX_MESSAGE_CHARACTERS: Final = 4_096
"""What an entry keeps of an error's message: its beginning."""

MAX_FACTS_CHARACTERS: Final = 65_536
"""What an entry keeps of a context, or of an error's details, as JSON; of a larger one it says the size."""
