"""The life of a program, in processes of their own: ready, graceful end, the second signal, and failing starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.programs import PYTHON, RunningProgram, health, run_program
from tests.rpc.greeter import SERVICE
from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunkline.wire.status import error_from_rpc

SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1

Start = Callable[..., RunningProgram]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[RunningProgram] = []

    def start(*options: str, address: str = "127.0.0.1:0") -> RunningProgram:
        program = RunningProgram("greeter", *options, address=address, module="tests.rpc")
        started.append(program)
        return program.start()

    yield start
    for program in started:
        program.end()


def _publish(program: RunningProgram, channel: str) -> Any:
    line = grpc.insecure_channel(program.address)
    return bus_pb2_grpc.BusServiceStub(line).Publish.future(bus_pb2.PublishRequest(channel=channel), timeout=20)


def test_a_program_is_healthy_per_service_and_says_where(start: Start) -> None:
    """One line "ready" with the bound address; health knows each service and the whole."""
    program = start()
    assert health(program.address, SERVICE) == health(program.address) == "SERVING"
    ready = [event for event in program.events() if event["event"] == "ready"]
    assert len(ready) == 1
    assert ready[0]["pid"] == program.pid
    assert ready[0]["level"] == "info"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix"])
def test_sigterm_ends_it_with_zero(start: Start, socket_dir: Path, address: str) -> None:
    """A graceful end is a success; a UNIX socket's file goes with it."""
    path = socket_dir / "s"
    program = start(address=f"unix:{path}" if address == "unix" else address)
    assert program.stop() == 0
    assert not path.exists()
    said = [event["event"] for event in program.events() if event["level"] == "info"]  # a busy machine warns besides
    assert said == ["ready", "stopping", "stopped"]


def test_what_runs_may_finish(start: Start) -> None:
    """A call that runs at SIGTERM gets its answer; a new one is refused meanwhile."""
    program = start()
    running = _publish(program, "slow")
    program.wait_for('"a call runs"')
    assert program.stop() == 0
    assert running.result().receipts[0].sequence == 1


def test_the_drain_has_a_limit(start: Start) -> None:
    """What does not finish in time is cut off, and the program still ends well."""
    program = start("--drain-seconds", "0.2", "--drains-never")
    running = _publish(program, "slow")
    program.wait_for('"a call runs"')
    assert program.stop() == 0
    assert running.exception() is not None


def test_what_is_refused_or_cut_off_while_it_stops_says_why(start: Start) -> None:
    """UNAVAILABLE with the service's reason, so that every client that retries does; never CANCELLED."""
    program = start("--drain-seconds", "1", "--drains-never")
    with grpc.insecure_channel(program.address) as line:
        stub = bus_pb2_grpc.BusServiceStub(line)
        running = stub.Publish.future(bus_pb2.PublishRequest(channel="slow"), timeout=20)
        stub.Publish(bus_pb2.PublishRequest(channel="ok"), timeout=20)
        program.process.send_signal(signal.SIGTERM)
        program.wait_for('"stopping"')
        refused = stub.Publish.future(bus_pb2.PublishRequest(channel="ok"), timeout=20)
        for call in (refused, running):
            error = error_from_rpc(call.exception())
            assert isinstance(error, BusDisconnectedError)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert program.process.wait(20) == 0


def test_it_serves_on_for_a_while_after_it_is_unready(start: Start) -> None:
    """A balancer that has not noticed yet still sends calls."""
    program = start("--unready-seconds", "1")
    with grpc.insecure_channel(program.address) as line:
        stub = bus_pb2_grpc.BusServiceStub(line)
        stub.Publish(bus_pb2.PublishRequest(channel="ok"), timeout=20)
        program.process.send_signal(signal.SIGTERM)
        program.wait_for('"stopping"')
        assert health(program.address) == "NOT_SERVING"
        assert stub.Publish(bus_pb2.PublishRequest(channel="ok"), timeout=20).receipts[0].sequence == 1
    assert program.process.wait(20) == 0


async def test_no_call_is_cancelled_by_a_stop_under_load(start: Start) -> None:
    """Calls are answered, refused with the reason, or lose their connection; whenever they come."""
    program = start()
    statuses: Counter[str] = Counter()

    async def call_until_gone() -> None:
        async with aio.insecure_channel(program.address, options=[("grpc.use_local_subchannel_pool", 1)]) as line:
            stub = bus_pb2_grpc.BusServiceStub(line)
            while True:
                try:
                    await stub.Publish(bus_pb2.PublishRequest(channel="ok"), timeout=20)
                    statuses["OK"] += 1
                except aio.AioRpcError as status:
                    is_ours = error_from_rpc(status, TrunklineError).error_code == "BUS_DISCONNECTED"
                    statuses["refused" if is_ours else status.code().name] += 1
                    if not is_ours:
                        return

    callers = [asyncio.ensure_future(call_until_gone()) for _ in range(16)]
    while statuses["OK"] < 100:  # noqa: ASYNC110  # by which all have connected
        await asyncio.sleep(0.01)
    program.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        await asyncio.gather(*callers)
    assert set(statuses) == {"OK", "refused", "UNAVAILABLE"}
    assert await asyncio.to_thread(program.process.wait, 20) == 0


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    """Whoever asks twice does not wait for the drain."""
    program = start("--drain-seconds", "60", "--drains-never")
    running = _publish(program, "slow")
    program.wait_for('"a call runs"')
    program.process.send_signal(signal.SIGTERM)
    program.wait_for('"stopping"')
    assert program.stop() == 128 + signal.SIGTERM
    assert running.exception() is not None


