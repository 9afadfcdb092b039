import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trunkline.v1 import durable_pb2 as _durable_pb2
from trunkline.v1 import message_pb2 as _message_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_GETS: _ClassVar[Verdict]
    VERDICT_SHARES: _ClassVar[Verdict]
    VERDICT_WAITS: _ClassVar[Verdict]
    VERDICT_OTHER_PATTERN: _ClassVar[Verdict]
    VERDICT_IF_STORED: _ClassVar[Verdict]

class TraceEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRACE_EVENT_KIND_UNSPECIFIED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_PUBLISHED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_STORED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_DELIVERED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_HANDED_OUT: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_ACKED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_NAKKED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_EXTENDED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_RELEASED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_LEASE_ENDED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_DEAD: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_REDRIVEN: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_CANCELLED: _ClassVar[TraceEventKind]
    TRACE_EVENT_KIND_ENDED: _ClassVar[TraceEventKind]
VERDICT_UNSPECIFIED: Verdict
VERDICT_GETS: Verdict
VERDICT_SHARES: Verdict
VERDICT_WAITS: Verdict
VERDICT_OTHER_PATTERN: Verdict
VERDICT_IF_STORED: Verdict
TRACE_EVENT_KIND_UNSPECIFIED: TraceEventKind
TRACE_EVENT_KIND_PUBLISHED: TraceEventKind
TRACE_EVENT_KIND_STORED: TraceEventKind
TRACE_EVENT_KIND_DELIVERED: TraceEventKind
TRACE_EVENT_KIND_HANDED_OUT: TraceEventKind
TRACE_EVENT_KIND_ACKED: TraceEventKind
TRACE_EVENT_KIND_NAKKED: TraceEventKind
TRACE_EVENT_KIND_EXTENDED: TraceEventKind
TRACE_EVENT_KIND_RELEASED: TraceEventKind
TRACE_EVENT_KIND_LEASE_ENDED: TraceEventKind
TRACE_EVENT_KIND_DEAD: TraceEventKind
TRACE_EVENT_KIND_REDRIVEN: TraceEventKind
TRACE_EVENT_KIND_CANCELLED: TraceEventKind
TRACE_EVENT_KIND_ENDED: TraceEventKind

