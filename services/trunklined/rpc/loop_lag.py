"""LoopLag: how late a program's event loop is, as a metric, and what kept it, in the log.

All calls of a program run in one event loop: what keeps it lets everybody wait. A tick of the loop itself measures how
late it is; a thread notices a tick that is overdue while the loop is still kept, and takes the stack of what keeps it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Final

import structlog
from prometheus_client import Metric
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from trunklined.rpc.histogram import Histogram

TICK_SECONDS: Final = 0.1
SLOW_SECONDS: Final = 0.25
"""What keeps the loop longer is logged, with where it was."""
LOG_SECONDS: Final = 10.0
"""At most one such line in so long; it counts those that were left out."""
STACK_FRAMES: Final = 12
"""Of the stack in the log: the innermost."""

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag(Collector):
    """Measures the present event loop from `start` to `close`."""

    def __init__(self) -> None:
        self._lag = Histogram(BUCKETS)
        self._loop_thread = 0
        self._due = 0.0
        """When the next tick is due, by the monotonic clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None
        self._logged_at = -LOG_SECONDS
        self._left_out = 0

    def start(self) -> None:
        """Begins to measure."""
        self._loop_thread = threading.get_ident()
        self._next()
        self._watcher = threading.Thread(target=self._watch, name="loop-lag", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Ends the measuring. Idempotent."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics. Runs in the metrics server's thread."""
        lag = HistogramMetricFamily(
            "trunkline_event_loop_lag_seconds", "How late the event loop is: what every call waits for the others."
        )
        lag.add_metric([], self._lag.cumulative(), self._lag.total)
        yield lag

    def _next(self) -> None:
        self._due = time.monotonic() + TICK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._lag.observe(max(0.0, time.monotonic() - self._due))
        self._next()

    def _watch(self) -> None:
        """Looks, when a tick is overdue, at what the loop's thread does; logs it when the loop goes on."""
        while not self._ended.wait(max(0.0, self._due + SLOW_SECONDS - time.monotonic())):
            due = self._due
            if time.monotonic() < due + SLOW_SECONDS:
                continue  # the loop has gone on meanwhile
            where = _stack(sys._current_frames().get(self._loop_thread))
            while self._due == due and not self._ended.wait(TICK_SECONDS):
                pass
            self._log(time.monotonic() - due, where)

    def _log(self, seconds: float, where: str) -> None:
        now = time.monotonic()
        if now < self._logged_at + LOG_SECONDS:
            self._left_out += 1
            return
        self._logged_at, left_out, self._left_out = now, self._left_out, 0
        structlog.get_logger().warning(
            "the event loop was kept: all calls waited", seconds=round(seconds, 3), where=where, left_out=left_out
        )


def _stack(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    calls = traceback.extract_stack(frame)[-STACK_FRAMES:]
    return " < ".join(f"{call.name} ({call.filename.rpartition('/')[2]}:{call.lineno})" for call in reversed(calls))
