"""Every bound of Trunkline that both sides speak of, with what happens at it.

Sizes are bytes, times are seconds. A service's settings can change those that name a setting.
"""

from __future__ import annotations

from typing import Final

MiB: Final = 1024 * 1024

BUS_PORT: Final = 7431
STATE_PORT: Final = 7432

BUS_AWAY: Final = ("trunkline-bus", "away")
"""Initial metadata of an OpenStream stream that a sidecar accepted while the bus is away."""

HOLDS_STORED: Final = ("trunkline-holds", "stored")
"""Initial metadata of an OpenStream stream to a sidecar that holds what is to be stored while the bus is away. Such a
stream is over when the bus is lost; what was on its way, and is stored again by the next one, is stored once."""

COMPRESSED: Final = ("trunkline-compression", "gzip")
"""Metadata of a call whose answers shall be compressed, as its requests are. Over a UNIX socket nothing is."""

MOVES: Final = ("trunkline-moves", "1")
"""Metadata of a stream whose client promises to move when it is asked to (see `Move` in move.proto)."""

STUCK_LIMIT: Final = 20
MAX_STUCK_LIMIT: Final = 1_000
"""How many of each kind `Stuck` tells where its caller names no number, and at most."""

MAX_CHANNEL_LENGTH: Final = 255
"""Characters of a channel, pattern or group name; beyond it INVALID_CHANNEL."""

MAX_MESSAGE_BYTES: Final = 4 * MiB
"""One encoded message or record; beyond it MESSAGE_TOO_LARGE (setting `max_message_bytes`)."""

MAX_FRAME_BYTES: Final = 64 * MiB
"""One gRPC message of many; beyond it gRPC itself refuses with RESOURCE_EXHAUSTED."""

MAX_PUBLISH_MESSAGES: Final = 10_000
"""Messages of one Publish; beyond it INVALID_MESSAGE."""

MAX_BATCH_OPERATIONS: Final = 10_000
"""Operations of one state Batch; beyond it INVALID_RECORD."""

MAX_FRAME_ITEMS: Final = 32_768
"""Items of one frame of a long stream, and entries of each list in all of them together: messages, operations,
sequences. Beyond either the stream ends with INVALID_MESSAGE (state: INVALID_RECORD) before the frame is decoded; of a
bus frame of up to FRAME_BYTES only the items are counted. (A client's own frames have at most 20,000 of the smallest
items.)"""

MAX_ANSWER_BYTES: Final = 4 * MiB
"""One answer of many records (a page, a batch's, a frame of a long stream): what gRPC's clients take by default. Pages
end before it; what a batch reads beyond it is OVERLOADED. A single record may be larger with its envelope."""

MAX_RECORD_ENTRIES: Final = 16_384
"""Agents, results, and entries of the history and of the error log, of one workflow state together; beyond it
INVALID_RECORD."""

MAX_ID_LENGTH: Final = 512
"""Characters of a record's id; beyond it INVALID_RECORD."""

MAX_CAPABILITIES: Final = 256
MAX_CAPABILITY_LENGTH: Final = 128
"""What one agent announces that it can do: names, and characters of each; beyond it INVALID_RECORD."""

MIN_TTL: Final = 0.1
MAX_LEASE_TTL: Final = 86_400.0
MAX_RECORD_TTL: Final = 365 * 86_400.0
"""Seconds of a lease and of a record's own TTL; beyond it INVALID_RECORD."""
MAX_LEASE_WAIT: Final = 86_400.0
"""Seconds that may be waited for a lease; beyond it INVALID_RECORD."""
MAX_LEASE_WAITERS: Final = 10_000
"""Callers that may wait for leases at one store; beyond it OVERLOADED."""
MAX_BOUND_RECORDS: Final = 10_000
"""Records that may be bound to one lease; beyond it OVERLOADED."""
LEASE_TTL: Final = 10.0
"""Seconds of a client's lease, where the caller does not say."""

DEFAULT_REQUEST_TIMEOUT: Final = 30.0
MAX_REQUEST_TIMEOUT: Final = 86_400.0
"""A request that wants to wait longer is refused with INVALID_MESSAGE."""

PART_CREDIT: Final = 256
MAX_PART_CREDIT: Final = 1_024
"""Parts of a request that are sent ahead of who reads them: by default, and at most; a larger credit is refused with
INVALID_MESSAGE, and what is granted beyond it does not count."""

LONG_CALL_TIMEOUT: Final = 300.0
"""Seconds that a call gets which works on many messages at once: redriving and purging dead letters."""

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1_000
"""A larger page size counts as this."""

