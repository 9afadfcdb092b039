"""The errors: one class for each row of the table, the same in services, clients and on the wire."""

from __future__ import annotations

import copy
import json
import pickle

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trunkline
from trunkline import errors
from trunkline.bus.life_codec import encode_failure
from trunkline.errors import (
    ERRORS,
    BusDisconnectedError,
    InvalidChannelError,
    MessageBusError,
    RequestFailedError,
    StateError,
    TrunklineError,
    from_wire,
)
from trunkline.v1.life_pb2 import LifeEvent

TABLE = [
    ("INVALID_CHANNEL", "InvalidChannelError", "INVALID_ARGUMENT", MessageBusError),
    ("INVALID_MESSAGE", "InvalidMessageError", "INVALID_ARGUMENT", MessageBusError),
    ("INVALID_RECORD", "InvalidRecordError", "INVALID_ARGUMENT", StateError),
    ("MESSAGE_TOO_LARGE", "MessageTooLargeError", "INVALID_ARGUMENT", MessageBusError),
    ("NO_RESPONDERS", "NoRespondersError", "FAILED_PRECONDITION", MessageBusError),
    ("REQUEST_TIMEOUT", "RequestTimeoutError", "DEADLINE_EXCEEDED", MessageBusError),
    ("BUS_NOT_CONNECTED", "BusNotConnectedError", "FAILED_PRECONDITION", MessageBusError),
    ("BUS_DISCONNECTED", "BusDisconnectedError", "UNAVAILABLE", MessageBusError),
    ("REVISION_MISMATCH", "RevisionMismatchError", "ABORTED", StateError),
    ("COMPACTED", "CompactedError", "OUT_OF_RANGE", StateError),
    ("OVERLOADED", "OverloadedError", "RESOURCE_EXHAUSTED", MessageBusError),
    ("UNAUTHENTICATED", "UnauthenticatedError", "UNAUTHENTICATED", MessageBusError),
    ("PERMISSION_DENIED", "PermissionDeniedError", "PERMISSION_DENIED", MessageBusError),
]


@pytest.mark.parametrize(("code", "name", "status", "base"), TABLE, ids=[row[0] for row in TABLE])
def test_every_row_of_the_table_has_its_class(code: str, name: str, status: str, base: type[TrunklineError]) -> None:
    """One class per row, below MessageBusError or StateError, with its code and its gRPC status; handed out by name."""
    cls = ERRORS[code]
    assert cls is getattr(trunkline, name)
    assert issubclass(cls, base)
    assert (cls.error_code, cls.status) == (code, status)
    assert cls("words").error_code == code


def test_every_class_has_a_status_that_grpc_knows_and_a_code_of_its_own() -> None:
    """No two classes share a code, and each status is one of gRPC's."""
    leaves = [cls for cls in ERRORS.values() if cls not in {MessageBusError, StateError}]
    assert len({cls.error_code for cls in leaves}) == len(leaves)
    assert all(hasattr(grpc.StatusCode, cls.status) for cls in ERRORS.values())
    assert set(ERRORS) >= {row[0] for row in TABLE}


def test_the_tree_is_drawn_at_the_head_of_the_file() -> None:
    """The tree stands drawn at the head of the file, with every class and its code."""
    drawn = errors.__doc__ or ""
    for cls in ERRORS.values():
        assert cls.__name__ in drawn
        if cls not in {MessageBusError, StateError}:
            assert cls.error_code in drawn


def test_an_error_describes_itself() -> None:
    """TrunklineError(message, error_code, details) with to_dict(): error_type, message, error_code, details."""
    error = TrunklineError("what was wrong", "A_CODE", {"size": 5})
    assert str(error) == "what was wrong"
    assert error.to_dict() == {
        "error_type": "TrunklineError",
        "message": "what was wrong",
        "error_code": "A_CODE",
        "details": {"size": 5},
    }
    json.dumps(error.to_dict())
    assert TrunklineError("x").to_dict() == {
        "error_type": "TrunklineError",
        "message": "x",
        "error_code": "TRUNKLINE_ERROR",
        "details": {},
    }


def test_details_are_copied() -> None:
    """Neither the caller's mapping nor what to_dict gave out changes the error."""
    given_details = {"a": 1}
    error = TrunklineError("x", details=given_details)
    given_details["a"] = 2
    error.to_dict()["details"]["a"] = 3
    assert error.details == {"a": 1}


@pytest.mark.parametrize("cls", [TrunklineError, *ERRORS.values()])
def test_errors_pass_between_processes(cls: type[TrunklineError]) -> None:
    """Pickling and copying keep class, message, code and details."""
    error = cls("words", "OTHER_CODE", {"a": [1, None]})
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is cls
        assert copied.to_dict() == error.to_dict()
        assert copied.args == error.args


@given(st.sampled_from(sorted(ERRORS)), st.text(), st.data())
def test_the_wire_gives_back_the_same_error(code: str, message: str, data: st.DataObject) -> None:
    """metadata() and from_wire() are inverse: class, words, text and figures."""
    cls = ERRORS[code]
    details: dict[str, object] = {
        key: data.draw(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False))
        for key in cls.figures
    }
    names = st.text(min_size=1).filter(lambda name: name not in cls.figures)
    details |= data.draw(st.dictionaries(names, st.text(), max_size=3))
    error = cls(message, details=details)
    back = from_wire(error.error_code, error.message, error.metadata())
    assert type(back) is cls
    assert back.to_dict() == error.to_dict()


def test_an_unknown_reason_stays_readable() -> None:
    """A newer service's reason becomes a plain TrunklineError with that code; odd figures stay text."""
    error = from_wire("NEW_REASON", "words", {"a": "1"})
    assert type(error) is TrunklineError
    assert (error.error_code, error.details) == ("NEW_REASON", {"a": "1"})
    assert from_wire("MESSAGE_TOO_LARGE", "words", {"size": "many", "limit": ""}).details == {
        "size": "many",
        "limit": "",
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BusDisconnectedError("lost"), True),
        (TrunklineError("no keys", "KEYS_UNAVAILABLE"), True),
        (InvalidChannelError("none"), False),
        (TrunklineError("mine", "MY_CODE"), False),
        (TrunklineError("mine", "MY_CODE", {"retryable": True}), True),
        (RequestFailedError("failed"), False),
        (RequestFailedError("failed", details={"retryable": True}), True),
    ],
)
def test_an_error_says_whether_the_same_may_succeed_later(error: TrunklineError, expected: bool) -> None:
    """By its code, or as whoever raised it said."""
    assert error.retryable is expected
    error.retryable = not expected
    assert error.retryable is not expected


class _TriedAgainError(TrunklineError):
    retryable = True


class _NeverAgainError(TrunklineError):
    retryable = False


@pytest.mark.parametrize(
    ("error", "of_a_request", "of_a_task"),
    [
        (OSError("busy"), False, True),
        (InvalidChannelError("none"), False, True),
        (BusDisconnectedError("lost"), True, True),
        (TrunklineError("mine", details={"retryable": False}), False, False),
        (_TriedAgainError("mine"), True, True),
        (_NeverAgainError("mine"), False, False),
    ],
)
def test_what_a_handler_raises_says_whether_it_may_be_tried_again(
    error: Exception, of_a_request: bool, of_a_task: bool
) -> None:
    """A task is tried again unless its handler's error says no, a request only where it says yes."""
    for default, expected in ((False, of_a_request), (True, of_a_task)):
        event = LifeEvent.FromString(encode_failure(error, with_traceback=False, retryable=default))
        assert event.failure.retryable is expected
