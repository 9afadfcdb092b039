import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trunkline.v1 import message_pb2 as _message_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WaitingFilter(_message.Message):
    __slots__ = ("sequences", "message_ids", "channel", "message_type", "sender_id", "ordering_key", "since", "before")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    ORDERING_KEY_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    channel: str
    message_type: str
    sender_id: str
    ordering_key: str
    since: _timestamp_pb2.Timestamp
    before: _timestamp_pb2.Timestamp
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., message_ids: _Optional[_Iterable[str]] = ..., channel: _Optional[str] = ..., message_type: _Optional[str] = ..., sender_id: _Optional[str] = ..., ordering_key: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WaitingMessage(_message.Message):
    __slots__ = ("channel", "sequence", "published_at", "attempts", "due_at", "blocked_by_key", "error", "message")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_BY_KEY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    channel: str
    sequence: int
    published_at: _timestamp_pb2.Timestamp
    attempts: int
    due_at: _timestamp_pb2.Timestamp
    blocked_by_key: bool
    error: str
    message: _message_pb2.Message
    def __init__(self, channel: _Optional[str] = ..., sequence: _Optional[int] = ..., published_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[int] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., blocked_by_key: bool = ..., error: _Optional[str] = ..., message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ...) -> None: ...

class ListWaitingMessagesRequest(_message.Message):
    __slots__ = ("durable", "filter", "page_size", "page_token", "brief")
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    durable: str
    filter: WaitingFilter
    page_size: int
    page_token: str
    brief: bool
    def __init__(self, durable: _Optional[str] = ..., filter: _Optional[_Union[WaitingFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., brief: bool = ...) -> None: ...

class ListWaitingMessagesResponse(_message.Message):
    __slots__ = ("messages", "next_page_token")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[WaitingMessage]
    next_page_token: str
    def __init__(self, messages: _Optional[_Iterable[_Union[WaitingMessage, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelWaitingMessagesRequest(_message.Message):
    __slots__ = ("durable", "filter", "dry_run")
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    durable: str
    filter: WaitingFilter
    dry_run: bool
    def __init__(self, durable: _Optional[str] = ..., filter: _Optional[_Union[WaitingFilter, _Mapping]] = ..., dry_run: bool = ...) -> None: ...

class CancelWaitingMessagesResponse(_message.Message):
    __slots__ = ("cancelled", "leased")
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    cancelled: int
    leased: int
    def __init__(self, cancelled: _Optional[int] = ..., leased: _Optional[int] = ...) -> None: ...

class MoveWaitingMessagesRequest(_message.Message):
    __slots__ = ("durable", "filter", "to_durable", "dry_run")
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TO_DURABLE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    durable: str
    filter: WaitingFilter
    to_durable: str
    dry_run: bool
    def __init__(self, durable: _Optional[str] = ..., filter: _Optional[_Union[WaitingFilter, _Mapping]] = ..., to_durable: _Optional[str] = ..., dry_run: bool = ...) -> None: ...

class MoveWaitingMessagesResponse(_message.Message):
    __slots__ = ("moved", "leased", "unmatched")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    UNMATCHED_FIELD_NUMBER: _ClassVar[int]
    moved: int
    leased: int
    unmatched: int
    def __init__(self, moved: _Optional[int] = ..., leased: _Optional[int] = ..., unmatched: _Optional[int] = ...) -> None: ...