MAX_QUEUED_MESSAGES: Final = 262_144
MAX_QUEUED_BYTES: Final = 64 * MiB
"""What waits in the service for one live subscription (or group); beyond either, the oldest are dropped and the
subscriber is told how many (settings `max_queued_messages`, `max_queued_bytes`). The bytes are those of the messages;
the queue itself takes about 50 bytes more for each, and up to 400 for one that was published alone or has a TTL. So a
queue of the smallest messages takes 100 MiB at the most, and one of messages of 300 bytes and more at most 110 MiB."""

MIN_QUEUE_MEMORY_BYTES: Final = 64 * MiB
QUEUE_MEMORY_PART: Final = 4
"""What all these queues may take together (setting `max_queue_memory_bytes`): by default the fourth part of the memory
that there is, which is the control group's limit or the machine's, but no less than 64 MiB. Beyond it the largest queue
gives way first: it drops its oldest messages, and its subscriber is told how many, as at its own bound; those that are
smaller lose nothing. Here what Python takes for each message is counted too, and what several queues hold counts once.
On top of it come what is on its way to a stream that stands still (some hundred KiB), and what is handed out ahead to
durable subscribers (4 MiB each), who lose nothing."""

MAX_SUBSCRIPTIONS: Final = 1_000_000
"""Registered subscriptions of one bus; beyond it OVERLOADED (setting `max_subscriptions`)."""

MAX_MATCH_STEPS: Final = 10_000
"""What looking one channel up among all patterns may cost, in tokens that are compared: some milliseconds, once for
each channel. A pattern beyond it is refused with OVERLOADED. Only patterns with `*` add up, where they go on
differently for the same channel: thousands of them, each unlike the others."""

MAX_RECENT_BYTES: Final = 8 * MiB
"""Memory for what happened to messages lately, which Trace is answered from; beyond it the oldest is forgotten (setting
`max_recent_bytes`)."""

MAX_PENDING_REQUESTS: Final = 100_000
"""Requests that wait for a reply; beyond it OVERLOADED (setting `max_pending_requests`)."""

DEDUP_SECONDS: Final = 120.0
DEDUP_MESSAGES: Final = 500_000
"""How long, and of how many stored messages at the most, a bus knows the message ids, so that the same one published
again on its channel is stored once (settings `dedup_seconds`, `dedup_messages`). Each takes about 260 bytes of
memory."""

MAX_ORDERING_KEY_BYTES: Final = 255
MAX_DELIVER_AHEAD: Final = 365 * 86_400.0
"""How far ahead a message can be held back; beyond either INVALID_MESSAGE."""

DEFAULT_ACK_WAIT: Final = 30.0
MIN_ACK_WAIT: Final = 0.1
MAX_ACK_WAIT: Final = 86_400.0
"""How long a message is leased to a subscriber; out of bounds INVALID_MESSAGE."""

DEFAULT_MAX_DELIVERIES: Final = 5
MAX_MAX_DELIVERIES: Final = 1_000
"""After so many attempts a message becomes a dead letter; out of bounds INVALID_MESSAGE."""

DEFAULT_BACKOFF_INITIAL: Final = 1.0
DEFAULT_BACKOFF_MULTIPLIER: Final = 2.0
DEFAULT_BACKOFF_MAXIMUM: Final = 60.0
MAX_BACKOFF_MULTIPLIER: Final = 100.0
MAX_NAK_DELAY: Final = 7 * 86_400.0
"""How long a message waits for its next attempt; out of bounds INVALID_MESSAGE."""

MIN_RATE: Final = 0.001
MAX_RATE: Final = 1_000_000.0
MAX_BURST: Final = 1_000_000
"""Messages that a durable subscription with a rate hands out a second, and at once after a rest; out of bounds
INVALID_MESSAGE."""

MAX_KEY_CONCURRENCY: Final = 1_000
"""Messages of one ordering key that are handed out at once, where the durable subscription says so; out of bounds
INVALID_MESSAGE."""

MAX_ERROR_BYTES: Final = 4_096
"""What is kept of an attempt's error; the rest is cut off."""

MAX_LEASED_MESSAGES: Final = 65_536
"""Messages of one durable subscription that are leased at once; beyond it the others wait."""

MAX_SETTLED_MESSAGES: Final = 10_000
"""Sequences that one ack, nak, terminate, extend or release names; beyond it INVALID_MESSAGE."""

UNSET_CREDIT_LEASES: Final = 1_024
"""Messages leased at once to a durable subscriber that set no credit."""

MAX_DURABLE_SUBSCRIPTIONS: Final = 10_000
"""Beyond it OVERLOADED (setting `max_durable_subscriptions`)."""

MAX_WAITING_PUBLISHES: Final = 100_000
"""Stored messages that wait for a commit; beyond it OVERLOADED (setting `max_waiting_publishes`)."""

