"""The sidecar's counts: plain ints, made into Prometheus metrics when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trunklined.forwarding.forwarder import Forwarder
from trunklined.sidecar.door import Door
from trunklined.sidecar.lines.bridges import LineBridges
from trunklined.sidecar.offline.store_and_forward import StoreAndForward


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that count."""

    forwarders: tuple[Forwarder, ...]
    lines: LineBridges | None
    store: StoreAndForward | None
    door: Door | None


class SidecarCollector(Collector):
    """The sidecar's metrics; its forwarded calls are counted as every program's calls are."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Runs in the metrics server's thread."""
        up = GaugeMetricFamily("trunkline_sidecar_upstream_up", "Whether an upstream is connected.", labels=["service"])
        for forwarder in self._parts.forwarders:
            up.add_metric([forwarder.service], int(forwarder.is_connected))
        yield up
        if self._parts.store is not None:
            yield from _of_store(self._parts.store)
        if self._parts.lines is not None:
            yield from _of_lines(self._parts.lines)
        yield CounterMetricFamily(
            "trunkline_sidecar_clients_denied",
            "Clients of the UNIX sockets that were sent away.",
            sum(each.denied for each in (self._parts.lines, self._parts.door) if each is not None),
        )


def _of_store(store: StoreAndForward) -> Iterator[Metric]:
    stock, relay = store.backlog.stock, store.drain.relay
    yield GaugeMetricFamily("trunkline_sidecar_held_messages", "Messages held for the bus now.", stock.messages)
    yield GaugeMetricFamily("trunkline_sidecar_held_bytes", "Their bytes.", stock.bytes)
    yield GaugeMetricFamily(
        "trunkline_sidecar_set_aside_messages", "Messages that the bus refused, in the file now.", stock.refused
    )
    yield CounterMetricFamily("trunkline_sidecar_kept", "Messages taken because the bus was away.", stock.kept)
    yield CounterMetricFamily("trunkline_sidecar_forwarded", "Held messages that the bus took.", relay.forwarded)
    yield CounterMetricFamily("trunkline_sidecar_refused", "Held messages that the bus refused.", relay.refused)
    yield CounterMetricFamily(
        "trunkline_sidecar_possible_duplicates",
        "Held messages that the bus may have stored twice.",
        relay.possible_duplicates,
    )


def _of_lines(bridges: LineBridges) -> Iterator[Metric]:
    all_counts = bridges.statistics()

    def summed(name: str) -> int:
        return sum(getattr(counts, name) for counts in all_counts)

    lines = CounterMetricFamily("trunkline_sidecar_lines", "Lines on the UNIX socket.", labels=["direction"])
    lines.add_metric(["in"], summed("lines_in"))
    lines.add_metric(["out"], summed("lines_out"))
    yield lines
    yield CounterMetricFamily("trunkline_sidecar_lines_failed", "Lines answered with an error.", summed("failed"))
    yield GaugeMetricFamily("trunkline_sidecar_clients", "Clients of the UNIX socket now.", summed("clients"))
    yield GaugeMetricFamily("trunkline_sidecar_pending_lines", "Lines being worked on now.", summed("pending"))
