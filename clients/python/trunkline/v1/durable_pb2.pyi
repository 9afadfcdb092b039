import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trunkline.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Position(_message.Message):
    __slots__ = ("new", "all", "sequence", "time")
    NEW_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    new: bool
    all: bool
    sequence: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, new: bool = ..., all: bool = ..., sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DurableSettings(_message.Message):
    __slots__ = ("ack_wait", "max_deliveries", "backoff", "max_leased", "rate", "burst", "key_concurrency")
    ACK_WAIT_FIELD_NUMBER: _ClassVar[int]
    MAX_DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MAX_LEASED_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    KEY_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    ack_wait: _duration_pb2.Duration
    max_deliveries: int
    backoff: Backoff
    max_leased: int
    rate: float
    burst: int
    key_concurrency: int
    def __init__(self, ack_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_deliveries: _Optional[int] = ..., backoff: _Optional[_Union[Backoff, _Mapping]] = ..., max_leased: _Optional[int] = ..., rate: _Optional[float] = ..., burst: _Optional[int] = ..., key_concurrency: _Optional[int] = ...) -> None: ...

class Backoff(_message.Message):
    __slots__ = ("initial", "multiplier", "maximum")
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    initial: _duration_pb2.Duration
    multiplier: float
    maximum: _duration_pb2.Duration
    def __init__(self, initial: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., multiplier: _Optional[float] = ..., maximum: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DurableSubscription(_message.Message):
    __slots__ = ("name", "pattern", "settings", "created_at", "waiting", "leased", "retrying", "subscribers", "acked", "redelivered", "dead_lettered", "next_sequence", "paused", "replica")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    RETRYING_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    REDELIVERED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERED_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    name: str
    pattern: str
    settings: DurableSettings
    created_at: _timestamp_pb2.Timestamp
    waiting: int
    leased: int
    retrying: int
    subscribers: int
    acked: int
    redelivered: int
    dead_lettered: int
    next_sequence: int
    paused: bool
    replica: str
    def __init__(self, name: _Optional[str] = ..., pattern: _Optional[str] = ..., settings: _Optional[_Union[DurableSettings, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., waiting: _Optional[int] = ..., leased: _Optional[int] = ..., retrying: _Optional[int] = ..., subscribers: _Optional[int] = ..., acked: _Optional[int] = ..., redelivered: _Optional[int] = ..., dead_lettered: _Optional[int] = ..., next_sequence: _Optional[int] = ..., paused: bool = ..., replica: _Optional[str] = ...) -> None: ...

class CreateDurableSubscriptionRequest(_message.Message):
    __slots__ = ("name", "pattern", "position", "settings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    pattern: str
    position: Position
    settings: DurableSettings
    def __init__(self, name: _Optional[str] = ..., pattern: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ..., settings: _Optional[_Union[DurableSettings, _Mapping]] = ...) -> None: ...

class CreateDurableSubscriptionResponse(_message.Message):
    __slots__ = ("subscription", "created")
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    subscription: DurableSubscription
    created: bool
    def __init__(self, subscription: _Optional[_Union[DurableSubscription, _Mapping]] = ..., created: bool = ...) -> None: ...

class GetDurableSubscriptionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetDurableSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: DurableSubscription
    def __init__(self, subscription: _Optional[_Union[DurableSubscription, _Mapping]] = ...) -> None: ...

class ListDurableSubscriptionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDurableSubscriptionsResponse(_message.Message):
    __slots__ = ("subscriptions", "next_page_token")
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    subscriptions: _containers.RepeatedCompositeFieldContainer[DurableSubscription]
    next_page_token: str
    def __init__(self, subscriptions: _Optional[_Iterable[_Union[DurableSubscription, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteDurableSubscriptionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteDurableSubscriptionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SeekDurableSubscriptionRequest(_message.Message):
    __slots__ = ("name", "position")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    name: str
    position: Position
    def __init__(self, name: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class SeekDurableSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: DurableSubscription
    def __init__(self, subscription: _Optional[_Union[DurableSubscription, _Mapping]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequences", "attempt")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    attempt: int
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., attempt: _Optional[int] = ...) -> None: ...

class Nak(_message.Message):
    __slots__ = ("sequences", "attempt", "delay", "error")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    attempt: int
    delay: _duration_pb2.Duration
    error: str
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., attempt: _Optional[int] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., error: _Optional[str] = ...) -> None: ...

class Terminate(_message.Message):
    __slots__ = ("sequences", "attempt", "reason")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    attempt: int
    reason: str
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., attempt: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Extend(_message.Message):
    __slots__ = ("sequences", "attempt", "lease")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    attempt: int
    lease: _duration_pb2.Duration
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., attempt: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("sequences", "attempt")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    attempt: int
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., attempt: _Optional[int] = ...) -> None: ...

class SettleRequest(_message.Message):
    __slots__ = ("durable", "ack", "nak", "terminate", "extend", "release", "report")
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NAK_FIELD_NUMBER: _ClassVar[int]
    TERMINATE_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    durable: str
    ack: Ack
    nak: Nak
    terminate: Terminate
    extend: Extend
    release: Release
    report: _task_pb2.Report
    def __init__(self, durable: _Optional[str] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nak: _Optional[_Union[Nak, _Mapping]] = ..., terminate: _Optional[_Union[Terminate, _Mapping]] = ..., extend: _Optional[_Union[Extend, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., report: _Optional[_Union[_task_pb2.Report, _Mapping]] = ...) -> None: ...

class SettleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateDurableSubscriptionRequest(_message.Message):
    __slots__ = ("name", "settings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    settings: DurableSettings
    def __init__(self, name: _Optional[str] = ..., settings: _Optional[_Union[DurableSettings, _Mapping]] = ...) -> None: ...

class UpdateDurableSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: DurableSubscription
    def __init__(self, subscription: _Optional[_Union[DurableSubscription, _Mapping]] = ...) -> None: ...

class PauseDurableSubscriptionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PauseDurableSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: DurableSubscription
    def __init__(self, subscription: _Optional[_Union[DurableSubscription, _Mapping]] = ...) -> None: ...

class ResumeDurableSubscriptionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeDurableSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: DurableSubscription
    def __init__(self, subscription: _Optional[_Union[DurableSubscription, _Mapping]] = ...) -> None: ...
