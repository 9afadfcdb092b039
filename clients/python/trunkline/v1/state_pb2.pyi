import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trunkline.v1 import error_pb2 as _error_pb2
from trunkline.v1 import message_pb2 as _message_pb2
from trunkline.v1 import move_pb2 as _move_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECORD_KIND_UNSPECIFIED: _ClassVar[RecordKind]
    RECORD_KIND_AGENT_STATE: _ClassVar[RecordKind]
    RECORD_KIND_WORKFLOW_STATE: _ClassVar[RecordKind]
    RECORD_KIND_TASK_RESULT: _ClassVar[RecordKind]
    RECORD_KIND_LEASE: _ClassVar[RecordKind]
    RECORD_KIND_AGENT_PRESENCE: _ClassVar[RecordKind]

class EndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_REASON_UNSPECIFIED: _ClassVar[EndReason]
    END_REASON_DELETED: _ClassVar[EndReason]
    END_REASON_EXPIRED: _ClassVar[EndReason]
    END_REASON_LEASE_ENDED: _ClassVar[EndReason]
RECORD_KIND_UNSPECIFIED: RecordKind
RECORD_KIND_AGENT_STATE: RecordKind
RECORD_KIND_WORKFLOW_STATE: RecordKind
RECORD_KIND_TASK_RESULT: RecordKind
RECORD_KIND_LEASE: RecordKind
RECORD_KIND_AGENT_PRESENCE: RecordKind
END_REASON_UNSPECIFIED: EndReason
END_REASON_DELETED: EndReason
END_REASON_EXPIRED: EndReason
END_REASON_LEASE_ENDED: EndReason

class AgentState(_message.Message):
    __slots__ = ("agent_id", "agent_type", "status", "current_task_id", "completed_tasks", "failed_tasks", "error_count", "last_heartbeat", "metadata_json", "created_at", "updated_at")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_TASK_ID_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_TASKS_FIELD_NUMBER: _ClassVar[int]
    FAILED_TASKS_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    agent_type: str
    status: str
    current_task_id: str
    completed_tasks: _containers.RepeatedScalarFieldContainer[str]
    failed_tasks: _containers.RepeatedScalarFieldContainer[str]
    error_count: int
    last_heartbeat: _timestamp_pb2.Timestamp
    metadata_json: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, agent_id: _Optional[str] = ..., agent_type: _Optional[str] = ..., status: _Optional[str] = ..., current_task_id: _Optional[str] = ..., completed_tasks: _Optional[_Iterable[str]] = ..., failed_tasks: _Optional[_Iterable[str]] = ..., error_count: _Optional[int] = ..., last_heartbeat: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., metadata_json: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("task_id", "agent_id", "status", "output_data_json", "error_message", "started_at", "completed_at", "duration_seconds", "metadata_json")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    agent_id: str
    status: str
    output_data_json: str
    error_message: str
    started_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    duration_seconds: float
    metadata_json: str
    def __init__(self, task_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., status: _Optional[str] = ..., output_data_json: _Optional[str] = ..., error_message: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration_seconds: _Optional[float] = ..., metadata_json: _Optional[str] = ...) -> None: ...

