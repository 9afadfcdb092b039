"""Leases and lifetimes on the wire: requests checked and translated, and their answers."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from trunkline.errors import InvalidRecordError, RecordNotFoundError
from trunkline.limits import MAX_LEASE_TTL, MAX_LEASE_WAIT, MAX_RECORD_TTL, MIN_TTL
from trunkline.records import RecordKind, check_holder, check_record_id, check_seconds, invalid_record
from trunkline.v1 import state_pb2
from trunklined.rpc.identity import principal
from trunklined.rpc.page_token import make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import check_duration, duration_of, seconds_of, stamp_of
from trunklined.state.records import ANY, Entry, Hold, Result, Touch
from trunklined.state.store import Store
from trunklined.state.wire.validation import check_json
from trunklined.state.wire.writers import fill_written

_LEASES: Final = msgspec.msgpack.encode(int(RecordKind.LEASE))
"""What a page token of ListLeases belongs to."""


def to_hold(hold: Any, field: str) -> Hold:
    """Translates a Hold."""
    check_record_id(f"{field}.name", hold.name)
    if hold.number < 1:
        raise invalid_record(f"{field}.number", f"is {hold.number}, it must be at least 1", hold.number)
    return Hold(hold.name, hold.number)


def to_milliseconds(field: str, duration: Any, longest: float) -> int:
    """Translates a TTL into milliseconds."""
    check_duration(field, duration, invalid_record)
    return round(check_seconds(field, seconds_of(duration), MIN_TTL, longest) * 1000)


def ttl_of(request: Any) -> int:
    """Returns the TTL of a SaveRequest or a TouchRequest in milliseconds; 0 where it names none."""
    return to_milliseconds("ttl", request.ttl, MAX_RECORD_TTL) if request.HasField("ttl") else 0


def to_touch(request: Any, kind: RecordKind) -> Touch:
    """Translates a TouchRequest."""
    if kind is RecordKind.LEASE:
        raise invalid_record("kind", "is a lease: it is renewed by RenewLease")
    return Touch(kind, check_record_id("id", request.id), ttl_of(request))


def to_touched(touch: Touch, result: Result) -> state_pb2.TouchResponse:
    """Returns the answer of a touch; raises `RecordNotFoundError` if there is no such record."""
    if not isinstance(result, int) or not result:
        label = touch.kind.label
        raise RecordNotFoundError(f"there is no {label} {touch.id!r}", details={"kind": label, "id": touch.id})
    return state_pb2.TouchResponse(revision=result)


class Acquisition:
    """An AcquireLeaseRequest, checked.

    Raises:
        InvalidRecordError: a field cannot be.
    """

    def __init__(self, request: Any, max_bytes: int) -> None:
        self._name = check_record_id("name", request.name)
        self._holder = check_holder(request.holder)
        if not request.HasField("ttl"):
            raise invalid_record("ttl", "is not set: a lease needs one")
        self._ttl_ms = to_milliseconds("ttl", request.ttl, MAX_LEASE_TTL)
        check_duration("wait", request.wait, invalid_record)
        self.wait = check_seconds("wait", seconds_of(request.wait), 0, MAX_LEASE_WAIT)
        check_json("metadata_json", request.metadata_json)
        lease = self._lease = state_pb2.Lease(
            name=request.name, holder=request.holder, ttl=request.ttl, metadata_json=request.metadata_json
        )
        if lease.ByteSize() > max_bytes:
            raise invalid_record("metadata_json", f"has {len(request.metadata_json)} characters, which are too many")

    async def take(self, store: Store) -> state_pb2.AcquireLeaseResponse:
        """Takes the lease, waiting for it as the request says; see `Leases.acquire`."""
        lease = self._lease
        lease.acquired_at.CopyFrom(stamp_of(time.time()))
        body = lease.SerializeToString()
        lease.number = await store.leases.acquire(self._name, self._holder, body, self._ttl_ms, self.wait, principal())
        lease.remaining.CopyFrom(duration_of(store.leases.remaining(self._name)))
        return state_pb2.AcquireLeaseResponse(lease=lease)


async def renew(store: Store, request: Any) -> state_pb2.RenewLeaseResponse:
    """Answers a RenewLeaseRequest."""
    seconds = await store.leases.renew(to_hold(request.lease, "lease"))
    return state_pb2.RenewLeaseResponse(remaining=duration_of(seconds))


async def release(store: Store, request: Any) -> state_pb2.ReleaseLeaseResponse:
    """Answers a ReleaseLeaseRequest."""
    hold = to_hold(request.lease, "lease")
    return state_pb2.ReleaseLeaseResponse(revision=await store.leases.release(hold, principal()))


async def list_leases(store: Store, request: Any) -> state_pb2.ListLeasesResponse:
    """Answers a ListLeasesRequest."""
    if request.name:
        entry = await store.get(RecordKind.LEASE, check_record_id("name", request.name))
        return state_pb2.ListLeasesResponse(leases=[] if entry is None else [_lease_of(store, entry)])
    limit = page_size_of(request, InvalidRecordError)
    after = read_page_token(request.page_token, _LEASES, InvalidRecordError)
    page = await store.page(RecordKind.LEASE, ANY, after, limit)
    answer = state_pb2.ListLeasesResponse(leases=[_lease_of(store, entry) for entry in page.entries])
    if page.more:
        answer.next_page_token = make_page_token(page.entries[-1].id, _LEASES)
    return answer


def _lease_of(store: Store, entry: Entry) -> state_pb2.Lease:
    lease = state_pb2.Lease.FromString(entry.body)
    lease.number = entry.revision
    lease.remaining.CopyFrom(duration_of(store.leases.remaining(entry.id)))
    fill_written(lease, entry.written)
    return lease
