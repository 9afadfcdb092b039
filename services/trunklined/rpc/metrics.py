"""Prometheus metrics of a program, on a port of their own: its collectors, its calls and its process."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from trunklined.rpc.histogram import Histogram
from trunklined.rpc.listening import ListenError

LATENCY_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of a call's time, in seconds."""


class RpcMetrics(Collector):
    """Counts calls in plain ints, and makes metrics of them at each scrape. A `CallObserver`."""

    def __init__(self) -> None:
        self._finished: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._open: defaultdict[str, int] = defaultdict(int)
        self._latency: defaultdict[str, Histogram] = defaultdict(partial(Histogram, LATENCY_BOUNDS))

    def started(self, method: str) -> None:
        """Counts a call that begins."""
        self._open[method] += 1

    def finished(self, method: str, code: str, seconds: float, *, streaming: bool) -> None:
        """Counts a call that ended. The duration of a stream is not recorded: it is no latency."""
        self._open[method] -= 1
        self._finished[method, code] += 1
        if not streaming:
            self._latency[method].observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics. Runs in the metrics server's thread, so it copies before it iterates."""
        done = CounterMetricFamily("trunkline_rpc_calls", "Calls that ended.", labels=["method", "code"])
        for (method, code), count in self._finished.copy().items():
            done.add_metric([method, code], count)
        yield done
        running = GaugeMetricFamily("trunkline_rpc_open_calls", "Calls that run now.", labels=["method"])
        for method, count in self._open.copy().items():
            running.add_metric([method], count)
        yield running
        latency = HistogramMetricFamily("trunkline_rpc_seconds", "Time that unary calls took.", labels=["method"])
        for method, kept in self._latency.copy().items():
            latency.add_metric([method], kept.cumulative(), kept.total)
        yield latency


class ExposureCollector(Collector):
    """Tells whether other machines are served without TLS, or without being asked who they are."""

    def __init__(self, is_exposed: bool) -> None:
        self._is_exposed = is_exposed

    def collect(self) -> Iterator[Metric]:
        """Yields the metric."""
        yield GaugeMetricFamily(
            "trunkline_insecure",
            "Whether other machines are served without TLS, or without being asked who they are.",
            int(self._is_exposed),
        )


class MetricsServer:
    """Serves a program's metrics over HTTP until closed."""

    def __init__(self, address: str, collectors: Iterable[Collector]) -> None:
        """
        Raises:
            ListenError: the address cannot be bound.
        """
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        for collector in collectors:
            registry.register(collector)
        host, _, port = address.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise ListenError(f"cannot serve metrics on {address}: {why}", details={"address": address}) from error
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stops the server. Blocks for up to half a second: the HTTP server checks for its end that often."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
