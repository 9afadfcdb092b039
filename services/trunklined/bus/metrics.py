"""The bus's metrics: read from the broker's own counts when they are scraped, so that counting costs nothing more."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from trunklined.bus.broker import Broker
from trunklined.bus.ownership import Ownership


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
        dropped.add_metric(["evicted"], now.evicted)
        dropped.add_metric(["vanished"], now.vanished)
        yield dropped
        yield GaugeMetricFamily("trunkline_bus_queued_messages", "Messages that wait.", value=now.queued_messages)
        yield GaugeMetricFamily("trunkline_bus_queued_bytes", "Bytes that wait.", value=now.queued_bytes)
        yield GaugeMetricFamily(
            "trunkline_bus_queue_memory_bytes",
            "What all queues take together; a message that several hold counts once.",
            value=now.queue_memory_bytes,
        )
        yield GaugeMetricFamily(
            "trunkline_bus_max_queue_memory_bytes",
            "Beyond it the largest queue drops its oldest messages.",
            value=now.max_queue_memory_bytes,
        )
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
        yield from self._of_replicas()
        yield from self._of_the_journal()
        latency = self._broker.request_latency
        yield HistogramMetricFamily(
            "trunkline_bus_request_seconds",
            "Time from a request to its reply.",
            buckets=latency.cumulative(),
            sum_value=latency.total,
        )

    def _of_replicas(self) -> Iterable[Metric]:
        now = self._broker.peers.statistics()
        if now is None:
            return
        yield GaugeMetricFamily("trunkline_bus_replicas_reached", "1 while it takes part with others.", now.is_part)
        yield GaugeMetricFamily("trunkline_bus_other_replicas", "Other replicas that it knows.", now.others)
        yield CounterMetricFamily("trunkline_bus_replicas_joined", "How often it began to take part.", now.joined)
        yield CounterMetricFamily("trunkline_bus_replicas_apart_seconds", "How long it did not.", now.apart_seconds)

    def _of_the_journal(self) -> Iterable[Metric]:
        journal = self._broker.journal
        now = journal.statistics()
        for name, text, count in (
            ("stored", "Messages stored.", now.stored),
            ("duplicates", "Messages not stored again, since their id was known.", now.duplicates),
            ("acked", "Messages of durable subscriptions that were acked.", now.acked),
            ("redelivered", "Messages handed out again.", now.redelivered),
            ("dead_lettered", "Messages made dead letters.", now.dead_lettered),
            ("lost_to_limits", "Messages removed by a hard limit though needed.", now.lost_to_limits),
        ):
            yield CounterMetricFamily(f"trunkline_bus_{name}", text, value=count)
        waiting = GaugeMetricFamily(
            "trunkline_bus_durable_messages", "Messages of a durable subscription now.", labels=["durable", "state"]
        )
        for durable in journal.durables:
            waiting.add_metric([durable.name, "waiting"], durable.waiting)
            waiting.add_metric([durable.name, "leased"], durable.leased)
            waiting.add_metric([durable.name, "retrying"], durable.retrying)
        yield waiting
        paused = GaugeMetricFamily(
            "trunkline_bus_durable_paused", "1 while a durable subscription is paused.", labels=["durable"]
        )
        for durable in journal.durables:
            paused.add_metric([durable.name], durable.paused)
        yield paused
        for name, text, value in (
            ("dead_letters", "Dead letters kept.", now.dead_letters),
            ("tasks", "Tasks kept, ended ones included.", now.tasks),
            ("held_back", "Messages held back until later.", now.held_back),
            ("journal_messages", "Messages in the journal.", now.journal_messages),
            ("journal_bytes", "Their bytes.", now.journal_bytes),
            ("journal_file_bytes", "The size of the journal's files.", now.journal_file_bytes),
        ):
            yield GaugeMetricFamily(f"trunkline_bus_{name}", text, value=value)
        yield HistogramMetricFamily(
            "trunkline_bus_commit_seconds",
            "Time of a commit, each of many messages.",
            buckets=journal.commits.latency.cumulative(),
            sum_value=journal.commits.latency.total,
        )


class OwnershipCollector(Collector):
    """Whether this replica owns the journal."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    def collect(self) -> Iterable[Metric]:
        """One snapshot."""
        yield GaugeMetricFamily(
            "trunkline_bus_owns_journal", "1 where the journal is open here.", value=int(self._ownership.is_here)
        )
        yield CounterMetricFamily(
            "trunkline_bus_journal_takeovers",
            "How often this replica took the journal over.",
            value=self._ownership.takeovers,
        )
