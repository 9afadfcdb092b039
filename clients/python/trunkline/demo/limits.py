"""Every bound of the demo. Times are seconds."""

from __future__ import annotations

from typing import Final

MAX_FILES: Final = 400
"""Files of one run (option --max-files); the rest of a larger folder is left out, and the report says how many."""

MAX_FILE_BYTES: Final = 1024 * 1024
"""A larger file is left out."""

MAX_AGENTS: Final = 16
"""Of each kind."""

WINDOW_PER_AGENT: Final = 4
"""Tasks that are under way at once, for each coding agent (and a quarter of all at the most): enough that nobody waits,
few enough that a deadline measures work and not the queue before it."""

TASK_SECONDS: Final = 2.5
"""A task that was assigned and is not done after this is assigned anew."""

MAX_ATTEMPTS: Final = 4
"""A task that was assigned so often and failed each time is stored as failed."""

RUN_SECONDS: Final = 120.0
"""The whole job (option --timeout)."""

HEARTBEAT_SECONDS: Final = 0.5
"""How often an agent saves its state, whether it works or waits."""

REQUEST_SECONDS: Final = 2.0
"""What the external program gets for one file; less than TASK_SECONDS."""

CALL_SECONDS: Final = 2.0
"""What a call of the state service may take, a connection that is being restored included."""

START_SECONDS: Final = 15.0
"""What a program or an agent gets to be ready."""

END_SECONDS: Final = 5.0
"""What a program or an agent gets to end before it is killed."""

TICK_SECONDS: Final = 0.05
"""How often the coordinator looks at deadlines and at its agents while no message comes."""

MAX_EVENTS: Final = 10_000
"""Messages that wait for the coordinator; it never has more under way than its window."""
