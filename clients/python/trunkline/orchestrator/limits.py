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
"""How long the last words of an agent that has ended are waited for, where others never stop talking; else its end is
told as soon as they were heard. A shutdown gives agents twice as much beyond their longest stop timeout."""

CALLBACK_GRACE: Final = 10.0
"""How long a shutdown waits for callbacks; what has not returned by then is left behind, and logged."""

MESSAGES_AT_A_TIME: Final = 256
"""Messages of agents that are received before commands get their turn."""

COMMANDS_AT_A_TIME: Final = 16
"""Commands that are taken before agents' messages get theirs: some take milliseconds, and events must not wait."""

STUCK_SECONDS: Final = 1.0
"""A message that takes longer to handle keeps others from being heard; meanwhile nobody counts as hung."""

KILL_GRACE: Final = 5.0
"""How long the end of a process that was killed is waited for; then it counts as one that cannot be ended."""

DEFAULT_PS_PAGE: Final = 5_000
"""Agents of one page of `ps`, where the caller asks for pages without saying how large."""

MAX_ERRORS_KEPT: Final = 20
"""Errors of one agent that `report` shows; beyond it the oldest is forgotten."""

AUDIT_FILE_BYTES: Final = 16 * 1024 * 1024
AUDIT_FILES: Final = 5
"""An audit log that is as large is put aside, and so many are kept."""

MAX_AUDITED_LENGTH: Final = 256
"""Characters of one field of an audited command; the rest is cut."""

MAX_EVENTS_SHOWN: Final = 10_000
"""Events of one `history`; more are refused."""

MAX_DETAIL_LENGTH: Final = 2_000
"""Characters of one detail of an event that `history` shows; the rest is cut, a value that is no text is told by its
length."""

MAX_ARGUMENTS: Final = 16
MAX_ARGUMENT_LENGTH: Final = 1_024
"""Arguments of one command, and characters of each; a command with more is refused."""

MAX_AGENTS_REPORTED: Final = 150
"""Agents that a report lists, those with problems first; it says how many more there are."""

MAX_ERRORS_REPORTED: Final = 3
MAX_ERROR_REPORTED: Final = 400
"""The newest errors of one agent that a report has, and characters of each; the rest is cut. So every report fits into
one line of the socket."""

MAX_RESULT_LENGTH: Final = 65_536
"""Characters of an agent's result, as JSON, that `status NAME` shows; of a larger one it says the length."""

CPU_WINDOW: Final = 0.5
"""CPU is measured over at least so long; a question that comes sooner gets the figure of the one before."""

RECORDS_AT_A_TIME: Final = 200
"""Records of one call to the state store; the others follow in the next."""

MAX_PENDING_RESULTS: Final = 10_000
"""Lives whose results wait for the state store; beyond it the oldest is dropped, counted and logged."""

MAX_LIVES_RECORDED: Final = 100
"""Ids of completed, and of failed, lives that an agent's record names; the oldest are forgotten."""

MAX_ERROR_RECORDED: Final = 512
"""Characters of an error in a record; the rest is cut."""

STATE_TIMEOUT: Final = 5.0
"""How long one call to the state store may take; then it is tried again."""

RECORD_RETRY_MIN: Final = 0.1
RECORD_RETRY_MAX: Final = 5.0
"""How long the next try to reach a state store that is away is waited for: from the first to the last."""

CLAIM_SECONDS: Final = 2.0
"""How long the start of an agent waits for a state store that is away. Then it is started without being known to be
the only one, with a warning; one that may run anywhere is not."""

RECORD_CLOSE_SECONDS: Final = 5.0
"""How long a shutdown waits for the state store to take the last states; then they are lost."""

PLACEMENT_PATIENCE: Final = 1.0
"""How long an orchestrator leaves an agent that may run anywhere to each one that is less loaded."""

MAX_CLOCK_SKEW: Final = 60.0
"""How far the clocks of two machines may differ. A heartbeat that is older than that and its timeout is not waited
for."""

FAILURE_CLOSE_SECONDS: Final = 5.0
"""How long a shutdown waits for the bus to take what agents failed of."""

COMMAND_SECONDS: Final = 30.0
"""How long a fleet waits for the answer of an orchestrator; then RequestTimeoutError."""

FORGET_SECONDS: Final = 86_400.0
"""An orchestrator that was not heard of for so long is deleted from the state store by the next one that starts."""
