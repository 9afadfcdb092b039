"""The bus's metrics: read from the broker's own counts when they are scraped, so that counting costs nothing more."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from trunklined.bus.broker import Broker


class BusCollector(Collector):
    """Messages in, out and dropped by reason, queue depth, requests and their latency."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterable[Metric]:
        """One snapshot."""
        now = self._broker.statistics()
        yield CounterMetricFamily("trunkline_bus_messages_in", "Messages published.", value=now.published)
        yield CounterMetricFamily("trunkline_bus_messages_out", "Messages handed to subscribers.", value=now.delivered)
        dropped = CounterMetricFamily(
            "trunkline_bus_messages_dropped", "Messages that were not delivered, by reason.", labels=["reason"]
        )
        dropped.add_metric(["expired"], now.expired)
        dropped.add_metric(["lagged"], now.lagged)
        dropped.add_metric(["vanished"], now.vanished)
        yield dropped
        yield GaugeMetricFamily("trunkline_bus_queued_messages", "Messages that wait.", value=now.queued_messages)
        yield GaugeMetricFamily("trunkline_bus_queued_bytes", "Bytes that wait.", value=now.queued_bytes)
        yield GaugeMetricFamily("trunkline_bus_subscriptions", "Registered subscriptions.", value=now.subscriptions)
        yield CounterMetricFamily("trunkline_bus_requests", "Requests taken.", value=now.requests)
        yield CounterMetricFamily(
            "trunkline_bus_request_timeouts", "Requests without a reply in time.", value=now.request_timeouts
        )
        yield CounterMetricFamily(
            "trunkline_bus_no_responders", "Requests that nobody listened to.", value=now.no_responders
        )
        yield GaugeMetricFamily(
            "trunkline_bus_pending_requests", "Requests that wait for a reply.", value=now.pending_requests
        )
        latency = self._broker.request_latency
        yield HistogramMetricFamily(
            "trunkline_bus_request_seconds",
            "Time from a request to its reply.",
            buckets=latency.cumulative(),
            sum_value=latency.total,
        )
