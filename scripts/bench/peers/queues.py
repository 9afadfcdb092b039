"""Python's own queues: the floor under a MessageChannel in thread and in process mode."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.bench.peer import Peer, Receive, Service
from scripts.bench.peers.carried import put_all
from trunkline.message_channel import ServiceMessage


class _Queue(Peer):
    messages = 0

    def server(self, service: Service, port: int, scratch: Path) -> None:
        return None

    async def open(self, service: Service, port: int) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to disconnect from."""


class ThreadQueue(_Queue):
    """queue.Queue between two threads."""

    title = "bare queue.Queue"

    @contextmanager
    def from_thread(self, count: int) -> Iterator[Receive]:
        between: queue.Queue[ServiceMessage] = queue.Queue()
        sender = threading.Thread(target=put_all, args=(between.put, count))
        sender.start()
        yield between.get
        sender.join()


class ProcessQueue(_Queue):
    """multiprocessing.Queue from a spawned process."""

    title = "bare multiprocessing.Queue"

    @contextmanager
    def from_process(self, count: int) -> Iterator[Receive]:
        spawn = multiprocessing.get_context("spawn")
        between: Any = spawn.Queue()
        sender = spawn.Process(target=_put, args=(between, count), daemon=True)
        sender.start()
        yield between.get
        sender.join()


def _put(between: Any, count: int) -> None:
    put_all(between.put, count)
