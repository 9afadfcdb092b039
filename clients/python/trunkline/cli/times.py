"""Times, ages and spans, as people write them on a command line and want to read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from trunkline.delivery import Start

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
MAX_SPAN_SECONDS: Final = 100 * 366 * 86_400.0
"""A longer span is a typing error; one that is shorter and still too long is refused by the service."""
_MAX_SEQUENCE: Final = 2**63 - 1


def _seconds(text: str) -> float | None:
    """Returns the seconds of `90s`, `5m`, `1h30m`, `2d`, `1w`; None for other text."""
    if not _SPAN.fullmatch(text):
        return None
    return sum(float(figure) * _UNITS[unit] for figure, unit in _PART.findall(text))


# The types of options: click names the option where one of them raises.


def read_span(text: str) -> float:
    """Returns seconds, from a plain number or with units: `90`, `0.5`, `5m`, `1h30m`."""
    seconds = _seconds(text)
    if seconds is None:
        try:
            seconds = float(text)
        except ValueError:
            raise click.BadParameter(f"{text!r} is neither seconds nor a span such as 90s, 5m or 1h30m") from None
    if not abs(seconds) <= MAX_SPAN_SECONDS:  # also true of NaN
        raise click.BadParameter(f"{text!r} is no span that anybody could wait for")
    return seconds


def read_time(text: str) -> datetime:
    """Returns a time with its zone, from ISO 8601; without a zone it is this machine's."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no time such as 2026-01-31T03:00 or 2026-01-31T03:00:00Z") from None


def read_past(text: str) -> datetime:
    """Returns a time as `read_time` reads it, or an age before now: `2h`."""
    age = _seconds(text)
    if age is None:
        try:
            return read_time(text)
        except click.BadParameter as error:
            raise click.BadParameter(f"{error.message}, nor an age such as 30m or 2h") from None
    try:
        return datetime.now(UTC) - timedelta(seconds=age)
    except OverflowError:
        raise click.BadParameter(f"{text!r} is before the calendar begins") from None


def read_start(text: str) -> Start:
    """Returns where a durable subscription starts: `new`, `all`, a sequence, a time or an age."""
    if text in ("new", "all"):
        return "new" if text == "new" else "all"
    if re.fullmatch(r"-?\d+", text):
        if abs(int(text)) > _MAX_SEQUENCE:
            raise click.BadParameter(f"{text} is no sequence: the largest is {_MAX_SEQUENCE}")
        return int(text)
    try:
        return read_past(text)
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message}; nor is it new, all or a sequence") from None


def json_time(time: datetime) -> str:
    """Returns a time in RFC 3339, in UTC, as protobuf writes it in JSON: its fraction has no, three or six digits."""
    precision = "microseconds" if time.microsecond % 1_000 else "milliseconds" if time.microsecond else "seconds"
    return time.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def local_time(time: datetime) -> str:
    """Returns date and time here, to the second; in UTC where the calendar ends before."""
    try:
        return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return f"{time:%Y-%m-%d %H:%M:%S}"


def time_of_day(time: datetime) -> str:
    """Returns the time of day here, to the millisecond."""
    here = time.astimezone()
    return f"{here:%H:%M:%S}.{here.microsecond // 1000:03d}"


def age_of(time: datetime) -> str:
    """Returns how long ago a time was, from 1 s."""
    return span(max(1, round((datetime.now(UTC) - time).total_seconds())))


def span(seconds: float) -> str:
    """Returns a span as short as it may be: `350 ms`, `1.2 s`, `4m 10s`, `2h 5m`, `3d 4h`."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for large, small, unit in (("d", "h", 86_400), ("h", "m", 3_600), ("m", "s", 60)):
        if whole >= unit:
            rest = whole % unit // _UNITS[small]
            return f"{whole // unit}{large}" + (f" {rest}{small}" if rest else "")
    return f"{whole} s"
