import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trunkline.v1 import dead_letter_pb2 as _dead_letter_pb2
from trunkline.v1 import durable_pb2 as _durable_pb2
from trunkline.v1 import error_pb2 as _error_pb2
from trunkline.v1 import inspection_pb2 as _inspection_pb2
from trunkline.v1 import life_pb2 as _life_pb2
from trunkline.v1 import message_pb2 as _message_pb2
from trunkline.v1 import move_pb2 as _move_pb2
from trunkline.v1 import task_pb2 as _task_pb2
from trunkline.v1 import waiting_pb2 as _waiting_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_MEMORY: _ClassVar[Durability]
    DURABILITY_STORED: _ClassVar[Durability]
    DURABILITY_REPLICATED: _ClassVar[Durability]
DURABILITY_UNSPECIFIED: Durability
DURABILITY_MEMORY: Durability
DURABILITY_STORED: Durability
DURABILITY_REPLICATED: Durability

class Receipt(_message.Message):
    __slots__ = ("sequence", "time", "durability", "duplicate", "held_by_sidecar", "matched")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_SIDECAR_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    durability: Durability
    duplicate: bool
    held_by_sidecar: bool
    matched: int
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., durability: _Optional[_Union[Durability, str]] = ..., duplicate: bool = ..., held_by_sidecar: bool = ..., matched: _Optional[int] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("channel", "messages", "durability")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    channel: str
    messages: _containers.RepeatedCompositeFieldContainer[_message_pb2.Message]
    durability: Durability
    def __init__(self, channel: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_message_pb2.Message, _Mapping]]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("receipts",)
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    def __init__(self, receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ...) -> None: ...

class PublishStreamRequest(_message.Message):
    __slots__ = ("publish",)
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    publish: PublishRequest
    def __init__(self, publish: _Optional[_Union[PublishRequest, _Mapping]] = ...) -> None: ...

