"""Times of the wire as Python has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from trunkline.wire.encoding import write_varint

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT_SECONDS: Final = 2**32
"""Below this a float holds a time to the microsecond, and the quicker conversion is exact."""
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def to_datetime(seconds: int, nanos: int) -> datetime:
    """Returns the time so long after 1970, rounded down to the microsecond.

    A time beyond the years 1 to 9999 comes as the first or the last that Python has: services refuse it, but what an
    older one stored is to be seen.
    """
    if 0 <= seconds < _EXACT_SECONDS and 0 <= nanos < 1_000_000_000:
        return datetime.fromtimestamp(seconds + nanos // 1_000 / 1e6, UTC)
    try:
        return EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1_000)
    except OverflowError:
        return _LAST if seconds > 0 else _FIRST


def encode_datetime(time: datetime) -> bytes:
    """Writes a time as a google.protobuf.Timestamp."""
    since = time - EPOCH
    return encode_stamp(since.days * 86_400 + since.seconds, since.microseconds * 1_000)


def encode_stamp(seconds: int, nanos: int) -> bytes:
    """Writes a google.protobuf.Timestamp."""
    return _encode_seconds(seconds) + _encode_nanos(nanos)


@lru_cache(maxsize=64)
def _encode_seconds(seconds: int) -> bytes:
    return b"\x08" + write_varint(seconds) if seconds else b""


def _encode_nanos(nanos: int) -> bytes:
    low, next_low, middle, high = nanos & 127 | 128, nanos >> 7 & 127 | 128, nanos >> 14 & 127 | 128, nanos >> 21
    if high >= 128:  # three times out of four
        return bytes((16, low, next_low, middle, high & 127 | 128, high >> 7))
    if high:
        return bytes((16, low, next_low, middle, high))
    return b"\x10" + write_varint(nanos) if nanos else b""
