"""Traffic: what the three programs counted themselves, before and after."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from trunkline import sync
from trunkline.demo.limits import END_SECONDS
from trunkline.demo.programs import Addresses

T = TypeVar("T")

_BUS_COUNTS: Final = ("published", "stored", "duplicates", "delivered", "dropped", "requests")
_LINES: Final = "trunkline_sidecar_lines_total"
_CALLS: Final = ("trunkline_rpc_calls_total", "trunkline_rpc_open_calls")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts of one moment, or of a span of time.

    Args:
        published, stored, duplicates, delivered, dropped, requests: the bus's own (GetStats). Duplicates were published
            again and not stored again; delivered counts copies.
        saves, commits, reads: the state service's own (GetStateStats).
        streams, lines_in, lines_out: the sidecar's own (its Prometheus page); None where that page is not known.
    """

    published: int
    stored: int
    duplicates: int
    delivered: int
    dropped: int
    requests: int
    saves: int
    commits: int
    reads: int
    streams: int | None
    lines_in: int | None
    lines_out: int | None

    def since(self, before: Traffic) -> Traffic:
        """What came to pass since another moment."""
        differences: dict[str, Any] = {
            f.name: _minus(getattr(self, f.name), getattr(before, f.name)) for f in fields(self)
        }
        return Traffic(**differences)


class Meter:
    """Counts from when it is made, over the death of the bus too."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._before = read(addresses)

    def total(self) -> Traffic:
        """What came to pass so far."""
        return read(self._addresses).since(self._before)

    def over(self, interruption: Callable[[], T]) -> T:
        """Does what lets the bus begin anew, from 0. What it counts between the question and its end is not seen."""
        last = read(self._addresses)
        result = interruption()
        first = read(self._addresses).since(last)
        shifted: dict[str, Any] = {name: getattr(self._before, name) + getattr(first, name) for name in _BUS_COUNTS}
        self._before = replace(self._before, **shifted)
        return result


def read(addresses: Addresses) -> Traffic:
    """Asks the three programs."""
    with sync.MessageBus(addresses.bus) as bus_client, sync.StateManager(addresses.state) as state_client:
        bus, state = bus_client.statistics(), state_client.statistics()
    sidecar = _sidecar(addresses.metrics) if addresses.metrics else None
    return Traffic(
        published=bus.published,
        stored=bus.stored,
        duplicates=bus.duplicates,
        delivered=bus.delivered,
        dropped=sum(bus.dropped.values()),
        requests=bus.requests,
        saves=state.saves,
        commits=state.commits,
        reads=state.gets + state.lists,
        streams=sidecar["streams"] if sidecar is not None else None,
        lines_in=sidecar["in"] if sidecar is not None else None,
        lines_out=sidecar["out"] if sidecar is not None else None,
    )


def _sidecar(address: str) -> Counter[str]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=END_SECONDS) as page:
        text = page.read().decode()
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _LINES:
                counts[sample.labels["direction"]] += int(sample.value)
            elif sample.name in _CALLS and sample.labels["method"].startswith("/trunkline.v1."):
                counts["streams"] += int(sample.value)
    return counts


def _minus(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before
