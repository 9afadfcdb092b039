"""Conversion of the wire's times to seconds and UNIX time in seconds, and back."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


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