class Subscription(_message.Message):
    __slots__ = ("subscription_id", "pattern", "group", "peer", "queued_messages", "queued_bytes", "delivered", "dropped", "started_at", "credit", "replica", "durable", "observer", "responder", "leased")
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    QUEUED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    OBSERVER_FIELD_NUMBER: _ClassVar[int]
    RESPONDER_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    subscription_id: int
    pattern: str
    group: str
    peer: str
    queued_messages: int
    queued_bytes: int
    delivered: int
    dropped: int
    started_at: _timestamp_pb2.Timestamp
    credit: int
    replica: str
    durable: str
    observer: bool
    responder: bool
    leased: int
    def __init__(self, subscription_id: _Optional[int] = ..., pattern: _Optional[str] = ..., group: _Optional[str] = ..., peer: _Optional[str] = ..., queued_messages: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., delivered: _Optional[int] = ..., dropped: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credit: _Optional[int] = ..., replica: _Optional[str] = ..., durable: _Optional[str] = ..., observer: bool = ..., responder: bool = ..., leased: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("channel", "identity", "max_others")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    MAX_OTHERS_FIELD_NUMBER: _ClassVar[int]
    channel: str
    identity: str
    max_others: int
    def __init__(self, channel: _Optional[str] = ..., identity: _Optional[str] = ..., max_others: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("recipients", "others", "keepers", "stored_by", "answered", "permissions", "unheard")
    class Recipient(_message.Message):
        __slots__ = ("subscription", "verdict", "why")
        SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
        VERDICT_FIELD_NUMBER: _ClassVar[int]
        WHY_FIELD_NUMBER: _ClassVar[int]
        subscription: Subscription
        verdict: Verdict
        why: str
        def __init__(self, subscription: _Optional[_Union[Subscription, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., why: _Optional[str] = ...) -> None: ...
    class Keeper(_message.Message):
        __slots__ = ("subscription", "verdict", "why")
        SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
        VERDICT_FIELD_NUMBER: _ClassVar[int]
        WHY_FIELD_NUMBER: _ClassVar[int]
        subscription: _durable_pb2.DurableSubscription
        verdict: Verdict
        why: str
        def __init__(self, subscription: _Optional[_Union[_durable_pb2.DurableSubscription, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., why: _Optional[str] = ...) -> None: ...
    class Permission(_message.Message):
        __slots__ = ("identity", "right", "allowed", "line")
        IDENTITY_FIELD_NUMBER: _ClassVar[int]
        RIGHT_FIELD_NUMBER: _ClassVar[int]
        ALLOWED_FIELD_NUMBER: _ClassVar[int]
        LINE_FIELD_NUMBER: _ClassVar[int]
        identity: str
        right: str
        allowed: bool
        line: int
        def __init__(self, identity: _Optional[str] = ..., right: _Optional[str] = ..., allowed: bool = ..., line: _Optional[int] = ...) -> None: ...
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    KEEPERS_FIELD_NUMBER: _ClassVar[int]
    STORED_BY_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    UNHEARD_FIELD_NUMBER: _ClassVar[int]
    recipients: _containers.RepeatedCompositeFieldContainer[ExplainResponse.Recipient]
    others: _containers.RepeatedCompositeFieldContainer[ExplainResponse.Recipient]
    keepers: _containers.RepeatedCompositeFieldContainer[ExplainResponse.Keeper]
    stored_by: str
    answered: bool
    permissions: _containers.RepeatedCompositeFieldContainer[ExplainResponse.Permission]
    unheard: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, recipients: _Optional[_Iterable[_Union[ExplainResponse.Recipient, _Mapping]]] = ..., others: _Optional[_Iterable[_Union[ExplainResponse.Recipient, _Mapping]]] = ..., keepers: _Optional[_Iterable[_Union[ExplainResponse.Keeper, _Mapping]]] = ..., stored_by: _Optional[str] = ..., answered: bool = ..., permissions: _Optional[_Iterable[_Union[ExplainResponse.Permission, _Mapping]]] = ..., unheard: _Optional[_Iterable[str]] = ...) -> None: ...

class TailRequest(_message.Message):
    __slots__ = ("pattern", "max_rate", "max_messages", "max_bytes")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    MAX_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    max_rate: int
    max_messages: int
    max_bytes: int
    def __init__(self, pattern: _Optional[str] = ..., max_rate: _Optional[int] = ..., max_messages: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class TailResponse(_message.Message):
    __slots__ = ("started", "seen", "left_out")
    class Started(_message.Message):
        __slots__ = ("subscription_id",)
        SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
        subscription_id: int
        def __init__(self, subscription_id: _Optional[int] = ...) -> None: ...
    class Seen(_message.Message):
        __slots__ = ("channel", "first_sequence", "messages")
        CHANNEL_FIELD_NUMBER: _ClassVar[int]
        FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        MESSAGES_FIELD_NUMBER: _ClassVar[int]
        channel: str
        first_sequence: int
        messages: _containers.RepeatedCompositeFieldContainer[_message_pb2.Message]
        def __init__(self, channel: _Optional[str] = ..., first_sequence: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[_message_pb2.Message, _Mapping]]] = ...) -> None: ...
    class LeftOut(_message.Message):
        __slots__ = ("messages", "total")
        MESSAGES_FIELD_NUMBER: _ClassVar[int]
        TOTAL_FIELD_NUMBER: _ClassVar[int]
        messages: int
        total: int
        def __init__(self, messages: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    started: TailResponse.Started
    seen: TailResponse.Seen
    left_out: TailResponse.LeftOut
    def __init__(self, started: _Optional[_Union[TailResponse.Started, _Mapping]] = ..., seen: _Optional[_Union[TailResponse.Seen, _Mapping]] = ..., left_out: _Optional[_Union[TailResponse.LeftOut, _Mapping]] = ...) -> None: ...

class TraceRequest(_message.Message):
    __slots__ = ("message_id", "correlation_id")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    correlation_id: str
    def __init__(self, message_id: _Optional[str] = ..., correlation_id: _Optional[str] = ...) -> None: ...

class TraceResponse(_message.Message):
    __slots__ = ("events", "states", "remembered_since", "incomplete", "unheard")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    REMEMBERED_SINCE_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_FIELD_NUMBER: _ClassVar[int]
    UNHEARD_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[TraceEvent]
    states: _containers.RepeatedCompositeFieldContainer[TraceState]
    remembered_since: _timestamp_pb2.Timestamp
    incomplete: bool
    unheard: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, events: _Optional[_Iterable[_Union[TraceEvent, _Mapping]]] = ..., states: _Optional[_Iterable[_Union[TraceState, _Mapping]]] = ..., remembered_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., incomplete: bool = ..., unheard: _Optional[_Iterable[str]] = ...) -> None: ...

class TraceEvent(_message.Message):
    __slots__ = ("time", "kind", "channel", "sequence", "message_id", "correlation_id", "by", "durable", "attempt", "error", "due_at", "replica", "subscription_id")
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    kind: TraceEventKind
    channel: str
    sequence: int
    message_id: str
    correlation_id: str
    by: str
    durable: str
    attempt: int
    error: str
    due_at: _timestamp_pb2.Timestamp
    replica: str
    subscription_id: int
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[TraceEventKind, str]] = ..., channel: _Optional[str] = ..., sequence: _Optional[int] = ..., message_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., by: _Optional[str] = ..., durable: _Optional[str] = ..., attempt: _Optional[int] = ..., error: _Optional[str] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., replica: _Optional[str] = ..., subscription_id: _Optional[int] = ...) -> None: ...

class TraceState(_message.Message):
    __slots__ = ("durable", "sequence", "message_id", "state", "holder", "attempt", "due_at", "error", "dead_letter_id", "channel", "replica")
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    durable: str
    sequence: int
    message_id: str
    state: str
    holder: str
    attempt: int
    due_at: _timestamp_pb2.Timestamp
    error: str
    dead_letter_id: int
    channel: str
    replica: str
    def __init__(self, durable: _Optional[str] = ..., sequence: _Optional[int] = ..., message_id: _Optional[str] = ..., state: _Optional[str] = ..., holder: _Optional[str] = ..., attempt: _Optional[int] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[str] = ..., dead_letter_id: _Optional[int] = ..., channel: _Optional[str] = ..., replica: _Optional[str] = ...) -> None: ...

class StuckRequest(_message.Message):
    __slots__ = ("older_than", "limit")
    OLDER_THAN_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    older_than: _duration_pb2.Duration
    limit: int
    def __init__(self, older_than: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., limit: _Optional[int] = ...) -> None: ...

class StuckResponse(_message.Message):
    __slots__ = ("durables", "in_flight", "keys", "requests", "lagging", "connections", "unheard", "sidecar")
    class StuckDurable(_message.Message):
        __slots__ = ("subscription", "oldest_at", "why")
        SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
        OLDEST_AT_FIELD_NUMBER: _ClassVar[int]
        WHY_FIELD_NUMBER: _ClassVar[int]
        subscription: _durable_pb2.DurableSubscription
        oldest_at: _timestamp_pb2.Timestamp
        why: str
        def __init__(self, subscription: _Optional[_Union[_durable_pb2.DurableSubscription, _Mapping]] = ..., oldest_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., why: _Optional[str] = ...) -> None: ...
    class InFlight(_message.Message):
        __slots__ = ("durable", "sequence", "messages", "holder", "handed_out_at", "lease_ends_at", "attempt", "last_error", "connected", "ordering_key")
        DURABLE_FIELD_NUMBER: _ClassVar[int]
        SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        MESSAGES_FIELD_NUMBER: _ClassVar[int]
        HOLDER_FIELD_NUMBER: _ClassVar[int]
        HANDED_OUT_AT_FIELD_NUMBER: _ClassVar[int]
        LEASE_ENDS_AT_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
        CONNECTED_FIELD_NUMBER: _ClassVar[int]
        ORDERING_KEY_FIELD_NUMBER: _ClassVar[int]
        durable: str
        sequence: int
        messages: int
        holder: str
        handed_out_at: _timestamp_pb2.Timestamp
        lease_ends_at: _timestamp_pb2.Timestamp
        attempt: int
        last_error: str
        connected: bool
        ordering_key: str
        def __init__(self, durable: _Optional[str] = ..., sequence: _Optional[int] = ..., messages: _Optional[int] = ..., holder: _Optional[str] = ..., handed_out_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lease_ends_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., last_error: _Optional[str] = ..., connected: bool = ..., ordering_key: _Optional[str] = ...) -> None: ...
    class BlockingKey(_message.Message):
        __slots__ = ("durable", "ordering_key", "sequence", "state", "holder", "attempt", "last_error", "due_at")
        DURABLE_FIELD_NUMBER: _ClassVar[int]
        ORDERING_KEY_FIELD_NUMBER: _ClassVar[int]
        SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        HOLDER_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
        DUE_AT_FIELD_NUMBER: _ClassVar[int]
        durable: str
        ordering_key: str
        sequence: int
        state: str
        holder: str
        attempt: int
        last_error: str
        due_at: _timestamp_pb2.Timestamp
        def __init__(self, durable: _Optional[str] = ..., ordering_key: _Optional[str] = ..., sequence: _Optional[int] = ..., state: _Optional[str] = ..., holder: _Optional[str] = ..., attempt: _Optional[int] = ..., last_error: _Optional[str] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    class PendingRequest(_message.Message):
        __slots__ = ("request_id", "channel", "asked_at", "deadline", "responders", "accepted", "replica")
        REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
        CHANNEL_FIELD_NUMBER: _ClassVar[int]
        ASKED_AT_FIELD_NUMBER: _ClassVar[int]
        DEADLINE_FIELD_NUMBER: _ClassVar[int]
        RESPONDERS_FIELD_NUMBER: _ClassVar[int]
        ACCEPTED_FIELD_NUMBER: _ClassVar[int]
        REPLICA_FIELD_NUMBER: _ClassVar[int]
        request_id: str
        channel: str
        asked_at: _timestamp_pb2.Timestamp
        deadline: _timestamp_pb2.Timestamp
        responders: _containers.RepeatedScalarFieldContainer[str]
        accepted: bool
        replica: str
        def __init__(self, request_id: _Optional[str] = ..., channel: _Optional[str] = ..., asked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., responders: _Optional[_Iterable[str]] = ..., accepted: bool = ..., replica: _Optional[str] = ...) -> None: ...
    class Connection(_message.Message):
        __slots__ = ("peer", "subscriptions", "leased", "queued_messages", "asked", "answering", "replica")
        PEER_FIELD_NUMBER: _ClassVar[int]
        SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
        LEASED_FIELD_NUMBER: _ClassVar[int]
        QUEUED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
        ASKED_FIELD_NUMBER: _ClassVar[int]
        ANSWERING_FIELD_NUMBER: _ClassVar[int]
        REPLICA_FIELD_NUMBER: _ClassVar[int]
        peer: str
        subscriptions: int
        leased: int
        queued_messages: int
        asked: int
        answering: int
        replica: str
        def __init__(self, peer: _Optional[str] = ..., subscriptions: _Optional[int] = ..., leased: _Optional[int] = ..., queued_messages: _Optional[int] = ..., asked: _Optional[int] = ..., answering: _Optional[int] = ..., replica: _Optional[str] = ...) -> None: ...
    class HeldBySidecar(_message.Message):
        __slots__ = ("bus_address", "bus_connected", "messages", "bytes", "oldest_at", "refused", "refused_bytes", "max_messages", "max_bytes", "forwarded", "possible_duplicates", "channels", "last_refused")
        BUS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
        BUS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
        MESSAGES_FIELD_NUMBER: _ClassVar[int]
        BYTES_FIELD_NUMBER: _ClassVar[int]
        OLDEST_AT_FIELD_NUMBER: _ClassVar[int]
        REFUSED_FIELD_NUMBER: _ClassVar[int]
        REFUSED_BYTES_FIELD_NUMBER: _ClassVar[int]
        MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
        MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
        FORWARDED_FIELD_NUMBER: _ClassVar[int]
        POSSIBLE_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
        CHANNELS_FIELD_NUMBER: _ClassVar[int]
        LAST_REFUSED_FIELD_NUMBER: _ClassVar[int]
        bus_address: str
        bus_connected: bool
        messages: int
        bytes: int
        oldest_at: _timestamp_pb2.Timestamp
        refused: int
        refused_bytes: int
        max_messages: int
        max_bytes: int
        forwarded: int
        possible_duplicates: int
        channels: _containers.RepeatedCompositeFieldContainer[StuckResponse.HeldChannel]
        last_refused: _containers.RepeatedCompositeFieldContainer[StuckResponse.Refusal]
        def __init__(self, bus_address: _Optional[str] = ..., bus_connected: bool = ..., messages: _Optional[int] = ..., bytes: _Optional[int] = ..., oldest_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refused: _Optional[int] = ..., refused_bytes: _Optional[int] = ..., max_messages: _Optional[int] = ..., max_bytes: _Optional[int] = ..., forwarded: _Optional[int] = ..., possible_duplicates: _Optional[int] = ..., channels: _Optional[_Iterable[_Union[StuckResponse.HeldChannel, _Mapping]]] = ..., last_refused: _Optional[_Iterable[_Union[StuckResponse.Refusal, _Mapping]]] = ...) -> None: ...
    class HeldChannel(_message.Message):
        __slots__ = ("channel", "messages", "bytes", "oldest_at")
        CHANNEL_FIELD_NUMBER: _ClassVar[int]
        MESSAGES_FIELD_NUMBER: _ClassVar[int]
        BYTES_FIELD_NUMBER: _ClassVar[int]
        OLDEST_AT_FIELD_NUMBER: _ClassVar[int]
        channel: str
        messages: int
        bytes: int
        oldest_at: _timestamp_pb2.Timestamp
        def __init__(self, channel: _Optional[str] = ..., messages: _Optional[int] = ..., bytes: _Optional[int] = ..., oldest_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    class Refusal(_message.Message):
        __slots__ = ("channel", "message_id", "refused_at", "reason", "error")
        CHANNEL_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
        REFUSED_AT_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        channel: str
        message_id: str
        refused_at: _timestamp_pb2.Timestamp
        reason: str
        error: str
        def __init__(self, channel: _Optional[str] = ..., message_id: _Optional[str] = ..., refused_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...
    DURABLES_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    LAGGING_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    UNHEARD_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_FIELD_NUMBER: _ClassVar[int]
    durables: _containers.RepeatedCompositeFieldContainer[StuckResponse.StuckDurable]
    in_flight: _containers.RepeatedCompositeFieldContainer[StuckResponse.InFlight]
    keys: _containers.RepeatedCompositeFieldContainer[StuckResponse.BlockingKey]
    requests: _containers.RepeatedCompositeFieldContainer[StuckResponse.PendingRequest]
    lagging: _containers.RepeatedCompositeFieldContainer[Subscription]
    connections: _containers.RepeatedCompositeFieldContainer[StuckResponse.Connection]
    unheard: _containers.RepeatedScalarFieldContainer[str]
    sidecar: StuckResponse.HeldBySidecar
    def __init__(self, durables: _Optional[_Iterable[_Union[StuckResponse.StuckDurable, _Mapping]]] = ..., in_flight: _Optional[_Iterable[_Union[StuckResponse.InFlight, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[StuckResponse.BlockingKey, _Mapping]]] = ..., requests: _Optional[_Iterable[_Union[StuckResponse.PendingRequest, _Mapping]]] = ..., lagging: _Optional[_Iterable[_Union[Subscription, _Mapping]]] = ..., connections: _Optional[_Iterable[_Union[StuckResponse.Connection, _Mapping]]] = ..., unheard: _Optional[_Iterable[str]] = ..., sidecar: _Optional[_Union[StuckResponse.HeldBySidecar, _Mapping]] = ...) -> None: ...