class PublishStreamResponse(_message.Message):
    __slots__ = ("published", "error", "move")
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    published: PublishResponse
    error: _error_pb2.Error
    move: _move_pb2.Move
    def __init__(self, published: _Optional[_Union[PublishResponse, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., move: _Optional[_Union[_move_pb2.Move, _Mapping]] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("start", "credit", "ack", "nak", "terminate", "extend", "release", "respond", "report")
    class Start(_message.Message):
        __slots__ = ("pattern", "group", "credit", "observer", "durable", "position", "settings", "responder")
        PATTERN_FIELD_NUMBER: _ClassVar[int]
        GROUP_FIELD_NUMBER: _ClassVar[int]
        CREDIT_FIELD_NUMBER: _ClassVar[int]
        OBSERVER_FIELD_NUMBER: _ClassVar[int]
        DURABLE_FIELD_NUMBER: _ClassVar[int]
        POSITION_FIELD_NUMBER: _ClassVar[int]
        SETTINGS_FIELD_NUMBER: _ClassVar[int]
        RESPONDER_FIELD_NUMBER: _ClassVar[int]
        pattern: str
        group: str
        credit: int
        observer: bool
        durable: str
        position: _durable_pb2.Position
        settings: _durable_pb2.DurableSettings
        responder: bool
        def __init__(self, pattern: _Optional[str] = ..., group: _Optional[str] = ..., credit: _Optional[int] = ..., observer: bool = ..., durable: _Optional[str] = ..., position: _Optional[_Union[_durable_pb2.Position, _Mapping]] = ..., settings: _Optional[_Union[_durable_pb2.DurableSettings, _Mapping]] = ..., responder: bool = ...) -> None: ...
    class Credit(_message.Message):
        __slots__ = ("messages",)
        MESSAGES_FIELD_NUMBER: _ClassVar[int]
        messages: int
        def __init__(self, messages: _Optional[int] = ...) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NAK_FIELD_NUMBER: _ClassVar[int]
    TERMINATE_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    RESPOND_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    start: SubscribeRequest.Start
    credit: SubscribeRequest.Credit
    ack: _durable_pb2.Ack
    nak: _durable_pb2.Nak
    terminate: _durable_pb2.Terminate
    extend: _durable_pb2.Extend
    release: _durable_pb2.Release
    respond: RespondRequest
    report: _task_pb2.Report
    def __init__(self, start: _Optional[_Union[SubscribeRequest.Start, _Mapping]] = ..., credit: _Optional[_Union[SubscribeRequest.Credit, _Mapping]] = ..., ack: _Optional[_Union[_durable_pb2.Ack, _Mapping]] = ..., nak: _Optional[_Union[_durable_pb2.Nak, _Mapping]] = ..., terminate: _Optional[_Union[_durable_pb2.Terminate, _Mapping]] = ..., extend: _Optional[_Union[_durable_pb2.Extend, _Mapping]] = ..., release: _Optional[_Union[_durable_pb2.Release, _Mapping]] = ..., respond: _Optional[_Union[RespondRequest, _Mapping]] = ..., report: _Optional[_Union[_task_pb2.Report, _Mapping]] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("started", "deliveries", "lagged", "refused", "called_off", "refused_response", "part_credit", "changed", "task_cancelled", "move")
    class Started(_message.Message):
        __slots__ = ("subscription_id", "ack_wait", "paused", "lost_commits")
        SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
        ACK_WAIT_FIELD_NUMBER: _ClassVar[int]
        PAUSED_FIELD_NUMBER: _ClassVar[int]
        LOST_COMMITS_FIELD_NUMBER: _ClassVar[int]
        subscription_id: int
        ack_wait: _duration_pb2.Duration
        paused: bool
        lost_commits: int
        def __init__(self, subscription_id: _Optional[int] = ..., ack_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., paused: bool = ..., lost_commits: _Optional[int] = ...) -> None: ...
    class Deliveries(_message.Message):
        __slots__ = ("channel", "first_sequence", "priority", "messages", "attempt", "requests")
        CHANNEL_FIELD_NUMBER: _ClassVar[int]
        FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        PRIORITY_FIELD_NUMBER: _ClassVar[int]
        MESSAGES_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        REQUESTS_FIELD_NUMBER: _ClassVar[int]
        channel: str
        first_sequence: int
        priority: _message_pb2.Priority
        messages: _containers.RepeatedCompositeFieldContainer[_message_pb2.Message]
        attempt: int
        requests: _containers.RepeatedCompositeFieldContainer[SubscribeResponse.Requested]
        def __init__(self, channel: _Optional[str] = ..., first_sequence: _Optional[int] = ..., priority: _Optional[_Union[_message_pb2.Priority, str]] = ..., messages: _Optional[_Iterable[_Union[_message_pb2.Message, _Mapping]]] = ..., attempt: _Optional[int] = ..., requests: _Optional[_Iterable[_Union[SubscribeResponse.Requested, _Mapping]]] = ...) -> None: ...
    class Requested(_message.Message):
        __slots__ = ("index", "credit", "timeout", "idle_timeout", "traceback", "attempt")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        CREDIT_FIELD_NUMBER: _ClassVar[int]
        TIMEOUT_FIELD_NUMBER: _ClassVar[int]
        IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
        TRACEBACK_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        index: int
        credit: int
        timeout: _duration_pb2.Duration
        idle_timeout: _duration_pb2.Duration
        traceback: bool
        attempt: int
        def __init__(self, index: _Optional[int] = ..., credit: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., traceback: bool = ..., attempt: _Optional[int] = ...) -> None: ...
    class CalledOff(_message.Message):
        __slots__ = ("request_id", "by", "reason")
        REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
        BY_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        request_id: str
        by: str
        reason: str
        def __init__(self, request_id: _Optional[str] = ..., by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
    class RefusedResponse(_message.Message):
        __slots__ = ("request_id", "error")
        REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        request_id: str
        error: _error_pb2.Error
        def __init__(self, request_id: _Optional[str] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...
    class TaskCancelled(_message.Message):
        __slots__ = ("sequence", "attempt", "by", "reason")
        SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        BY_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        sequence: int
        attempt: int
        by: str
        reason: str
        def __init__(self, sequence: _Optional[int] = ..., attempt: _Optional[int] = ..., by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
    class PartCredit(_message.Message):
        __slots__ = ("request_id", "parts")
        REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
        PARTS_FIELD_NUMBER: _ClassVar[int]
        request_id: str
        parts: int
        def __init__(self, request_id: _Optional[str] = ..., parts: _Optional[int] = ...) -> None: ...
    class Lagged(_message.Message):
        __slots__ = ("dropped",)
        DROPPED_FIELD_NUMBER: _ClassVar[int]
        dropped: int
        def __init__(self, dropped: _Optional[int] = ...) -> None: ...
    class Refused(_message.Message):
        __slots__ = ("sequences", "attempt", "error")
        SEQUENCES_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        sequences: _containers.RepeatedScalarFieldContainer[int]
        attempt: int
        error: _error_pb2.Error
        def __init__(self, sequences: _Optional[_Iterable[int]] = ..., attempt: _Optional[int] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...
    class Changed(_message.Message):
        __slots__ = ("paused", "ack_wait", "lost_commits")
        PAUSED_FIELD_NUMBER: _ClassVar[int]
        ACK_WAIT_FIELD_NUMBER: _ClassVar[int]
        LOST_COMMITS_FIELD_NUMBER: _ClassVar[int]
        paused: bool
        ack_wait: _duration_pb2.Duration
        lost_commits: int
        def __init__(self, paused: bool = ..., ack_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lost_commits: _Optional[int] = ...) -> None: ...
    STARTED_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    LAGGED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CALLED_OFF_FIELD_NUMBER: _ClassVar[int]
    REFUSED_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    PART_CREDIT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    TASK_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    started: SubscribeResponse.Started
    deliveries: SubscribeResponse.Deliveries
    lagged: SubscribeResponse.Lagged
    refused: SubscribeResponse.Refused
    called_off: SubscribeResponse.CalledOff
    refused_response: SubscribeResponse.RefusedResponse
    part_credit: SubscribeResponse.PartCredit
    changed: SubscribeResponse.Changed
    task_cancelled: SubscribeResponse.TaskCancelled
    move: _move_pb2.Move
    def __init__(self, started: _Optional[_Union[SubscribeResponse.Started, _Mapping]] = ..., deliveries: _Optional[_Union[SubscribeResponse.Deliveries, _Mapping]] = ..., lagged: _Optional[_Union[SubscribeResponse.Lagged, _Mapping]] = ..., refused: _Optional[_Union[SubscribeResponse.Refused, _Mapping]] = ..., called_off: _Optional[_Union[SubscribeResponse.CalledOff, _Mapping]] = ..., refused_response: _Optional[_Union[SubscribeResponse.RefusedResponse, _Mapping]] = ..., part_credit: _Optional[_Union[SubscribeResponse.PartCredit, _Mapping]] = ..., changed: _Optional[_Union[SubscribeResponse.Changed, _Mapping]] = ..., task_cancelled: _Optional[_Union[SubscribeResponse.TaskCancelled, _Mapping]] = ..., move: _Optional[_Union[_move_pb2.Move, _Mapping]] = ...) -> None: ...

class RequestRequest(_message.Message):
    __slots__ = ("channel", "message", "timeout", "idle_timeout", "wait_for_responder", "repeatable", "outlives_asker", "traceback")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_RESPONDER_FIELD_NUMBER: _ClassVar[int]
    REPEATABLE_FIELD_NUMBER: _ClassVar[int]
    OUTLIVES_ASKER_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    channel: str
    message: _message_pb2.Message
    timeout: _duration_pb2.Duration
    idle_timeout: _duration_pb2.Duration
    wait_for_responder: bool
    repeatable: bool
    outlives_asker: bool
    traceback: bool
    def __init__(self, channel: _Optional[str] = ..., message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait_for_responder: bool = ..., repeatable: bool = ..., outlives_asker: bool = ..., traceback: bool = ...) -> None: ...

class RequestStreamRequest(_message.Message):
    __slots__ = ("request", "credit")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    request: RequestRequest
    credit: int
    def __init__(self, request: _Optional[_Union[RequestRequest, _Mapping]] = ..., credit: _Optional[int] = ...) -> None: ...

class RequestStreamResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_life_pb2.LifeEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[_life_pb2.LifeEvent, _Mapping]]] = ...) -> None: ...

class RespondRequest(_message.Message):
    __slots__ = ("request_id", "events", "subscription_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    events: _containers.RepeatedCompositeFieldContainer[_life_pb2.LifeEvent]
    subscription_id: int
    def __init__(self, request_id: _Optional[str] = ..., events: _Optional[_Iterable[_Union[_life_pb2.LifeEvent, _Mapping]]] = ..., subscription_id: _Optional[int] = ...) -> None: ...

class RespondResponse(_message.Message):
    __slots__ = ("credit",)
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    credit: int
    def __init__(self, credit: _Optional[int] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("request_id", "by", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    by: str
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RequestResponse(_message.Message):
    __slots__ = ("message", "channel")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    message: _message_pb2.Message
    channel: str
    def __init__(self, message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., channel: _Optional[str] = ...) -> None: ...

class OpenStreamRequest(_message.Message):
    __slots__ = ("items",)
    class ClientItem(_message.Message):
        __slots__ = ("id", "publish", "request", "subscribe", "cancel", "ping", "request_stream", "request_credit")
        ID_FIELD_NUMBER: _ClassVar[int]
        PUBLISH_FIELD_NUMBER: _ClassVar[int]
        REQUEST_FIELD_NUMBER: _ClassVar[int]
        SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
        CANCEL_FIELD_NUMBER: _ClassVar[int]
        PING_FIELD_NUMBER: _ClassVar[int]
        REQUEST_STREAM_FIELD_NUMBER: _ClassVar[int]
        REQUEST_CREDIT_FIELD_NUMBER: _ClassVar[int]
        id: int
        publish: PublishRequest
        request: RequestRequest
        subscribe: SubscribeRequest
        cancel: OpenStreamRequest.Cancel
        ping: OpenStreamRequest.Ping
        request_stream: RequestStreamRequest
        request_credit: OpenStreamRequest.RequestCredit
        def __init__(self, id: _Optional[int] = ..., publish: _Optional[_Union[PublishRequest, _Mapping]] = ..., request: _Optional[_Union[RequestRequest, _Mapping]] = ..., subscribe: _Optional[_Union[SubscribeRequest, _Mapping]] = ..., cancel: _Optional[_Union[OpenStreamRequest.Cancel, _Mapping]] = ..., ping: _Optional[_Union[OpenStreamRequest.Ping, _Mapping]] = ..., request_stream: _Optional[_Union[RequestStreamRequest, _Mapping]] = ..., request_credit: _Optional[_Union[OpenStreamRequest.RequestCredit, _Mapping]] = ...) -> None: ...
    class Cancel(_message.Message):
        __slots__ = ("nothing_begun", "finish")
        NOTHING_BEGUN_FIELD_NUMBER: _ClassVar[int]
        FINISH_FIELD_NUMBER: _ClassVar[int]
        nothing_begun: bool
        finish: bool
        def __init__(self, nothing_begun: bool = ..., finish: bool = ...) -> None: ...
    class Ping(_message.Message):
        __slots__ = ("sent",)
        SENT_FIELD_NUMBER: _ClassVar[int]
        sent: bool
        def __init__(self, sent: bool = ...) -> None: ...
    class RequestCredit(_message.Message):
        __slots__ = ("parts",)
        PARTS_FIELD_NUMBER: _ClassVar[int]
        parts: int
        def __init__(self, parts: _Optional[int] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[OpenStreamRequest.ClientItem]
    def __init__(self, items: _Optional[_Iterable[_Union[OpenStreamRequest.ClientItem, _Mapping]]] = ...) -> None: ...

class OpenStreamResponse(_message.Message):
    __slots__ = ("items",)
    class ServerItem(_message.Message):
        __slots__ = ("id", "published", "reply", "subscription", "cancelled", "pong", "error", "bus_connected", "request_events", "request_end", "move")
        ID_FIELD_NUMBER: _ClassVar[int]
        PUBLISHED_FIELD_NUMBER: _ClassVar[int]
        REPLY_FIELD_NUMBER: _ClassVar[int]
        SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
        CANCELLED_FIELD_NUMBER: _ClassVar[int]
        PONG_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        BUS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
        REQUEST_EVENTS_FIELD_NUMBER: _ClassVar[int]
        REQUEST_END_FIELD_NUMBER: _ClassVar[int]
        MOVE_FIELD_NUMBER: _ClassVar[int]
        id: int
        published: PublishResponse
        reply: RequestResponse
        subscription: SubscribeResponse
        cancelled: OpenStreamResponse.Cancelled
        pong: OpenStreamResponse.Pong
        error: _error_pb2.Error
        bus_connected: OpenStreamResponse.BusConnected
        request_events: RequestStreamResponse
        request_end: RequestStreamResponse
        move: _move_pb2.Move
        def __init__(self, id: _Optional[int] = ..., published: _Optional[_Union[PublishResponse, _Mapping]] = ..., reply: _Optional[_Union[RequestResponse, _Mapping]] = ..., subscription: _Optional[_Union[SubscribeResponse, _Mapping]] = ..., cancelled: _Optional[_Union[OpenStreamResponse.Cancelled, _Mapping]] = ..., pong: _Optional[_Union[OpenStreamResponse.Pong, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., bus_connected: _Optional[_Union[OpenStreamResponse.BusConnected, _Mapping]] = ..., request_events: _Optional[_Union[RequestStreamResponse, _Mapping]] = ..., request_end: _Optional[_Union[RequestStreamResponse, _Mapping]] = ..., move: _Optional[_Union[_move_pb2.Move, _Mapping]] = ...) -> None: ...
    class BusConnected(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Cancelled(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Pong(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[OpenStreamResponse.ServerItem]
    def __init__(self, items: _Optional[_Iterable[_Union[OpenStreamResponse.ServerItem, _Mapping]]] = ...) -> None: ...

class ListSubscriptionsRequest(_message.Message):
    __slots__ = ("pattern", "page_size", "page_token", "channel")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    page_size: int
    page_token: str
    channel: str
    def __init__(self, pattern: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., channel: _Optional[str] = ...) -> None: ...

class ListSubscriptionsResponse(_message.Message):
    __slots__ = ("subscriptions", "next_page_token")
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    subscriptions: _containers.RepeatedCompositeFieldContainer[_inspection_pb2.Subscription]
    next_page_token: str
    def __init__(self, subscriptions: _Optional[_Iterable[_Union[_inspection_pb2.Subscription, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("started_at", "published", "delivered", "dropped", "requests", "request_timeouts", "no_responders", "pending_requests", "subscriptions", "connections", "queued_messages", "queued_bytes", "engine", "version", "stored", "duplicates", "acked", "redelivered", "dead_lettered", "lost_to_limits", "durable_subscriptions", "dead_letters", "journal_messages", "journal_bytes", "journal_file_bytes", "held_back", "queue_memory_bytes", "max_queue_memory_bytes", "tasks", "journal_owner", "journal_takeovers", "replica", "other_replicas", "address", "others")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    NO_RESPONDERS_FIELD_NUMBER: _ClassVar[int]
    PENDING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    REDELIVERED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERED_FIELD_NUMBER: _ClassVar[int]
    LOST_TO_LIMITS_FIELD_NUMBER: _ClassVar[int]
    DURABLE_SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_OWNER_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_TAKEOVERS_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    OTHER_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    started_at: _timestamp_pb2.Timestamp
    published: int
    delivered: int
    dropped: _containers.ScalarMap[str, int]
    requests: int
    request_timeouts: int
    no_responders: int
    pending_requests: int
    subscriptions: int
    connections: int
    queued_messages: int
    queued_bytes: int
    engine: str
    version: str
    stored: int
    duplicates: int
    acked: int
    redelivered: int
    dead_lettered: int
    lost_to_limits: int
    durable_subscriptions: int
    dead_letters: int
    journal_messages: int
    journal_bytes: int
    journal_file_bytes: int
    held_back: int
    queue_memory_bytes: int
    max_queue_memory_bytes: int
    tasks: int
    journal_owner: str
    journal_takeovers: int
    replica: str
    other_replicas: _containers.RepeatedScalarFieldContainer[str]
    address: str
    others: _containers.RepeatedCompositeFieldContainer[GetStatsResponse]
    def __init__(self, started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., published: _Optional[int] = ..., delivered: _Optional[int] = ..., dropped: _Optional[_Mapping[str, int]] = ..., requests: _Optional[int] = ..., request_timeouts: _Optional[int] = ..., no_responders: _Optional[int] = ..., pending_requests: _Optional[int] = ..., subscriptions: _Optional[int] = ..., connections: _Optional[int] = ..., queued_messages: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., engine: _Optional[str] = ..., version: _Optional[str] = ..., stored: _Optional[int] = ..., duplicates: _Optional[int] = ..., acked: _Optional[int] = ..., redelivered: _Optional[int] = ..., dead_lettered: _Optional[int] = ..., lost_to_limits: _Optional[int] = ..., durable_subscriptions: _Optional[int] = ..., dead_letters: _Optional[int] = ..., journal_messages: _Optional[int] = ..., journal_bytes: _Optional[int] = ..., journal_file_bytes: _Optional[int] = ..., held_back: _Optional[int] = ..., queue_memory_bytes: _Optional[int] = ..., max_queue_memory_bytes: _Optional[int] = ..., tasks: _Optional[int] = ..., journal_owner: _Optional[str] = ..., journal_takeovers: _Optional[int] = ..., replica: _Optional[str] = ..., other_replicas: _Optional[_Iterable[str]] = ..., address: _Optional[str] = ..., others: _Optional[_Iterable[_Union[GetStatsResponse, _Mapping]]] = ...) -> None: ...