def test_it_ends_with_its_standard_input_where_asked(start: Start) -> None:
    """A parent that is gone, however it went, leaves no program behind."""
    program = start()
    assert program.process.stdin is not None
    program.process.stdin.close()
    assert program.process.wait(10) == 0


def test_a_second_program_on_the_same_port_fails(start: Start) -> None:
    """Exit code 1 and one clear line; the first one goes on."""
    first = start()
    second = run_program("greeter", "--address", first.address, module="tests.rpc")
    assert second.returncode == 1
    assert f"cannot serve on {first.address}: another program serves there" in second.stderr
    assert health(first.address) == "SERVING"


def test_an_engine_that_does_not_open_ends_the_start() -> None:
    """The message of the domain error, no traceback; what was opened is closed."""
    ended = run_program("greeter", "--address", "127.0.0.1:0", "--fails", module="tests.rpc")
    assert ended.returncode == 1
    assert ended.stderr.strip() == "greeter: the file is damaged; closed 1 time(s)"


def test_metrics_are_served_on_a_port_of_their_own(start: Start) -> None:
    """Calls by method and status, latency, and the process."""
    program = start("--metrics-address", "127.0.0.1:0")
    _publish(program, "ok").result()
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert f'trunkline_rpc_calls_total{{code="OK",method="/{SERVICE}/Publish"}} 1.0' in text
    assert f'trunkline_rpc_seconds_count{{method="/{SERVICE}/Publish"}} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_what_keeps_the_event_loop_is_measured_and_logged(start: Start) -> None:
    """With where it was, while it lasted: everybody waits meanwhile."""
    program = start("--metrics-address", "127.0.0.1:0")
    _publish(program, "block").result()
    program.wait_for("the event loop was kept")
    (kept,) = [event for event in program.events() if event["event"].startswith("the event loop was kept")]
    assert kept["level"] == "warning"
    assert kept["seconds"] > 0.25
    assert "Publish (greeter.py:" in kept["where"]
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    buckets = {
        line.split('"')[1]: float(line.split()[1])
        for line in text.splitlines()
        if line.startswith("trunkline_event_loop_lag_seconds_bucket")
    }
    assert buckets["+Inf"] > buckets["0.25"]
    assert program.stop() == 0


def test_a_metrics_port_in_use_is_an_error(start: Start) -> None:
    """Metrics that nobody can scrape are no metrics."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        ended = run_program("greeter", "--address", "127.0.0.1:0", "--metrics-address", taken, module="tests.rpc")
    assert ended.returncode == 1
    assert f"cannot serve metrics on {taken}" in ended.stderr


def test_pings_on_an_idle_line_never_end_it(start: Start) -> None:
    """A client may probe as often as it likes, also without calls: no GOAWAY "too_many_pings".

    Spoken in HTTP/2 frames (RFC 9113): grpc's own client spaces its pings once it was told off.
    """
    program = start()
    host, _, port = program.address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as line, line.makefile("rb") as answers:
        line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS))
        for number in range(50):
            line.sendall(_frame(PING, number.to_bytes(8, "big")))
        acknowledged = 0
        while acknowledged < 50:
            header = answers.read(9)
            assert header, "the server closed the line"
            kind, flags = header[3], header[4]
            answers.read(int.from_bytes(header[:3], "big"))
            assert kind != GOAWAY, f"GOAWAY after {acknowledged} pings"
            acknowledged += kind == PING and flags == ACK


def _frame(kind: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + payload


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    """A service whose log's reader went away still answers, says its errors, and ends well."""
    command = [*PYTHON, "tests.rpc", "greeter", "--address", "127.0.0.1:0"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # what is lost stays
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=buffered) as process:
        assert process.stderr is not None
        address = json.loads(process.stderr.readline())["address"]
        process.stderr.close()
        with grpc.insecure_channel(address) as line:
            stub = bus_pb2_grpc.BusServiceStub(line)
            bug = stub.Publish.future(bus_pb2.PublishRequest(channel="bug"), timeout=20)
            assert bug.exception().code() is grpc.StatusCode.INTERNAL
            assert stub.Publish(bus_pb2.PublishRequest(channel="ok"), timeout=20).receipts[0].sequence == 1
        process.terminate()
        assert process.wait(20) == 0
