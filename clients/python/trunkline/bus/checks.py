"""What may be wished of a stored message and of a durable subscription: checked in one place for every bus."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from trunkline.channels import check_name, check_pattern
from trunkline.delivery import DurableSettings, Start, check_delivery
from trunkline.errors import InvalidMessageError


def check_start(start: Start) -> None:
    """Raises InvalidMessageError where that is no place to start at. Which sequences there are, the bus knows."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise InvalidMessageError(
                f"start is {start.isoformat()}, which has no time zone", details={"field": "start", "value": str(start)}
            )
        return
    if isinstance(start, int) and not isinstance(start, bool):
        return
    if start not in ("new", "all"):
        raise InvalidMessageError(
            f"start is {start!r}: 'new', 'all', a sequence or a time", details={"field": "start", "value": str(start)}
        )


def check_durable(
    name: str,
    pattern: str,
    start: Start,
    settings: DurableSettings | None,
    *,
    group: str | None = None,
    observer: bool = False,
    on_lagged: Callable[[int], None] | None = None,
) -> None:
    """Raises InvalidChannelError or InvalidMessageError where a durable subscription cannot be opened as it is wished:
    also where something is wished that only live ones have."""
    check_name("durable", name)
    check_pattern(pattern)
    check_start(start)
    if settings is not None:
        settings.check()
    for option, value, why in (
        ("group", group, "all who name it are one group already"),
        ("observer", observer or None, "whoever takes from it settles what it takes"),
        ("on_lagged", on_lagged, "it drops nothing"),
    ):
        if value is not None:
            raise InvalidMessageError(
                f"{option} is {value!r}, which the durable subscription {name!r} does not have: {why}",
                details={"field": option, "value": str(value)},
            )


def check_live(start: Start, settings: DurableSettings | None, on_paused: Callable[[bool], None] | None = None) -> None:
    """Raises InvalidMessageError where a live subscription is asked for with what only a durable one has."""
    for name, value, unset in (("start", start, "new"), ("settings", settings, None), ("on_paused", on_paused, None)):
        if value != unset:
            raise InvalidMessageError(
                f"{name} is {value!r}, but durable is not set: only a durable subscription has it",
                details={"field": name, "value": str(value)},
            )


def check_stored(
    stored: bool, ordering_key: str | None, deliver_at: datetime | None, deliver_after: float | None
) -> None:
    """Raises InvalidMessageError where a message cannot be published as it is wished."""
    if not stored:
        for name, value in (
            ("ordering_key", ordering_key),
            ("deliver_at", deliver_at),
            ("deliver_after", deliver_after),
        ):
            if value is not None:
                raise InvalidMessageError(
                    f"{name} is {value!s}: only a stored message has it (stored=True)",
                    details={"field": name, "value": str(value)},
                )
        return
    check_delivery(ordering_key, deliver_at, deliver_after)
