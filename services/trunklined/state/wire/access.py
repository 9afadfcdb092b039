"""What each call of the state service, and each item of its stream, asks for: the one table of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from google.protobuf.message import DecodeError

from trunkline.records import WATCHED_KINDS, RecordKind
from trunkline.v1 import state_pb2
from trunklined.access.gate import Costs
from trunklined.access.limits import Cost
from trunklined.access.rights import ALL, Need, Rules
from trunklined.rpc.access import Guarded
from trunklined.state.wire.operations import BatchRequest, DeleteRequest, SaveRequest

PACKAGE: Final = "trunkline.v1"
TYPES: Final = {each.DESCRIPTOR.full_name: each for each in (SaveRequest, DeleteRequest, BatchRequest)}
_BODIES: Final[dict[str, tuple[Any, str]]] = {
    "agent_state": (state_pb2.AgentState, "agent_id"),
    "workflow_state": (state_pb2.WorkflowState, "workflow_id"),
    "task_result": (state_pb2.TaskResult, "task_id"),
    "agent_presence": (state_pb2.AgentPresence, "agent_id"),
}
"""What each record is, and which field is its id."""


def guarded_calls() -> Guarded:
    """Returns what each call and item asks for, by the full name of its message."""
    rules = {f"{PACKAGE}.{name}": rule for name, rule in _RULES.items()}
    return Guarded(rules, TYPES, costs={f"{PACKAGE}.{name}": cost for name, cost in _COSTS.items()})


def _record(right: str) -> Callable[[Any], Iterable[Need]]:
    return lambda request: (Need(f"records.{right}", f"{_label(request.kind)}/{request.id}"),)


def _label(number: int) -> str:
    """The name of a kind; of one that there is not, which is refused behind the gate, its number."""
    try:
        return RecordKind(number).label
    except ValueError:
        return str(number)


def _save(request: Any) -> Iterable[Need]:
    kind = request.WhichOneof("value") or ""
    yield Need("records.write", f"{kind}/{_id_of(kind, getattr(request, kind)) if kind else ALL}")
    yield from _published(request)


def _id_of(kind: str, record: Any) -> str:
    """The id of a record that may be encoded; ALL: it cannot be read, and is refused behind the gate."""
    cls, field = _BODIES[kind]
    try:
        id: str = getattr(cls.FromString(record) if isinstance(record, bytes) else record, field)
    except DecodeError:
        return ALL
    return id


def _published(request: Any) -> Iterable[Need]:
    """What messages of a write need."""
    return [Need("publish", channel) for channel in dict.fromkeys(each.channel for each in request.publish)]


def _delete(request: Any) -> Iterable[Need]:
    return (*_record("write")(request), *_published(request))


def _batch(request: Any) -> Iterable[Need]:
    done = {"save": _save, "get": _record("read"), "delete": _delete}
    for operation in request.operations:
        if (kind := operation.WhichOneof("operation")) is not None:
            yield from done[kind](getattr(operation, kind))


def _watch(request: Any) -> Iterable[Need]:
    kinds = [_label(number) for number in request.kinds] or [kind.label for kind in WATCHED_KINDS]
    return [Need("records.watch", f"{kind}/{request.id or ALL}") for kind in dict.fromkeys(kinds)]


def _lease(field: str) -> Callable[[Any], Iterable[Need]]:
    return lambda request: (Need("leases.acquire", getattr(request, field).name if field else request.name),)


_RULES: Final[Rules] = {
    "SaveRequest": _save,
    "GetRequest": _record("read"),
    "ListRequest": lambda request: (Need("records.list", f"{_label(request.kind)}/{ALL}"),),
    "DeleteRequest": _delete,
    "BatchRequest": _batch,
    "WatchRequest": _watch,
    "TouchRequest": _record("write"),
    "AcquireLeaseRequest": _lease(""),
    "RenewLeaseRequest": _lease("lease"),
    "ReleaseLeaseRequest": _lease("lease"),
    "ListLeasesRequest": lambda request: (Need("leases.see", request.name or ALL),),
    "GetStateStatsRequest": lambda request: (Need("inspect", "stats"),),
}


def _written(request: Any) -> Cost:
    size = request.ByteSize()
    return Cost(1, size, size)


def _batched(request: Any) -> Cost:
    """Each operation counts; what is read is not stored."""
    size = request.ByteSize()
    read = sum(each.ByteSize() for each in request.operations if each.HasField("get"))
    return Cost(max(1, len(request.operations)), size, size - read)


_COSTS: Final[Costs] = {"SaveRequest": _written, "DeleteRequest": _written, "BatchRequest": _batched}