class WorkflowState(_message.Message):
    __slots__ = ("workflow_id", "current_phase", "phase_history_json", "agent_states", "task_results", "started_at", "completed_at", "status", "error_log_json", "feedback_count", "metadata_json")
    class AgentStatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: AgentState
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[AgentState, _Mapping]] = ...) -> None: ...
    class TaskResultsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: TaskResult
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[TaskResult, _Mapping]] = ...) -> None: ...
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENT_PHASE_FIELD_NUMBER: _ClassVar[int]
    PHASE_HISTORY_JSON_FIELD_NUMBER: _ClassVar[int]
    AGENT_STATES_FIELD_NUMBER: _ClassVar[int]
    TASK_RESULTS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_LOG_JSON_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_COUNT_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    workflow_id: str
    current_phase: str
    phase_history_json: _containers.RepeatedScalarFieldContainer[str]
    agent_states: _containers.MessageMap[str, AgentState]
    task_results: _containers.MessageMap[str, TaskResult]
    started_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    status: str
    error_log_json: _containers.RepeatedScalarFieldContainer[str]
    feedback_count: int
    metadata_json: str
    def __init__(self, workflow_id: _Optional[str] = ..., current_phase: _Optional[str] = ..., phase_history_json: _Optional[_Iterable[str]] = ..., agent_states: _Optional[_Mapping[str, AgentState]] = ..., task_results: _Optional[_Mapping[str, TaskResult]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[str] = ..., error_log_json: _Optional[_Iterable[str]] = ..., feedback_count: _Optional[int] = ..., metadata_json: _Optional[str] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("name", "holder", "ttl", "metadata_json", "acquired_at", "number", "remaining", "written_by", "written_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_AT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BY_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    holder: str
    ttl: _duration_pb2.Duration
    metadata_json: str
    acquired_at: _timestamp_pb2.Timestamp
    number: int
    remaining: _duration_pb2.Duration
    written_by: str
    written_at: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., holder: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., metadata_json: _Optional[str] = ..., acquired_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., number: _Optional[int] = ..., remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., written_by: _Optional[str] = ..., written_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AgentPresence(_message.Message):
    __slots__ = ("agent_id", "agent_type", "status", "capabilities", "metadata_json", "announced_at")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_AT_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    agent_type: str
    status: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    metadata_json: str
    announced_at: _timestamp_pb2.Timestamp
    def __init__(self, agent_id: _Optional[str] = ..., agent_type: _Optional[str] = ..., status: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., metadata_json: _Optional[str] = ..., announced_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("name", "number")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: int
    def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("revision", "agent_state", "workflow_state", "task_result", "lease", "agent_presence", "written_by", "written_at")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    AGENT_STATE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_STATE_FIELD_NUMBER: _ClassVar[int]
    TASK_RESULT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    AGENT_PRESENCE_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BY_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    agent_state: AgentState
    workflow_state: WorkflowState
    task_result: TaskResult
    lease: Lease
    agent_presence: AgentPresence
    written_by: str
    written_at: _timestamp_pb2.Timestamp
    def __init__(self, revision: _Optional[int] = ..., agent_state: _Optional[_Union[AgentState, _Mapping]] = ..., workflow_state: _Optional[_Union[WorkflowState, _Mapping]] = ..., task_result: _Optional[_Union[TaskResult, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., agent_presence: _Optional[_Union[AgentPresence, _Mapping]] = ..., written_by: _Optional[str] = ..., written_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SaveRequest(_message.Message):
    __slots__ = ("agent_state", "workflow_state", "task_result", "agent_presence", "expected_revision", "publish", "lease", "ttl", "fence")
    AGENT_STATE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_STATE_FIELD_NUMBER: _ClassVar[int]
    TASK_RESULT_FIELD_NUMBER: _ClassVar[int]
    AGENT_PRESENCE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    agent_state: AgentState
    workflow_state: WorkflowState
    task_result: TaskResult
    agent_presence: AgentPresence
    expected_revision: int
    publish: _containers.RepeatedCompositeFieldContainer[OutboxMessage]
    lease: Hold
    ttl: _duration_pb2.Duration
    fence: Hold
    def __init__(self, agent_state: _Optional[_Union[AgentState, _Mapping]] = ..., workflow_state: _Optional[_Union[WorkflowState, _Mapping]] = ..., task_result: _Optional[_Union[TaskResult, _Mapping]] = ..., agent_presence: _Optional[_Union[AgentPresence, _Mapping]] = ..., expected_revision: _Optional[int] = ..., publish: _Optional[_Iterable[_Union[OutboxMessage, _Mapping]]] = ..., lease: _Optional[_Union[Hold, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., fence: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class OutboxMessage(_message.Message):
    __slots__ = ("channel", "message")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    channel: str
    message: _message_pb2.Message
    def __init__(self, channel: _Optional[str] = ..., message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ...) -> None: ...

class SaveResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("kind", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: RecordKind
    id: str
    def __init__(self, kind: _Optional[_Union[RecordKind, str]] = ..., id: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: Record
    def __init__(self, record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("status", "type", "phase", "agent_id", "capability")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    status: str
    type: str
    phase: str
    agent_id: str
    capability: str
    def __init__(self, status: _Optional[str] = ..., type: _Optional[str] = ..., phase: _Optional[str] = ..., agent_id: _Optional[str] = ..., capability: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("kind", "filter", "page_size", "page_token")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    kind: RecordKind
    filter: Filter
    page_size: int
    page_token: str
    def __init__(self, kind: _Optional[_Union[RecordKind, str]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("records", "next_page_token", "revision")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    next_page_token: str
    revision: int
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("kind", "id", "expected_revision", "publish", "fence")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    kind: RecordKind
    id: str
    expected_revision: int
    publish: _containers.RepeatedCompositeFieldContainer[OutboxMessage]
    fence: Hold
    def __init__(self, kind: _Optional[_Union[RecordKind, str]] = ..., id: _Optional[str] = ..., expected_revision: _Optional[int] = ..., publish: _Optional[_Iterable[_Union[OutboxMessage, _Mapping]]] = ..., fence: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted", "revision")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    revision: int
    def __init__(self, deleted: bool = ..., revision: _Optional[int] = ...) -> None: ...

class BatchRequest(_message.Message):
    __slots__ = ("operations", "atomic")
    class Operation(_message.Message):
        __slots__ = ("save", "get", "delete")
        SAVE_FIELD_NUMBER: _ClassVar[int]
        GET_FIELD_NUMBER: _ClassVar[int]
        DELETE_FIELD_NUMBER: _ClassVar[int]
        save: SaveRequest
        get: GetRequest
        delete: DeleteRequest
        def __init__(self, save: _Optional[_Union[SaveRequest, _Mapping]] = ..., get: _Optional[_Union[GetRequest, _Mapping]] = ..., delete: _Optional[_Union[DeleteRequest, _Mapping]] = ...) -> None: ...
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    ATOMIC_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[BatchRequest.Operation]
    atomic: bool
    def __init__(self, operations: _Optional[_Iterable[_Union[BatchRequest.Operation, _Mapping]]] = ..., atomic: bool = ...) -> None: ...

class BatchResponse(_message.Message):
    __slots__ = ("outcomes",)
    class Outcome(_message.Message):
        __slots__ = ("saved", "got", "deleted", "error")
        SAVED_FIELD_NUMBER: _ClassVar[int]
        GOT_FIELD_NUMBER: _ClassVar[int]
        DELETED_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        saved: SaveResponse
        got: GetResponse
        deleted: DeleteResponse
        error: _error_pb2.Error
        def __init__(self, saved: _Optional[_Union[SaveResponse, _Mapping]] = ..., got: _Optional[_Union[GetResponse, _Mapping]] = ..., deleted: _Optional[_Union[DeleteResponse, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ...) -> None: ...
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[BatchResponse.Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[BatchResponse.Outcome, _Mapping]]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("kinds", "id", "filter", "after_revision")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[RecordKind]
    id: str
    filter: Filter
    after_revision: int
    def __init__(self, kinds: _Optional[_Iterable[_Union[RecordKind, str]]] = ..., id: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., after_revision: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("record", "left", "synced", "progress", "move")
    class Left(_message.Message):
        __slots__ = ("kind", "id", "revision", "deleted", "reason", "written_by", "written_at")
        KIND_FIELD_NUMBER: _ClassVar[int]
        ID_FIELD_NUMBER: _ClassVar[int]
        REVISION_FIELD_NUMBER: _ClassVar[int]
        DELETED_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        WRITTEN_BY_FIELD_NUMBER: _ClassVar[int]
        WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
        kind: RecordKind
        id: str
        revision: int
        deleted: bool
        reason: EndReason
        written_by: str
        written_at: _timestamp_pb2.Timestamp
        def __init__(self, kind: _Optional[_Union[RecordKind, str]] = ..., id: _Optional[str] = ..., revision: _Optional[int] = ..., deleted: bool = ..., reason: _Optional[_Union[EndReason, str]] = ..., written_by: _Optional[str] = ..., written_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    class Synced(_message.Message):
        __slots__ = ("revision",)
        REVISION_FIELD_NUMBER: _ClassVar[int]
        revision: int
        def __init__(self, revision: _Optional[int] = ...) -> None: ...
    class Progress(_message.Message):
        __slots__ = ("revision",)
        REVISION_FIELD_NUMBER: _ClassVar[int]
        revision: int
        def __init__(self, revision: _Optional[int] = ...) -> None: ...
    RECORD_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    record: Record
    left: WatchResponse.Left
    synced: WatchResponse.Synced
    progress: WatchResponse.Progress
    move: _move_pb2.Move
    def __init__(self, record: _Optional[_Union[Record, _Mapping]] = ..., left: _Optional[_Union[WatchResponse.Left, _Mapping]] = ..., synced: _Optional[_Union[WatchResponse.Synced, _Mapping]] = ..., progress: _Optional[_Union[WatchResponse.Progress, _Mapping]] = ..., move: _Optional[_Union[_move_pb2.Move, _Mapping]] = ...) -> None: ...

class OpenStateStreamRequest(_message.Message):
    __slots__ = ("items",)
    class ClientItem(_message.Message):
        __slots__ = ("id", "save", "get", "list", "delete", "batch", "renew_lease", "release_lease", "touch")
        ID_FIELD_NUMBER: _ClassVar[int]
        SAVE_FIELD_NUMBER: _ClassVar[int]
        GET_FIELD_NUMBER: _ClassVar[int]
        LIST_FIELD_NUMBER: _ClassVar[int]
        DELETE_FIELD_NUMBER: _ClassVar[int]
        BATCH_FIELD_NUMBER: _ClassVar[int]
        RENEW_LEASE_FIELD_NUMBER: _ClassVar[int]
        RELEASE_LEASE_FIELD_NUMBER: _ClassVar[int]
        TOUCH_FIELD_NUMBER: _ClassVar[int]
        id: int
        save: SaveRequest
        get: GetRequest
        list: ListRequest
        delete: DeleteRequest
        batch: BatchRequest
        renew_lease: RenewLeaseRequest
        release_lease: ReleaseLeaseRequest
        touch: TouchRequest
        def __init__(self, id: _Optional[int] = ..., save: _Optional[_Union[SaveRequest, _Mapping]] = ..., get: _Optional[_Union[GetRequest, _Mapping]] = ..., list: _Optional[_Union[ListRequest, _Mapping]] = ..., delete: _Optional[_Union[DeleteRequest, _Mapping]] = ..., batch: _Optional[_Union[BatchRequest, _Mapping]] = ..., renew_lease: _Optional[_Union[RenewLeaseRequest, _Mapping]] = ..., release_lease: _Optional[_Union[ReleaseLeaseRequest, _Mapping]] = ..., touch: _Optional[_Union[TouchRequest, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[OpenStateStreamRequest.ClientItem]
    def __init__(self, items: _Optional[_Iterable[_Union[OpenStateStreamRequest.ClientItem, _Mapping]]] = ...) -> None: ...

class OpenStateStreamResponse(_message.Message):
    __slots__ = ("items",)
    class ServerItem(_message.Message):
        __slots__ = ("id", "saved", "got", "listed", "deleted", "batched", "error", "lease_renewed", "lease_released", "touched", "move")
        ID_FIELD_NUMBER: _ClassVar[int]
        SAVED_FIELD_NUMBER: _ClassVar[int]
        GOT_FIELD_NUMBER: _ClassVar[int]
        LISTED_FIELD_NUMBER: _ClassVar[int]
        DELETED_FIELD_NUMBER: _ClassVar[int]
        BATCHED_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        LEASE_RENEWED_FIELD_NUMBER: _ClassVar[int]
        LEASE_RELEASED_FIELD_NUMBER: _ClassVar[int]
        TOUCHED_FIELD_NUMBER: _ClassVar[int]
        MOVE_FIELD_NUMBER: _ClassVar[int]
        id: int
        saved: SaveResponse
        got: GetResponse
        listed: ListResponse
        deleted: DeleteResponse
        batched: BatchResponse
        error: _error_pb2.Error
        lease_renewed: RenewLeaseResponse
        lease_released: ReleaseLeaseResponse
        touched: TouchResponse
        move: _move_pb2.Move
        def __init__(self, id: _Optional[int] = ..., saved: _Optional[_Union[SaveResponse, _Mapping]] = ..., got: _Optional[_Union[GetResponse, _Mapping]] = ..., listed: _Optional[_Union[ListResponse, _Mapping]] = ..., deleted: _Optional[_Union[DeleteResponse, _Mapping]] = ..., batched: _Optional[_Union[BatchResponse, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.Error, _Mapping]] = ..., lease_renewed: _Optional[_Union[RenewLeaseResponse, _Mapping]] = ..., lease_released: _Optional[_Union[ReleaseLeaseResponse, _Mapping]] = ..., touched: _Optional[_Union[TouchResponse, _Mapping]] = ..., move: _Optional[_Union[_move_pb2.Move, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[OpenStateStreamResponse.ServerItem]
    def __init__(self, items: _Optional[_Iterable[_Union[OpenStateStreamResponse.ServerItem, _Mapping]]] = ...) -> None: ...

class GetStateStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStateStatsResponse(_message.Message):
    __slots__ = ("started_at", "revision", "oldest_revision", "records", "saves", "gets", "lists", "deletes", "commits", "watchers", "connections", "engine", "version", "outbox", "leases_acquired", "lease_renewals", "expired", "ended_with_lease", "lease_waiters")
    class RecordsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_REVISION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    SAVES_FIELD_NUMBER: _ClassVar[int]
    GETS_FIELD_NUMBER: _ClassVar[int]
    LISTS_FIELD_NUMBER: _ClassVar[int]
    DELETES_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    WATCHERS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    LEASES_ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    LEASE_RENEWALS_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    ENDED_WITH_LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_WAITERS_FIELD_NUMBER: _ClassVar[int]
    started_at: _timestamp_pb2.Timestamp
    revision: int
    oldest_revision: int
    records: _containers.ScalarMap[str, int]
    saves: int
    gets: int
    lists: int
    deletes: int
    commits: int
    watchers: int
    connections: int
    engine: str
    version: str
    outbox: Outbox
    leases_acquired: int
    lease_renewals: int
    expired: int
    ended_with_lease: int
    lease_waiters: int
    def __init__(self, started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., oldest_revision: _Optional[int] = ..., records: _Optional[_Mapping[str, int]] = ..., saves: _Optional[int] = ..., gets: _Optional[int] = ..., lists: _Optional[int] = ..., deletes: _Optional[int] = ..., commits: _Optional[int] = ..., watchers: _Optional[int] = ..., connections: _Optional[int] = ..., engine: _Optional[str] = ..., version: _Optional[str] = ..., outbox: _Optional[_Union[Outbox, _Mapping]] = ..., leases_acquired: _Optional[int] = ..., lease_renewals: _Optional[int] = ..., expired: _Optional[int] = ..., ended_with_lease: _Optional[int] = ..., lease_waiters: _Optional[int] = ...) -> None: ...

class Outbox(_message.Message):
    __slots__ = ("bus_address", "bus_connected", "waiting", "waiting_bytes", "oldest_at", "stuck", "relayed", "possible_duplicates", "last_stuck")
    class Stuck(_message.Message):
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
    BUS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BUS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WAITING_BYTES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AT_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    RELAYED_FIELD_NUMBER: _ClassVar[int]
    POSSIBLE_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    LAST_STUCK_FIELD_NUMBER: _ClassVar[int]
    bus_address: str
    bus_connected: bool
    waiting: int
    waiting_bytes: int
    oldest_at: _timestamp_pb2.Timestamp
    stuck: int
    relayed: int
    possible_duplicates: int
    last_stuck: _containers.RepeatedCompositeFieldContainer[Outbox.Stuck]
    def __init__(self, bus_address: _Optional[str] = ..., bus_connected: bool = ..., waiting: _Optional[int] = ..., waiting_bytes: _Optional[int] = ..., oldest_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stuck: _Optional[int] = ..., relayed: _Optional[int] = ..., possible_duplicates: _Optional[int] = ..., last_stuck: _Optional[_Iterable[_Union[Outbox.Stuck, _Mapping]]] = ...) -> None: ...

class AcquireLeaseRequest(_message.Message):
    __slots__ = ("name", "holder", "ttl", "metadata_json", "wait")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    holder: str
    ttl: _duration_pb2.Duration
    metadata_json: str
    wait: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., holder: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., metadata_json: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AcquireLeaseResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: Lease
    def __init__(self, lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class RenewLeaseRequest(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: Hold
    def __init__(self, lease: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class RenewLeaseResponse(_message.Message):
    __slots__ = ("remaining",)
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    remaining: _duration_pb2.Duration
    def __init__(self, remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReleaseLeaseRequest(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: Hold
    def __init__(self, lease: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class ReleaseLeaseResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "name")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    name: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListLeasesResponse(_message.Message):
    __slots__ = ("leases", "next_page_token")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    next_page_token: str
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class TouchRequest(_message.Message):
    __slots__ = ("kind", "id", "ttl")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    kind: RecordKind
    id: str
    ttl: _duration_pb2.Duration
    def __init__(self, kind: _Optional[_Union[RecordKind, str]] = ..., id: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TouchResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...
