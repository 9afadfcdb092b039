"""The synchronous face: the same bus for code without an event loop."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

import trunkline
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import (
    Accepted,
    AgentMessage,
    BusNotConnectedError,
    NoRespondersError,
    Part,
    Progress,
    RequestFailedError,
    RequestTimeoutError,
    Result,
)


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"sync:{uuid4().hex}:work"


def test_publish_and_subscribe(bus_address: str, channel: str) -> None:
    """Callbacks are plain functions and run in a thread of their own."""
    came, threads = [], []
    enough = threading.Event()

    def callback(message: AgentMessage) -> None:
        threads.append(threading.current_thread())
        came.append(message.payload["n"])
        if len(came) == 100:
            enough.set()

    with trunkline.sync.MessageBus(bus_address) as bus:
        assert bus.is_connected
        bus.subscribe(channel, callback)
        for n in range(100):
            bus.publish(channel, numbered(n))
        bus.flush()
        assert enough.wait(10)
        assert bus.published_count == 100
        bus.unsubscribe(channel)
    assert not bus.is_connected
    assert came == list(range(100))
    assert threading.main_thread() not in threads


def test_request_and_reply_with_callbacks_that_publish_and_request(bus_address: str, channel: str) -> None:
    """A callback may publish and request: it runs in its own thread."""
    with trunkline.sync.MessageBus(bus_address) as bus:

        def deep(message: AgentMessage) -> None:
            bus.publish(f"{channel}:r", message.create_response("deep", "x", {"n": "deep"}))

        def middle(message: AgentMessage) -> None:
            deeper = bus.request(f"{channel}:deep", numbered(1), timeout=10)
            bus.publish(f"{channel}:r", message.create_response("middle", "x", {"via": deeper.payload}))

        bus.subscribe(f"{channel}:deep", deep)
        bus.subscribe(f"{channel}:middle", middle)
        assert bus.request(f"{channel}:middle", numbered(1), timeout=10).payload == {"via": {"n": "deep"}}
        with pytest.raises(NoRespondersError):
            bus.request(f"{channel}:nobody", numbered(1), timeout=10)
        bus.subscribe(f"{channel}:silent", lambda _: None)
        with pytest.raises(RequestTimeoutError):
            bus.request(f"{channel}:silent", numbered(1), timeout=0.2)


def test_requests_with_a_life(bus_address: str, channel: str) -> None:
    """respond: a plain function or generator in a thread; request_stream: a generator, whose closing cancels."""
    called_off = threading.Event()

    def stream(request: trunkline.sync.Request) -> Iterator[str]:
        request.progress(0.5, "half")
        try:
            for n in range(200 if request.payload["n"] == 1 else 1_000_000):
                yield str(n)
        finally:
            if request.is_called_off:
                called_off.set()
        request.set_result({"done": True})

    def fail(request: trunkline.sync.Request) -> None:
        raise ValueError("no")

    with trunkline.sync.MessageBus(bus_address) as bus, trunkline.sync.MessageBus(bus_address) as agent:
        agent.respond(channel, stream, name="threads")
        events = list(bus.request_stream(channel, numbered(1), PATIENCE))
        assert isinstance(events[0], Accepted)
        assert isinstance(events[1], Progress)
        assert [event.text for event in events if isinstance(event, Part)] == [str(n) for n in range(200)]
        assert isinstance(events[-1], Result)
        assert events[-1].payload == {"done": True}
        endless = bus.request_stream(channel, numbered(2), PATIENCE)
        assert any(isinstance(event, Part) for event in endless)  # until the first: the generator runs
        endless.close()
        assert called_off.wait(PATIENCE)
        agent.respond(f"{channel}:fails", fail)
        with pytest.raises(RequestFailedError):
            bus.request(f"{channel}:fails", numbered(1), PATIENCE)
        message = numbered(3)
        cancelled = bus.request_stream(channel, message, PATIENCE)
        next(cancelled)
        agent.cancel(message.message_id, by="a person")
        assert isinstance(list(cancelled)[-1], trunkline.Cancellation)


def test_messages_is_an_iterator(bus_address: str, channel: str) -> None:
    """messages(): a plain iterator; breaking out of it ends the interest."""
    with trunkline.sync.MessageBus(bus_address) as bus, trunkline.sync.MessageBus(bus_address) as publisher:
        stream = bus.messages(channel)
        stop = threading.Event()

        def publish() -> None:
            n = 0
            while not stop.wait(0.01):
                publisher.publish(channel, numbered(n))
                publisher.flush()
                n += 1

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            came = [next(stream).payload["n"] for _ in range(5)]
        finally:
            stop.set()
            thread.join()
        stream.close()
        assert came == list(range(came[0], came[0] + 5))  # type: ignore[arg-type, operator]
        with pytest.raises(NoRespondersError):
            bus.request(channel, numbered("?"), timeout=5)


def test_not_connected_raises(bus_address: str, channel: str) -> None:
    """Before connect and after disconnect, every call raises BUS_NOT_CONNECTED; both are idempotent."""
    bus = trunkline.sync.MessageBus(bus_address)

    def refused() -> None:
        for attempt in (
            lambda: bus.publish(channel, numbered(1)),
            lambda: bus.subscribe(channel, print),
            lambda: bus.unsubscribe(channel),
            lambda: bus.request(channel, numbered(1)),
            bus.flush,
            lambda: next(bus.messages(channel)),
        ):
            with pytest.raises(BusNotConnectedError):
                attempt()

    refused()
    bus.disconnect()
    bus.connect()
    bus.connect()
    bus.disconnect()
    bus.disconnect()
    refused()
    with bus:
        bus.publish(channel, numbered(1))
        bus.flush()
        assert bus.published_count == 1


def test_many_threads_share_one_bus(bus_address: str, channel: str) -> None:
    """Safe to use from several threads."""
    with trunkline.sync.MessageBus(bus_address) as bus:
        bus.subscribe(
            channel,
            lambda message: bus.publish(f"{channel}:r", message.create_response("r", "x", dict(message.payload))),
            concurrency=4,
        )
        results: dict[int, object] = {}

        def ask(n: int) -> None:
            results[n] = bus.request(channel, numbered(n), timeout=20).payload["n"]

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert results == {n: n for n in range(40)}


@pytest.mark.parametrize("how", ["disconnect", "forget"])
def test_a_program_ends_when_its_main_thread_does(bus_address: str, channel: str, how: str) -> None:
    """The face keeps no program alive, also one that forgot to disconnect."""
    code = (
        "import trunkline\n"
        f"bus = trunkline.sync.MessageBus({bus_address!r})\n"
        "bus.connect()\n"
        f"bus.subscribe({channel!r}, print)\n"
        f"bus.publish({channel!r}, trunkline.AgentMessage(message_type='x', sender_id='s'))\n"
        "bus.flush()\n" + ("bus.disconnect()\n" if how == "disconnect" else "")
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 15