RETENTION_SECONDS: Final = 86_400.0
RETENTION_BYTES: Final = 1024 * MiB
"""How long, and how much of, what no durable subscription needs is kept all the same, for those that start at an older
place (setting `retention`)."""

MAX_REDRIVES: Final = 3
"""A dead letter that was redriven so often stays where it is, unless it is forced."""

MAX_TASKS: Final = 100_000
"""Tasks that a bus keeps, ended ones included (setting `max_tasks`). At it, those that ended first are forgotten before
their time; where none has ended, OVERLOADED."""

MAX_TASK_EVENTS: Final = 1_000
MAX_TASK_EVENT_BYTES: Final = MiB
"""Events that are kept of one task, and their bytes; beyond either the oldest go. Its end is kept in any case."""

MAX_REPORTED_EVENTS: Final = 1_000
"""Events that one answer or one report brings; beyond it INVALID_MESSAGE."""

DEFAULT_TASK_KEEP: Final = 86_400.0
MIN_TASK_KEEP: Final = 1.0
MAX_TASK_KEEP: Final = 7 * 86_400.0
"""How long the life of a task is kept after its end; out of bounds INVALID_MESSAGE."""

MAX_TASK_WAIT: Final = 60.0
"""How long one call waits for a task's next event; out of bounds INVALID_MESSAGE."""

DEFAULT_REDRIVEN: Final = 1_000
MAX_REDRIVEN: Final = 10_000
"""Dead letters that one call redrives; out of bounds INVALID_MESSAGE."""

DEAD_LETTER_CHANNEL: Final = "conductor:dlq"
"""Where the bus announces each dead letter."""

FRAME_MESSAGES: Final = 512
FRAME_BYTES: Final = 256 * 1024
"""What one frame of a long stream gathers at the most before it is sent."""

CLIENT_WINDOW_MESSAGES: Final = 8_192
"""Messages that a client lets a live subscription send ahead of its callback; the rest waits in the service."""

CLIENT_BUFFER_BYTES: Final = 4 * MiB
"""What a client's `publish` takes before it waits for the service."""

CLIENT_DISCONNECT_SECONDS: Final = 2.0
"""What `disconnect` gives the service to take what was published; beyond it that may be lost, which is logged."""

RECONNECT_DELAY_MIN: Final = 0.05
RECONNECT_DELAY_MAX: Final = 5.0
"""A client waits a random time up to a bound that doubles from the one to the other between two attempts."""

KEEPALIVE_INTERVAL: Final = 20.0
KEEPALIVE_TIMEOUT: Final = 10.0
"""An idle connection is probed, and counts as lost when the probe is not answered in time."""

WATCH_HISTORY: Final = 100_000
WATCH_HISTORY_BYTES: Final = 1024 * MiB
"""Changes that a store keeps for watchers that resume, and the bytes of their records; older revisions answer COMPACTED
(settings `watch_history`, `watch_history_bytes`)."""

MAX_WATCH_QUEUE: Final = 16_384
MAX_WATCH_QUEUE_BYTES: Final = 64 * MiB
"""Changes that wait for one watcher, and the bytes of their records; beyond either the watch ends with OVERLOADED and
the watcher resumes (settings `max_watch_queue`, `max_watch_queue_bytes`)."""

MAX_WAITING_WRITES: Final = 100_000
MAX_WAITING_WRITES_BYTES: Final = 256 * MiB
"""State writes that wait for a commit, and the bytes of their records; beyond either OVERLOADED (settings
`max_waiting_writes`, `max_waiting_bytes`)."""

MAX_WRITE_MESSAGES: Final = 1_000
"""Messages that one save or delete publishes; beyond it INVALID_RECORD."""

MAX_OUTBOX_MESSAGES: Final = 100_000
MAX_OUTBOX_BYTES: Final = 256 * MiB
"""Messages of writes that wait for the bus or that it refused, and their bytes; beyond either a write that carries more
is OVERLOADED, and not done (settings `max_outbox_messages`, `max_outbox_bytes`)."""

DRAIN_SECONDS: Final = 5.0
"""What a service that stops gives the calls and requests that run (setting `drain_seconds`)."""

MAX_STREAM_AGE: Final = 600.0
"""Seconds after which a replica asks a stream to move, give or take a fifth (setting `max_stream_age`)."""

STREAM_GRACE_SECONDS: Final = 60.0
"""What an old stream has whose client does not move when it is asked (setting `stream_grace_seconds`)."""

UNREADY_SECONDS: Final = 0.0
"""How long a service that stops serves on while its health says NOT_SERVING (setting `unready_seconds`)."""
