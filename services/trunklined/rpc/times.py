"""The wire's times: what is taken at the border, and conversion to seconds and UNIX time in seconds, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import TrunklineError

FIRST_SECOND: Final = -62_135_596_800
LAST_SECOND: Final = 253_402_300_799
"""0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z (google/protobuf/timestamp.proto)."""
LONGEST_SECONDS: Final = 315_576_000_000
"""Of a duration, either way: 10,000 years (google/protobuf/duration.proto)."""
NANOS: Final = 1_000_000_000
"""Of a second."""

Invalid = Callable[[str, str, object], TrunklineError]
"""Makes the error of a field: its name, what is wrong with it, and its value."""


def check_time(field: str, stamp: Timestamp, invalid: Invalid) -> None:
    """Raises `invalid` for a time that is none by google/protobuf/timestamp.proto: languages and JSON cannot say it."""
    if not FIRST_SECOND <= stamp.seconds <= LAST_SECOND:
        raise invalid(field, f"is {stamp.seconds} s since 1970, beyond the years 1 to 9999", stamp.seconds)
    if not 0 <= stamp.nanos < NANOS:
        raise invalid(field, f"has {stamp.nanos} nanoseconds, it must be 0 to 999,999,999", stamp.nanos)


def check_duration(field: str, duration: Duration, invalid: Invalid) -> None:
    """Raises `invalid` for a duration that is none by google/protobuf/duration.proto."""
    seconds, nanos = duration.seconds, duration.nanos
    if not -LONGEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise invalid(field, f"is {seconds} s, it must be within 10,000 years", seconds)
    if not -NANOS < nanos < NANOS or seconds * nanos < 0:
        raise invalid(
            field, f"has {nanos} nanoseconds, it must be 0 to 999,999,999 with the sign of its seconds", nanos
        )


def seconds_of(duration: Duration) -> float:
    """Returns the seconds of a duration."""
    return duration.seconds + duration.nanos / 1e9


def duration_of(seconds: float) -> Duration:
    """Returns the duration of some seconds."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def time_of(stamp: Timestamp) -> float:
    """Returns the UNIX time of a timestamp, in seconds."""
    return stamp.seconds + stamp.nanos / 1e9


def stamp_of(time: float) -> Timestamp:
    """Returns the timestamp of a UNIX time in seconds."""
    stamp = Timestamp()
    stamp.FromNanoseconds(int(time * 1e9))
    return stamp
