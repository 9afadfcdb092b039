"""Translation of requests into operations of the domain, with their checks, and of results into answers.

Records pass as encoded bytes: requests and answers are the opaque twins of the public types (`trunkline.wire.opaque`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trunkline.errors import InvalidRecordError, RecordNotFoundError
from trunkline.records import (
    RECORD_KINDS,
    WATCHED_KINDS,
    RecordKind,
    check_record_id,
    check_single_kind,
    invalid_record,
)
from trunkline.wire.opaque import state_passthrough
from trunklined.rpc.page_token import make_page_token, page_size_of, read_page_token
from trunklined.state.records import (
    Drop,
    Entry,
    Facets,
    Hold,
    Operation,
    Page,
    Put,
    Read,
    Result,
    make_facets,
)
from trunklined.state.watch import Event, Left, Progress, Synced, WatchFilter
from trunklined.state.wire.leases import to_hold, ttl_of
from trunklined.state.wire.outbox import to_arrivals
from trunklined.state.wire.validation import make_put
from trunklined.state.wire.writers import fill_written

_twins = state_passthrough()
SaveRequest = _twins["SaveRequest"]
SaveResponse = _twins["SaveResponse"]
DeleteRequest = _twins["DeleteRequest"]
DeleteResponse = _twins["DeleteResponse"]
BatchRequest = _twins["BatchRequest"]
OpenStateStreamRequest = _twins["OpenStateStreamRequest"]
OpenStateStreamResponse = _twins["OpenStateStreamResponse"]
GetResponse = _twins["GetResponse"]
ListResponse = _twins["ListResponse"]
BatchResponse = _twins["BatchResponse"]
BatchOutcome = _twins["BatchResponse.Outcome"]
WatchResponse = _twins["WatchResponse"]

MAX_KINDS_NAMED: Final = 64
"""Entries of a watch's `kinds`; there are five kinds, and one may be named again."""

_LABELS: Final = {kind: kind.label for kind in RecordKind}


def to_kind(number: int, field: str = "kind") -> RecordKind:
    """Returns the kind with a number of the wire's enum; raises `InvalidRecordError` for an unknown number."""
    try:
        return RecordKind(number)
    except ValueError:
        raise invalid_record(field, f"is {number}, it must be one of RecordKind's", number) from None


def to_put(request: Any, max_bytes: int, writer: str) -> Put:
    """Translates a SaveRequest; see `make_put`. `writer`: who saves."""
    which = request.WhichOneof("value")
    if which is None:
        raise invalid_record("value", "is not set: a save needs a record")
    put = make_put(RECORD_KINDS[which], getattr(request, which), _expected(request, lowest=0), max_bytes, writer)
    lease = to_hold(request.lease, "lease") if request.HasField("lease") else None
    ttl_ms, fence = ttl_of(request), _fence(request)
    if put.kind is RecordKind.AGENT_PRESENCE and lease is None and not ttl_ms:
        raise invalid_record("lease", "is not set, nor is ttl: an agent's presence needs one of them")
    if lease is not None or ttl_ms or fence is not None:
        put = put._replace(lease=lease, ttl_ms=ttl_ms, fence=fence)
    return put._replace(publish=to_arrivals(request.publish, max_bytes)) if request.publish else put


def to_read(request: Any) -> Read:
    """Translates a GetRequest."""
    return Read(to_kind(request.kind), check_record_id("id", request.id))


def to_drop(request: Any, max_bytes: int, writer: str) -> Drop:
    """Translates a DeleteRequest. `writer`: who deletes."""
    kind = to_kind(request.kind)
    if kind is RecordKind.LEASE:
        raise invalid_record("kind", "is a lease: it is ended by ReleaseLease")
    id, expected = check_record_id("id", request.id), _expected(request, lowest=1)
    publish = to_arrivals(request.publish, max_bytes) if request.publish else ()
    return Drop(kind, id, expected, publish, _fence(request), writer)


def _fence(request: Any) -> Hold | None:
    return to_hold(request.fence, "fence") if request.HasField("fence") else None


