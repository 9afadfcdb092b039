"""Every bound of the orchestrator, with what happens at it. Times are seconds."""

from __future__ import annotations

from typing import Final

MAX_AGENTS: Final = 100_000
"""Agents of one orchestrator; one more is refused with OVERLOADED."""

MAX_NAME_LENGTH: Final = 255
"""Characters of an agent's name; a longer one is refused."""

HISTORY_CAPACITY: Final = 1_000
"""Events that the history keeps (setting `history_capacity`); beyond it the oldest is forgotten."""

EVENT_WORKERS: Final = 10
"""Callbacks that run at a time (setting `event_workers`); the others wait."""

MAX_WAITING_EVENTS: Final = 65_536
"""Events that wait for one callback; beyond it the newest is dropped for that callback, counted and logged."""

CLOSE_GRACE: Final = 1.0
"""Wait for the last messages of an agent that has ended, where other agents send without a pause; else its end is
reported as soon as these messages were handled. A shutdown gives agents twice as much beyond their longest stop
timeout."""

CALLBACK_GRACE: Final = 10.0
"""Wait of a shutdown for callbacks; those that have not returned by then are left behind, and logged."""

MESSAGES_AT_A_TIME: Final = 256
"""Messages of agents that are handled in a row, before commands."""

COMMANDS_AT_A_TIME: Final = 16
"""Commands that are handled in a row, before messages of agents: some take milliseconds, and events must not wait."""

STUCK_SECONDS: Final = 1.0
"""A message that takes longer to handle delays the others; meanwhile no agent counts as hung."""

KILL_GRACE: Final = 5.0
"""Wait for the end of a killed process; then it counts as one that cannot be ended."""

DEFAULT_PS_PAGE: Final = 5_000
"""Agents of one page of `ps`, where the caller gives no size."""

MAX_ERRORS_KEPT: Final = 20
"""Errors of one agent that `report` shows; beyond it the oldest is forgotten."""

AUDIT_FILE_BYTES: Final = 16 * 1024 * 1024
AUDIT_FILES: Final = 5
"""Size at which an audit log is renamed, and number of files that are kept; beyond it the oldest is deleted."""

MAX_AUDITED_LENGTH: Final = 256
"""Characters of one field of an audited command; the rest is cut."""

MAX_EVENTS_SHOWN: Final = 10_000
"""Events of one `history`; more are refused."""

MAX_DETAIL_LENGTH: Final = 2_000
"""Characters of one detail of an event that `history` shows; a longer text is cut, another value replaced by its
length."""

MAX_ARGUMENTS: Final = 16
MAX_ARGUMENT_LENGTH: Final = 1_024
"""Arguments of one command, and characters of each; a command with more is refused."""

MAX_AGENTS_REPORTED: Final = 150
"""Agents that a report lists, those with problems first; the others are counted."""

MAX_ERRORS_REPORTED: Final = 3
MAX_ERROR_REPORTED: Final = 400
"""The newest errors of one agent that a report has, and characters of each; the rest is cut. So every report fits into
one line of the socket."""

MAX_RESULT_LENGTH: Final = 65_536
"""Characters of an agent's result, as JSON, that `status NAME` shows; a longer one is replaced by its length."""

CPU_WINDOW: Final = 0.5
"""Shortest time over which CPU is measured; an earlier call gets the previous figure."""

RECORDS_AT_A_TIME: Final = 200
"""Records of one call to the state store; the others follow in the next."""

MAX_PENDING_RESULTS: Final = 10_000
"""Results of lives that wait for the state store; beyond it the oldest is dropped, counted and logged."""

MAX_LIVES_RECORDED: Final = 100
"""Ids of completed, and of failed, lives that an agent's record names; the oldest are forgotten."""

MAX_ERROR_RECORDED: Final = 512
"""Characters of an error in a record; the rest is cut."""

STATE_TIMEOUT: Final = 5.0
"""Bound of one call to the state store; then it is tried again."""

RECORD_RETRY_MIN: Final = 0.1
RECORD_RETRY_MAX: Final = 5.0
"""First and longest delay between tries to reach a state store that is away."""

CLAIM_SECONDS: Final = 2.0
"""Wait of an agent's start for a state store that is away. Then the agent is started with a warning, though another
orchestrator may run it; a spread agent is not started."""

RECORD_CLOSE_SECONDS: Final = 5.0
"""Wait of a shutdown for the state store to take the last states; then they are lost."""

PLACEMENT_PATIENCE: Final = 1.0
"""Time for which an orchestrator leaves a spread agent to each less loaded one."""

FAILURE_CLOSE_SECONDS: Final = 5.0
"""Wait of a shutdown for the bus to take the failures of agents."""

COMMAND_SECONDS: Final = 30.0
"""Wait of a fleet for the answer of an orchestrator; then RequestTimeoutError."""
