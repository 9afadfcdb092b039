"""Trunkline: publish/subscribe, request/reply and shared state between agents, over gRPC.

    import trunkline

    bus = trunkline.GrpcMessageBus("127.0.0.1:7431")
    state = trunkline.GrpcStateManager("127.0.0.1:7432")

Names are loaded when they are first used (PEP 562), so that a service that needs only `trunkline.errors` or
`trunkline.v1` loads no client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trunkline.lazy_names import lazy_names

__version__ = "0.1.0"

_HOMES = {
    "trunkline.bus.dead_letters": ("Attempt", "DeadLetter", "DeadLetterFilter", "DeadLetterReason", "Redriven"),
    "trunkline.bus.durable": ("DurableMessage",),
    "trunkline.bus.waiting": ("CancelledMessages", "MovedMessages", "WaitingFilter", "WaitingMessage"),
    "trunkline.delivery": ("Backoff", "Durability", "DurableSettings", "Receipt"),
    "trunkline.errors": (
        "BusDisconnectedError",
        "BusNotConnectedError",
        "CompactedError",
        "ConductorError",
        "DeadLetterNotFoundError",
        "InternalError",
        "InvalidAddressError",
        "InvalidChannelError",
        "InvalidMessageError",
        "InvalidRecordError",
        "LeaseHeldError",
        "LeaseLostError",
        "MessageBusError",
        "MessageTooLargeError",
        "NoRespondersError",
        "OverloadedError",
        "PermissionDeniedError",
        "RecordNotFoundError",
        "RequestCancelledError",
        "RequestFailedError",
        "RequestNotFoundError",
        "RequestTimeoutError",
        "ResponderLostError",
        "RevisionMismatchError",
        "StaleAckError",
        "StateDisconnectedError",
        "StateError",
        "StateNotConnectedError",
        "StorageError",
        "StorageUnavailableError",
        "SubscriptionExistsError",
        "SubscriptionNotFoundError",
        "TaskNotFoundError",
        "TlsError",
        "TrunklineError",
        "UnauthenticatedError",
    ),
    "trunkline.failures": (
        "CircuitBreaker",
        "CircuitOpenError",
        "CircuitState",
        "DeadLetterEntry",
        "DeadLetterQueue",
        "ErrorAction",
        "ErrorHandler",
        "RetryPolicy",
    ),
    "trunkline.models": (
        "AgentMessage",
        "AgentState",
        "AgentStatus",
        "AgentType",
        "MessageType",
        "Priority",
        "Record",
        "TaskDefinition",
        "TaskResult",
        "TaskStatus",
        "WorkflowPhase",
        "WorkflowState",
    ),
    "trunkline.bus.handling": ("DurableCallback",),
    "trunkline.bus.life": (
        "Accepted",
        "Cancellation",
        "Failure",
        "LifeEvent",
        "Part",
        "Postponed",
        "Progress",
        "Result",
    ),
    "trunkline.bus.submitted_task": ("SubmittedTask", "TaskInfo"),
    "trunkline.bus.request": ("Request", "RequestHandler"),
    "trunkline.bus.inspection": ("BusStatistics", "DurableInfo", "SubscriptionInfo"),
    "trunkline.bus.questions": (
        *("BlockingKey", "ConnectionInfo", "Explanation", "HeldBySidecar", "HeldChannel", "InFlight", "Keeper"),
        *("LeftOut", "Permission", "Recipient", "Refusal", "Stuck", "StuckDurable", "Trace", "TraceEvent"),
        *("TraceState", "WaitingRequest"),
    ),
    "trunkline.bus.message_bus": ("MessageBus", "MessageCallback"),
    "trunklined.local.bus": ("InMemoryMessageBus",),
    "trunkline.bus.grpc.bus": ("GrpcMessageBus",),
    "trunklined.local.redis": ("RedisMessageBus",),
    "trunkline.state.outbox": ("OutboxMessage", "OutboxStatistics", "StuckMessage"),
    "trunkline.state.state_manager": (
        "Change",
        "ChangeType",
        "Delete",
        "EndReason",
        "Get",
        "Operation",
        "Outcome",
        "Save",
        "StateManager",
        "StateStatistics",
    ),
    "trunkline.state.leases": ("Lease", "LeaseInfo"),
    "trunkline.state.presence": ("AgentPresence", "Announcement"),
    "trunklined.local.state": ("InMemoryStateManager", "RedisStateManager"),
    "trunkline.state.grpc.manager": ("GrpcStateManager",),
    "trunkline.message_channel": ("MessageChannel", "ServiceMessage"),
    "trunkline.programs": ("LocalStack",),
    "trunkline.tls.options": ("Tls",),
}
_FACES = ("sync",)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_FACES, *sorted(_HOME_OF)]  # noqa: PLE0604  # mypy and pyright read the block below


_load, _names = lazy_names(__name__, _HOME_OF)


def __getattr__(name: str) -> Any:
    return importlib.import_module(f"trunkline.{name}") if name in _FACES else _load(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *_FACES})


if TYPE_CHECKING:
    from trunkline import sync as sync
    from trunkline.bus.dead_letters import Attempt as Attempt
    from trunkline.bus.dead_letters import DeadLetter as DeadLetter
    from trunkline.bus.dead_letters import DeadLetterFilter as DeadLetterFilter
    from trunkline.bus.dead_letters import DeadLetterReason as DeadLetterReason
    from trunkline.bus.dead_letters import Redriven as Redriven
    from trunkline.bus.durable import DurableMessage as DurableMessage
    from trunkline.bus.grpc.bus import GrpcMessageBus as GrpcMessageBus
    from trunkline.bus.handling import DurableCallback as DurableCallback
    from trunkline.bus.inspection import BusStatistics as BusStatistics
    from trunkline.bus.inspection import DurableInfo as DurableInfo
    from trunkline.bus.inspection import SubscriptionInfo as SubscriptionInfo
    from trunkline.bus.life import Accepted as Accepted
    from trunkline.bus.life import Cancellation as Cancellation
    from trunkline.bus.life import Failure as Failure
    from trunkline.bus.life import LifeEvent as LifeEvent
    from trunkline.bus.life import Part as Part
    from trunkline.bus.life import Postponed as Postponed
    from trunkline.bus.life import Progress as Progress
    from trunkline.bus.life import Result as Result
    from trunkline.bus.message_bus import MessageBus as MessageBus
    from trunkline.bus.message_bus import MessageCallback as MessageCallback
    from trunkline.bus.questions import BlockingKey as BlockingKey
    from trunkline.bus.questions import ConnectionInfo as ConnectionInfo
    from trunkline.bus.questions import Explanation as Explanation
    from trunkline.bus.questions import HeldBySidecar as HeldBySidecar
    from trunkline.bus.questions import HeldChannel as HeldChannel
    from trunkline.bus.questions import InFlight as InFlight
    from trunkline.bus.questions import Keeper as Keeper
    from trunkline.bus.questions import LeftOut as LeftOut
    from trunkline.bus.questions import Permission as Permission
    from trunkline.bus.questions import Recipient as Recipient
    from trunkline.bus.questions import Refusal as Refusal
    from trunkline.bus.questions import Stuck as Stuck
    from trunkline.bus.questions import StuckDurable as StuckDurable
    from trunkline.bus.questions import Trace as Trace
    from trunkline.bus.questions import TraceEvent as TraceEvent
    from trunkline.bus.questions import TraceState as TraceState
    from trunkline.bus.questions import WaitingRequest as WaitingRequest
    from trunkline.bus.request import Request as Request
    from trunkline.bus.request import RequestHandler as RequestHandler
    from trunkline.bus.submitted_task import SubmittedTask as SubmittedTask
    from trunkline.bus.submitted_task import TaskInfo as TaskInfo
    from trunkline.bus.waiting import CancelledMessages as CancelledMessages
    from trunkline.bus.waiting import MovedMessages as MovedMessages
    from trunkline.bus.waiting import WaitingFilter as WaitingFilter
    from trunkline.bus.waiting import WaitingMessage as WaitingMessage
    from trunkline.delivery import Backoff as Backoff
    from trunkline.delivery import Durability as Durability
    from trunkline.delivery import DurableSettings as DurableSettings
    from trunkline.delivery import Receipt as Receipt
    from trunkline.errors import BusDisconnectedError as BusDisconnectedError
    from trunkline.errors import BusNotConnectedError as BusNotConnectedError
    from trunkline.errors import CompactedError as CompactedError
    from trunkline.errors import ConductorError as ConductorError
    from trunkline.errors import DeadLetterNotFoundError as DeadLetterNotFoundError
    from trunkline.errors import InternalError as InternalError
    from trunkline.errors import InvalidAddressError as InvalidAddressError
    from trunkline.errors import InvalidChannelError as InvalidChannelError
    from trunkline.errors import InvalidMessageError as InvalidMessageError
    from trunkline.errors import InvalidRecordError as InvalidRecordError
    from trunkline.errors import LeaseHeldError as LeaseHeldError
    from trunkline.errors import LeaseLostError as LeaseLostError
    from trunkline.errors import MessageBusError as MessageBusError
    from trunkline.errors import MessageTooLargeError as MessageTooLargeError
    from trunkline.errors import NoRespondersError as NoRespondersError
    from trunkline.errors import OverloadedError as OverloadedError
    from trunkline.errors import PermissionDeniedError as PermissionDeniedError
    from trunkline.errors import RecordNotFoundError as RecordNotFoundError
    from trunkline.errors import RequestCancelledError as RequestCancelledError
    from trunkline.errors import RequestFailedError as RequestFailedError
    from trunkline.errors import RequestNotFoundError as RequestNotFoundError
    from trunkline.errors import RequestTimeoutError as RequestTimeoutError
    from trunkline.errors import ResponderLostError as ResponderLostError
    from trunkline.errors import RevisionMismatchError as RevisionMismatchError
    from trunkline.errors import StaleAckError as StaleAckError
    from trunkline.errors import StateDisconnectedError as StateDisconnectedError
    from trunkline.errors import StateError as StateError
    from trunkline.errors import StateNotConnectedError as StateNotConnectedError
    from trunkline.errors import StorageError as StorageError
    from trunkline.errors import StorageUnavailableError as StorageUnavailableError
    from trunkline.errors import SubscriptionExistsError as SubscriptionExistsError
    from trunkline.errors import SubscriptionNotFoundError as SubscriptionNotFoundError
    from trunkline.errors import TaskNotFoundError as TaskNotFoundError
    from trunkline.errors import TlsError as TlsError
    from trunkline.errors import TrunklineError as TrunklineError
    from trunkline.errors import UnauthenticatedError as UnauthenticatedError
    from trunkline.failures import CircuitBreaker as CircuitBreaker
    from trunkline.failures import CircuitOpenError as CircuitOpenError
    from trunkline.failures import CircuitState as CircuitState
    from trunkline.failures import DeadLetterEntry as DeadLetterEntry
    from trunkline.failures import DeadLetterQueue as DeadLetterQueue
    from trunkline.failures import ErrorAction as ErrorAction
    from trunkline.failures import ErrorHandler as ErrorHandler
    from trunkline.failures import RetryPolicy as RetryPolicy
    from trunkline.message_channel import MessageChannel as MessageChannel
    from trunkline.message_channel import ServiceMessage as ServiceMessage
    from trunkline.models import AgentMessage as AgentMessage
    from trunkline.models import AgentState as AgentState
    from trunkline.models import AgentStatus as AgentStatus
    from trunkline.models import AgentType as AgentType
    from trunkline.models import MessageType as MessageType
    from trunkline.models import Priority as Priority
    from trunkline.models import Record as Record
    from trunkline.models import TaskDefinition as TaskDefinition
    from trunkline.models import TaskResult as TaskResult
    from trunkline.models import TaskStatus as TaskStatus
    from trunkline.models import WorkflowPhase as WorkflowPhase
    from trunkline.models import WorkflowState as WorkflowState
    from trunkline.programs import LocalStack as LocalStack
    from trunkline.state.grpc.manager import GrpcStateManager as GrpcStateManager
    from trunkline.state.leases import Lease as Lease
    from trunkline.state.leases import LeaseInfo as LeaseInfo
    from trunkline.state.outbox import OutboxMessage as OutboxMessage
    from trunkline.state.outbox import OutboxStatistics as OutboxStatistics
    from trunkline.state.outbox import StuckMessage as StuckMessage
    from trunkline.state.presence import AgentPresence as AgentPresence
    from trunkline.state.presence import Announcement as Announcement
    from trunkline.state.state_manager import Change as Change
    from trunkline.state.state_manager import ChangeType as ChangeType
    from trunkline.state.state_manager import Delete as Delete
    from trunkline.state.state_manager import EndReason as EndReason
    from trunkline.state.state_manager import Get as Get
    from trunkline.state.state_manager import Operation as Operation
    from trunkline.state.state_manager import Outcome as Outcome
    from trunkline.state.state_manager import Save as Save
    from trunkline.state.state_manager import StateManager as StateManager
    from trunkline.state.state_manager import StateStatistics as StateStatistics
    from trunkline.tls.options import Tls as Tls
    from trunklined.local.bus import InMemoryMessageBus as InMemoryMessageBus
    from trunklined.local.redis import RedisMessageBus as RedisMessageBus
    from trunklined.local.state import InMemoryStateManager as InMemoryStateManager
    from trunklined.local.state import RedisStateManager as RedisStateManager
