"""Every bound of the demo. Times are seconds."""

from __future__ import annotations

from typing import Final

MAX_FILES: Final = 400
"""Files of one run (option --max-files); the rest of a larger folder is left out, and the report says how many."""

MAX_FILE_BYTES: Final = 1024 * 1024
"""A larger file is left out."""

MAX_AGENTS: Final = 16
"""Of each kind."""

LEASE_SECONDS: Final = 1.5
"""What an agent holds is handed to another when nothing was heard of it for so long. An agent that lives extends its
lease by itself, however long a task takes."""

MAX_DELIVERIES: Final = 4
"""A message that was handed out so often, and finished by none, is a dead letter; its file is stored as failed."""

BACKOFF_SECONDS: Final = 0.2
"""What a message that an agent gave back waits for its next delivery."""

PUBLISHES_IN_FLIGHT: Final = 32
"""Tasks that wait for their receipts at once, so that they share the bus's commits."""

MAX_ROUNDS: Final = 4
"""A file whose figures the review rejected so often is stored as failed."""

RETRIES: Final = 15
RETRY_SECONDS: Final = 0.05
MAX_RETRY_SECONDS: Final = 0.5
"""How patient an agent is with a bus that is away: about six seconds in all."""

HELD_FILES: Final = 2
"""An agent works on one task and holds the next one."""

FROZEN_FILES: Final = 4
"""So many files the others measure while the victim of the accident stands still, before it is killed: time enough to
be handed work."""

RUN_SECONDS: Final = 120.0
"""The whole job (option --timeout)."""

HEARTBEAT_SECONDS: Final = 0.5
"""How often an agent saves its state, whether it works or waits."""

HUNG_SECONDS: Final = 60.0
"""An agent that says nothing for so long is given up by the orchestrator. The victim of the accident stands still for
less."""

REQUEST_SECONDS: Final = 2.0
"""What the external program gets for one file."""

AUDIT_SECONDS: Final = 60.0
"""What the audit of all stored results may take."""

CALL_SECONDS: Final = 2.0
"""What a call of the state service may take, a connection that is being restored included."""

START_SECONDS: Final = 60.0
"""What a program or an agent gets to be ready."""

END_SECONDS: Final = 5.0
"""What a program or an agent gets to end before it is killed."""

TICK_SECONDS: Final = 0.05
"""How often the coordinator looks at its agents while no message comes."""

QUIET_TICKS: Final = 20
"""When nothing was heard for so long, the coordinator asks the bus for dead letters."""

MAX_EVENTS: Final = 10_000
"""Messages that wait for the coordinator."""