def _expected(request: Any, lowest: int) -> int | None:
    if not request.HasField("expected_revision"):
        return None
    expected: int = request.expected_revision
    if expected < lowest:
        raise invalid_record("expected_revision", f"is {expected}, it must be at least {lowest}", expected)
    return expected


def to_facets(kinds: Sequence[RecordKind], filter: Any) -> Facets:
    """Translates a Filter; see `make_facets`."""
    return make_facets(kinds, {name: value for name in Facets._fields if (value := getattr(filter, name))})


class ListQuery:
    """A ListRequest, and its answer.

    Raises:
        InvalidRecordError: the kind, filter, page size or page token is invalid.
    """

    def __init__(self, request: Any) -> None:
        self.kind = to_kind(request.kind)
        self.filter = to_facets([self.kind], request.filter)
        self.limit = page_size_of(request, InvalidRecordError)
        self._question = msgspec.msgpack.encode((int(self.kind), self.filter))
        self.after = read_page_token(request.page_token, self._question, InvalidRecordError)

    def answer(self, page: Page, listed: Any) -> Any:
        """Fills a ListResponse with a page and returns it."""
        for entry in page.entries:
            _fill(listed.records.add(), entry)
        if page.more:
            listed.next_page_token = make_page_token(page.entries[-1].id, self._question)
        listed.revision = page.revision
        return listed


def to_watch_filter(request: Any) -> tuple[WatchFilter, int | None]:
    """Translates a WatchRequest into its filter and the revision that it starts after."""
    if len(request.kinds) > MAX_KINDS_NAMED:
        raise invalid_record("kinds", f"has {len(request.kinds)} entries, at most {MAX_KINDS_NAMED} are allowed")
    kinds = tuple(dict.fromkeys(to_kind(number, "kinds") for number in request.kinds)) or WATCHED_KINDS
    if request.id:
        check_record_id("id", request.id)
    if request.id or request.filter.ByteSize():
        check_single_kind(request.kinds)
    after = request.after_revision if request.HasField("after_revision") else None
    if after is not None and after < 0:
        raise invalid_record("after_revision", f"is {after}, it must not be below 0", after)
    return WatchFilter(kinds, request.id or None, to_facets(kinds, request.filter)), after


def to_operation(operation: Any, max_bytes: int, writer: str) -> Operation:
    """Translates one operation of a BatchRequest. `writer`: whose it is."""
    match operation.WhichOneof("operation"):
        case "save":
            return to_put(operation.save, max_bytes, writer)
        case "get":
            return to_read(operation.get)
        case "delete":
            return to_drop(operation.delete, max_bytes, writer)
    raise invalid_record("operation", "is not set")


def _fill(record: Any, entry: Entry) -> None:
    record.revision = entry.revision
    setattr(record, _LABELS[entry.kind], entry.body)
    fill_written(record, entry.written)


def fill_got(got: Any, entry: Entry) -> Any:
    """Fills a GetResponse and returns it. Filling in place costs a third of passing the fields."""
    _fill(got.record, entry)
    return got


def found(read: Read, result: Result) -> Entry:
    """Returns the entry of a read's result; raises `RecordNotFoundError` if there is none."""
    if not isinstance(result, Entry):
        label = read.kind.label
        raise RecordNotFoundError(f"there is no {label} {read.id!r}", details={"kind": label, "id": read.id})
    return result


def to_deleted(result: Result) -> dict[str, bool | int]:
    """Returns the fields of a DeleteResponse for the result of a delete."""
    revision = result if isinstance(result, int) else 0
    return {"deleted": revision > 0, "revision": revision}


def to_frame(event: Event) -> bytes:
    """Returns the encoded WatchResponse of an event."""
    match event:
        case Entry():
            frame = WatchResponse()
            _fill(frame.record, event)
        case Left(kind, id, revision, deleted, reason, written):
            left = {"kind": kind, "id": id, "revision": revision, "deleted": deleted}
            frame = WatchResponse(left=left | ({"reason": reason} if deleted else {}))
            fill_written(frame.left, written)
        case Synced(revision):
            frame = WatchResponse(synced={"revision": revision})
        case Progress(revision):
            frame = WatchResponse(progress={"revision": revision})
    encoded: bytes = frame.SerializeToString()
    return encoded
