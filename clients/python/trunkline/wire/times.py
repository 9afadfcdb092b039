"""Times of the wire as Python has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def to_datetime(seconds: int, nanos: int) -> datetime:
    """Returns the time so long after 1970, rounded down to the microsecond.

    A time beyond the years 1 to 9999 comes as the first or the last that Python has: services refuse it, but what an
    older one stored is to be seen.
    """
    try:
        return EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1_000)
    except OverflowError:
        return _LAST if seconds > 0 else _FIRST
