"""Between the wire's requests and the domain: each is checked, and what comes of it is put into the answer's words.

Records pass as encoded bytes: requests and answers are the opaque twins of the public types (`trunkline.wire.opaque`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from trunkline.errors import MessageTooLargeError, RecordNotFoundError
from trunkline.limits import DEFAULT_PAGE_SIZE, MAX_BATCH_OPERATIONS, MAX_PAGE_SIZE
from trunkline.wire.opaque import state_passthrough
from trunklined.state.records import (
    ANY,
    FACETS_OF,
    Drop,
    Entry,
    Facets,
    Kind,
    Operation,
    Page,
    Put,
    Read,
    Result,
)
from trunklined.state.watch import Event, Interest, Left, Progress, Synced
from trunklined.state.wire import page_token
from trunklined.state.wire.validation import check_id, invalid, read_record

_twins = state_passthrough()
SaveRequest = _twins["SaveRequest"]
SaveResponse = _twins["SaveResponse"]
DeleteResponse = _twins["DeleteResponse"]
BatchRequest = _twins["BatchRequest"]
ConnectStateRequest = _twins["ConnectStateRequest"]
ConnectStateResponse = _twins["ConnectStateResponse"]
GetResponse = _twins["GetResponse"]
ListResponse = _twins["ListResponse"]
BatchResponse = _twins["BatchResponse"]
BatchOutcome = _twins["BatchResponse.Outcome"]
WatchResponse = _twins["WatchResponse"]

_KINDS: Final = {kind.label: kind for kind in Kind}
_LABELS: Final = {kind: kind.label for kind in Kind}


def to_kind(number: int, field: str = "kind") -> Kind:
    """The kind of a wire enum's number."""
    try:
        return Kind(number)
    except ValueError:
        raise invalid(field, f"is {number}, it must be one of RecordKind's", number) from None


def to_put(request: Any, max_bytes: int) -> Put:
    """A save."""
    which = request.WhichOneof("value")
    if which is None:
        raise invalid("value", "is not set: a save needs a record")
    came = getattr(request, which)
    if len(came) > max_bytes:
        raise _too_large(len(came), max_bytes)
    kind = _KINDS[which]
    id, facets, body = read_record(kind, came)
    if len(body) > max_bytes:  # with the times that it lacked
        raise _too_large(len(body), max_bytes)
    return Put(kind, id, body, facets, _expected(request, lowest=0))


def _too_large(size: int, limit: int) -> MessageTooLargeError:
    return MessageTooLargeError(
        f"the record has {size} bytes, at most {limit} are allowed", details={"size": size, "limit": limit}
    )


def to_read(request: Any) -> Read:
    """A get."""
    return Read(to_kind(request.kind), check_id("id", request.id))


def to_drop(request: Any) -> Drop:
    """A delete."""
    return Drop(to_kind(request.kind), check_id("id", request.id), _expected(request, lowest=1))


def _expected(request: Any, lowest: int) -> int | None:
    if not request.HasField("expected_revision"):
        return None
    expected: int = request.expected_revision
    if expected < lowest:
        raise invalid("expected_revision", f"is {expected}, it must be at least {lowest}", expected)
    return expected


def to_facets(kinds: Sequence[Kind], wanted: Any) -> Facets:
    """A filter. Raises `InvalidRecordError` for a field that a kind does not have."""
    asked = {name: value for name in Facets._fields if (value := getattr(wanted, name))}
    if not asked:
        return ANY
    for kind in kinds:
        for name in asked.keys() - FACETS_OF[kind]:
            raise invalid(f"filter.{name}", f"is no field of {kind.label}", asked[name])
    return Facets(**asked)


class Question:
    """A list: what is asked, and the answer to it."""

    def __init__(self, request: Any) -> None:
        self.kind = to_kind(request.kind)
        self.wanted = to_facets([self.kind], request.filter)
        size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE_SIZE
        if size < 1:
            raise invalid("page_size", f"is {size}, it must be at least 1", size)
        self.limit = min(size, MAX_PAGE_SIZE)
        self.after = page_token.take(request.page_token, self.kind, self.wanted) if request.page_token else None

    def answer(self, page: Page, listed: Any) -> Any:
        """Fills a ListResponse with a page, and returns it."""
        for entry in page.entries:
            _fill(listed.records.add(), entry)
        if page.more:
            listed.next_page_token = page_token.give(self.kind, self.wanted, page.entries[-1].id)
        listed.revision = page.revision
        return listed


def to_interest(request: Any) -> tuple[Interest, int | None]:
    """A watch: what is wanted, and after which revision."""
    kinds = tuple(dict.fromkeys(to_kind(number, "kinds") for number in request.kinds)) or tuple(Kind)
    if request.id:
        check_id("id", request.id)
    if len(kinds) != 1 and (request.id or request.filter.ByteSize()):
        raise invalid("kinds", f"names {len(request.kinds)} kinds, with an id or a filter it must be exactly one")
    after = request.after_revision if request.HasField("after_revision") else None
    if after is not None and after < 0:
        raise invalid("after_revision", f"is {after}, it must not be below 0", after)
    return Interest(kinds, request.id or None, to_facets(kinds, request.filter)), after


def to_operation(operation: Any, max_bytes: int) -> Operation:
    """One operation of a batch."""
    match operation.WhichOneof("operation"):
        case "save":
            return to_put(operation.save, max_bytes)
        case "get":
            return to_read(operation.get)
        case "delete":
            return to_drop(operation.delete)
    raise invalid("operation", "is not set")


def check_batch(request: Any) -> None:
    """Raises `InvalidRecordError` unless a batch has 1 to 10,000 operations."""
    count = len(request.operations)
    if not 1 <= count <= MAX_BATCH_OPERATIONS:
        raise invalid("operations", f"has {count} entries, it must have 1 to {MAX_BATCH_OPERATIONS}", count)


def _fill(record: Any, entry: Entry) -> None:
    record.revision = entry.revision
    setattr(record, _LABELS[entry.kind], entry.body)


def fill_got(got: Any, entry: Entry) -> Any:
    """Fills a GetResponse, and returns it. In place: it costs a third of handing fields over."""
    _fill(got.record, entry)
    return got


def found(wanted: Read, result: Result) -> Entry:
    """What a read found; raises `RecordNotFoundError` where there is nothing."""
    if not isinstance(result, Entry):
        label = wanted.kind.label
        raise RecordNotFoundError(f"there is no {label} {wanted.id!r}", details={"kind": label, "id": wanted.id})
    return result


def to_deleted(result: Result) -> dict[str, bool | int]:
    """The fields of the answer to a delete."""
    revision = result if isinstance(result, int) else 0
    return {"deleted": revision > 0, "revision": revision}


def to_frame(event: Event) -> bytes:
    """A watch's event as its encoded WatchResponse."""
    match event:
        case Entry():
            frame = WatchResponse()
            _fill(frame.record, event)
        case Left(kind, id, revision, deleted):
            frame = WatchResponse(left={"kind": kind, "id": id, "revision": revision, "deleted": deleted})
        case Synced(revision):
            frame = WatchResponse(synced={"revision": revision})
        case Progress(revision):
            frame = WatchResponse(progress={"revision": revision})
    encoded: bytes = frame.SerializeToString()
    return encoded
