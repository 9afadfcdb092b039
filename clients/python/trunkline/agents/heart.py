"""Heart: says for the agents of a process, again and again, that they live."""

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
class Pulse:
    """One agent's: what says that it lives, how often, and when that is over."""

    agent: str
    interval: float
    """Seconds."""
    beat: Callable[[], object]
    has_ended: threading.Event


class Heart:
    """One thread for all agents of a process; it sleeps until the next beat is due, and ends with the last agent."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Pulse]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, pulse: Pulse) -> None:
        """From now on, and at once."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic(), next(self._numbers), pulse))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trunkline-heart", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while (pulse := self._next()) is not None:
            if _beat(pulse):
                with self._changed:
                    heapq.heappush(self._due, (time.monotonic() + pulse.interval, next(self._numbers), pulse))

    def _next(self) -> Pulse | None:
        """The one that is due, when it is; None when there is none left."""
        with self._changed:
            while self._due:
                wait = self._due[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            self._thread = None
            return None


def _beat(pulse: Pulse) -> bool:
    """Whether it goes on."""
    if pulse.has_ended.is_set():
        return False
    try:
        pulse.beat()
    except ChannelClosedError:
        return False  # nobody listens any more
    except TrunklineError as error:
        _log.warning("a heartbeat of agent %r was not taken: %s", pulse.agent, error)
    except Exception:  # noqa: BLE001  # one agent's own channel must not stop the others' hearts
        _log.exception("a heartbeat of agent %r failed", pulse.agent)
    return True


heart = Heart()
"""Of this process."""
