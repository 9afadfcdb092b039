import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trunkline.v1 import message_pb2 as _message_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LifeEvent(_message.Message):
    __slots__ = ("number", "time", "accepted", "progress", "part", "result", "failure", "cancelled")
    class Accepted(_message.Message):
        __slots__ = ("responder", "attempt")
        RESPONDER_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        responder: str
        attempt: int
        def __init__(self, responder: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...
    class Progress(_message.Message):
        __slots__ = ("fraction", "text")
        FRACTION_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        fraction: float
        text: str
        def __init__(self, fraction: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...
    class Part(_message.Message):
        __slots__ = ("message",)
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        message: _message_pb2.Message
        def __init__(self, message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ...) -> None: ...
    class Result(_message.Message):
        __slots__ = ("message", "channel")
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        CHANNEL_FIELD_NUMBER: _ClassVar[int]
        message: _message_pb2.Message
        channel: str
        def __init__(self, message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., channel: _Optional[str] = ...) -> None: ...
    class Failure(_message.Message):
        __slots__ = ("type", "text", "code", "retryable", "traceback")
        TYPE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        CODE_FIELD_NUMBER: _ClassVar[int]
        RETRYABLE_FIELD_NUMBER: _ClassVar[int]
        TRACEBACK_FIELD_NUMBER: _ClassVar[int]
        type: str
        text: str
        code: str
        retryable: bool
        traceback: str
        def __init__(self, type: _Optional[str] = ..., text: _Optional[str] = ..., code: _Optional[str] = ..., retryable: bool = ..., traceback: _Optional[str] = ...) -> None: ...
    class Cancelled(_message.Message):
        __slots__ = ("by", "reason")
        BY_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        by: str
        reason: str
        def __init__(self, by: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    accepted: LifeEvent.Accepted
    progress: LifeEvent.Progress
    part: LifeEvent.Part
    result: LifeEvent.Result
    failure: LifeEvent.Failure
    cancelled: LifeEvent.Cancelled
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., accepted: _Optional[_Union[LifeEvent.Accepted, _Mapping]] = ..., progress: _Optional[_Union[LifeEvent.Progress, _Mapping]] = ..., part: _Optional[_Union[LifeEvent.Part, _Mapping]] = ..., result: _Optional[_Union[LifeEvent.Result, _Mapping]] = ..., failure: _Optional[_Union[LifeEvent.Failure, _Mapping]] = ..., cancelled: _Optional[_Union[LifeEvent.Cancelled, _Mapping]] = ...) -> None: ...
