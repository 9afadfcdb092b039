"""Times and durations at the border of every service: one rule for all fields."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import InvalidMessageError, TrunklineError
from trunklined.rpc.times import FIRST_SECOND, LAST_SECOND, LONGEST_SECONDS, check_duration, check_time


def _invalid(field: str, problem: str, value: object) -> TrunklineError:
    return InvalidMessageError(f"{field} {problem}", details={"field": field, "value": str(value)})


@pytest.mark.parametrize(
    ("seconds", "nanos", "value"),
    [
        (LAST_SECOND + 1, 0, LAST_SECOND + 1),
        (2**63 - 1, 0, 2**63 - 1),
        (-(2**63), 0, -(2**63)),
        (FIRST_SECOND - 1, 0, FIRST_SECOND - 1),
        (0, -1, -1),
        (0, 1_000_000_000, 1_000_000_000),
    ],
)
def test_a_time_that_no_language_can_say_is_refused(seconds: int, nanos: int, value: int) -> None:
    """By its field and its value."""
    with pytest.raises(InvalidMessageError, match=r"^timestamp ") as caught:
        check_time("timestamp", Timestamp(seconds=seconds, nanos=nanos), _invalid)
    assert caught.value.details == {"field": "timestamp", "value": str(value)}


@pytest.mark.parametrize(("seconds", "nanos"), [(FIRST_SECOND, 0), (LAST_SECOND, 999_999_999), (0, 0)])
def test_the_years_1_to_9999_are_taken(seconds: int, nanos: int) -> None:
    """As protobuf's own text of a time has them."""
    stamp = Timestamp(seconds=seconds, nanos=nanos)
    check_time("timestamp", stamp, _invalid)
    assert stamp.ToJsonString()


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(LONGEST_SECONDS + 1, 0), (-LONGEST_SECONDS - 1, 0), (2**63 - 1, 0), (1, -1), (-1, 1), (0, 10**9), (0, -(10**9))],
)
def test_a_duration_that_is_none_is_refused(seconds: int, nanos: int) -> None:
    """By its field."""
    with pytest.raises(InvalidMessageError, match=r"^delay "):
        check_duration("delay", Duration(seconds=seconds, nanos=nanos), _invalid)


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (1, 1), (-1, -1), (0, -1), (LONGEST_SECONDS, 0)])
def test_durations_are_taken_whatever_their_sign(seconds: int, nanos: int) -> None:
    """What a call takes of them is its own affair."""
    check_duration("delay", Duration(seconds=seconds, nanos=nanos), _invalid)
