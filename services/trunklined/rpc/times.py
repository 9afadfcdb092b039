"""Times as the wire has them, and as the programs do: seconds, and UNIX time in seconds."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def seconds_of(duration: Duration) -> float:
    """The seconds of a duration."""
    return duration.seconds + duration.nanos / 1e9


def duration_of(seconds: float) -> Duration:
    """The duration of some seconds."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def time_of(stamp: Timestamp) -> float:
    """The UNIX time of a timestamp, in seconds."""
    return stamp.seconds + stamp.nanos / 1e9


def stamp_of(time: float) -> Timestamp:
    """The timestamp of a UNIX time in seconds."""
    stamp = Timestamp()
    stamp.FromNanoseconds(int(time * 1e9))
    return stamp
