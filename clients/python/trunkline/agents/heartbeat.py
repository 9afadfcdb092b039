"""Heartbeats: sent at intervals for the agents of a process."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.errors import TrunklineError
from trunkline.message_channel import ChannelClosedError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The heartbeat of one agent.

    Attributes:
        agent: its name.
        interval: seconds from one beat to the next.
        beat: sends one.
        has_ended: set when no more are to be sent.
    """

    agent: str
    interval: float
    beat: Callable[[], object]
    has_ended: threading.Event


class HeartbeatThread:
    """One thread for all agents of a process. It sleeps until the next beat is due, and ends with the last agent."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Heartbeat]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, heartbeat: Heartbeat) -> None:
        """Sends the first beat at once, and then one every interval."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic(), next(self._numbers), heartbeat))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trunkline-heartbeat", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while (heartbeat := self._next()) is not None:
            if _beat(heartbeat):
                with self._changed:
                    heapq.heappush(self._due, (time.monotonic() + heartbeat.interval, next(self._numbers), heartbeat))

    def _next(self) -> Heartbeat | None:
        """Waits until a beat is due, and returns its heartbeat; None when there is none left."""
        with self._changed:
            while self._due:
                wait = self._due[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            self._thread = None
            return None


def _beat(heartbeat: Heartbeat) -> bool:
    """Sends one beat; returns whether more are to follow."""
    if heartbeat.has_ended.is_set():
        return False
    try:
        heartbeat.beat()
    except ChannelClosedError:
        return False  # the other end is closed
    except TrunklineError as error:
        _log.warning("a heartbeat of agent %r was not taken: %s", heartbeat.agent, error)
    except Exception:  # noqa: BLE001  # one agent's own channel must not stop the others' heartbeats
        _log.exception("a heartbeat of agent %r failed", heartbeat.agent)
    return True


heartbeats = HeartbeatThread()
"""The thread of this process."""
