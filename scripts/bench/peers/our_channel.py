"""MessageChannel as any user writes it: an agent's endpoint sends, the owner receives."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from scripts.bench.peer import Receive
from scripts.bench.peers.carried import put_all
from trunkline.message_channel import Endpoint, MessageChannel


class ChannelAbilities:
    """What a MessageChannel can do, for our peer."""

    @contextmanager
    def from_thread(self, count: int) -> Iterator[Receive]:
        with MessageChannel("thread") as channel:
            sender = threading.Thread(target=_send, args=(channel.endpoint("agent"), count))
            sender.start()
            yield channel.receive
            sender.join()

    @contextmanager
    def from_process(self, count: int) -> Iterator[Receive]:
        with MessageChannel("process") as channel:
            spawn = multiprocessing.get_context("spawn")
            sender = spawn.Process(target=_send, args=(channel.endpoint("agent"), count), daemon=True)
            sender.start()
            yield channel.receive
            sender.join()


def _send(end: Endpoint, count: int) -> None:
    put_all(partial(end.send, "orchestrator"), count)
