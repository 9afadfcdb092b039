"""The state service's metrics: read from its own counts when they are scraped, so that counting costs nothing more."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from trunklined.relay.journal import Stock
from trunklined.relay.outbox import OutboxRelay
from trunklined.state.store import Store


class Connections(Protocol):
    """The source of the number of connected client libraries."""

    @property
    def connections(self) -> int:
        """Number of connected client libraries now."""


class StateCollector(Collector):
    """The metrics of the state service: operations, errors by reason, records, waiting writes, and commit latency."""

    def __init__(self, store: Store, connections: Connections) -> None:
        self._store = store
        self._connections = connections

    def collect(self) -> Iterable[Metric]:
        """Yields a snapshot of all metrics. Runs in the metrics server's thread, so it copies before it iterates."""
        store, counts = self._store, self._store.counts
        operations = CounterMetricFamily("trunkline_state_operations", "Operations done.", labels=["operation"])
        for name in ("saves", "gets", "lists", "deletes"):
            operations.add_metric([name.removesuffix("s")], getattr(counts, name))
        yield operations
        errors = CounterMetricFamily("trunkline_state_errors", "Operations that failed, by reason.", labels=["reason"])
        for reason, count in counts.errors.copy().items():
            errors.add_metric([reason], count)
        yield errors
        holdings = store.engine.holdings
        records = GaugeMetricFamily("trunkline_state_records", "Records now, by kind.", labels=["kind"])
        for kind, count in holdings.records.items():
            records.add_metric([kind.label], count)
        yield records
        yield GaugeMetricFamily("trunkline_state_revision", "The store's revision.", value=holdings.revision)
        yield GaugeMetricFamily("trunkline_state_waiting_writes", "Writes that wait for a commit.", value=store.waiting)
        yield GaugeMetricFamily("trunkline_state_watchers", "Watches now.", value=len(store.watchers))
        yield GaugeMetricFamily(
            "trunkline_state_connections", "Client libraries connected now.", value=self._connections.connections
        )
        yield HistogramMetricFamily(
            "trunkline_state_commit_seconds",
            "Time that commits took, of many writes each.",
            buckets=counts.commit_latency.cumulative(),
            sum_value=counts.commit_latency.total,
        )
        if store.relay is not None:
            yield from _of_outbox(store.engine.outbox.stock, store.relay)


def _of_outbox(stock: Stock, outbox: OutboxRelay) -> Iterable[Metric]:
    oldest_at = stock.oldest_at
    yield GaugeMetricFamily(
        "trunkline_state_outbox_bus_up", "Whether the bus is connected.", value=int(outbox.link.is_connected)
    )
    yield GaugeMetricFamily("trunkline_state_outbox_waiting", "Messages that wait for the bus.", value=stock.messages)
    yield GaugeMetricFamily("trunkline_state_outbox_waiting_bytes", "Their bytes.", value=stock.bytes)
    yield GaugeMetricFamily(
        "trunkline_state_outbox_oldest_seconds",
        "Since when the oldest of them waits.",
        value=0 if oldest_at is None else max(0.0, time.time() - oldest_at),
    )
    yield GaugeMetricFamily(
        "trunkline_state_outbox_stuck", "Messages that the bus refused, in the store now.", value=stock.refused
    )
    yield CounterMetricFamily(
        "trunkline_state_outbox_kept", "Messages that were committed with a write.", value=stock.kept
    )
    yield CounterMetricFamily(
        "trunkline_state_outbox_relayed", "Messages that the bus took.", value=outbox.relay.forwarded
    )
    yield CounterMetricFamily(
        "trunkline_state_outbox_refused", "Messages that the bus refused.", value=outbox.relay.refused
    )
    yield CounterMetricFamily(
        "trunkline_state_outbox_possible_duplicates",
        "Messages that the bus may have stored twice.",
        value=outbox.relay.possible_duplicates,
    )
