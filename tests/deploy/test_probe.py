"""`trunkline health`: every answer, what it costs, and the address that answers health alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import trunkline
from tests.deploy.conftest import Start
from tests.patience import PATIENCE, Stopwatch
from tests.programs import RunningProgram, command, health, hold_port
from trunkline.cli.services.probe import NOT_SERVING, SERVING, TIMED_OUT, UNKNOWN, UNREACHABLE, WRONG_USAGE, check
from trunkline.cli.services.probe import main as probe
from trunkline.errors import StorageError
from trunkline.models import AgentMessage
from trunkline.sync import MessageBus
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunklined.rpc.health import MAX_WHY

BUS = "trunkline.v1.BusService"


def health_address(program: RunningProgram) -> str:
    (ready,) = [event for event in program.events() if event["event"] == "ready"]
    found = ready["health_address"]
    assert isinstance(found, str)
    return found


@pytest.fixture
def bus(start: Start, tmp_path: Path) -> RunningProgram:
    return start(
        "bus", "--health-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0", "--path", f"{tmp_path}/bus.db"
    )


def run_probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(["health", *arguments]), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_it_says_what_grpc_says(bus: RunningProgram) -> None:
    """On the health address and where all is served: the program, a service of it, and one that there is not."""
    for address in (health_address(bus), bus.address):
        assert health(address) == health(address, BUS) == "SERVING"
        assert check(address, "", PATIENCE) == (SERVING, "SERVING")
        assert check(address, BUS, PATIENCE) == (SERVING, "SERVING")
        code, word = check(address, "trunkline.v1.NoSuchService", PATIENCE)
        assert (code, word) == (UNKNOWN, f"{address} has no health of 'trunkline.v1.NoSuchService'")


def test_the_command_ends_with_the_answer(bus: RunningProgram) -> None:
    ran = run_probe(health_address(bus), "--service", BUS)
    assert (ran.returncode, ran.stdout, ran.stderr) == (SERVING, "SERVING\n", "")
    assert "health" in subprocess.run(command(["--help"]), capture_output=True, text=True, check=True).stdout


def test_the_health_address_answers_nothing_else(bus: RunningProgram) -> None:
    with grpc.insecure_channel(health_address(bus)) as line, pytest.raises(grpc.RpcError) as caught:
        bus_pb2_grpc.BusServiceStub(line).Publish(bus_pb2.PublishRequest(channel="a"), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_it_is_red_while_a_program_drains(start: Start, tmp_path: Path) -> None:
    """From SIGTERM on, and on the health address until the end."""
    options = ("--health-address", "127.0.0.1:0", "--unready-seconds", "3600", "--path", f"{tmp_path}/bus.db")
    bus = start("bus", *options)
    bus.terminate()
    until = time.monotonic() + PATIENCE
    while check(health_address(bus), "", PATIENCE)[0] == SERVING:
        assert time.monotonic() < until
        time.sleep(0.02)
    ran = run_probe(health_address(bus))
    assert (ran.returncode, ran.stderr) == (NOT_SERVING, "NOT_SERVING: it is stopping\n")


def test_it_says_why_it_is_red(start: Start, tmp_path: Path) -> None:
    """What the program says of it, as far as it goes: a bus whose journal was taken away under it."""
    folder = tmp_path / ("a" * 100)
    bus = start("bus", "--health-address", "127.0.0.1:0", "--path", f"{folder}/bus.db")
    folder.rename(tmp_path / "aside")
    with MessageBus(bus.address) as client, pytest.raises(StorageError) as caught:
        client.publish("a:b", AgentMessage(message_type="x", sender_id="tests"), stored=True)
    assert caught.value.message.startswith("the journal's file")
    said = f"NOT_SERVING: {caught.value.message[:MAX_WHY]}"
    assert len(said) > 200
    assert check(health_address(bus), BUS, PATIENCE) == (NOT_SERVING, said)
    assert check(health_address(bus), "", PATIENCE) == (SERVING, "SERVING")


def test_of_a_sidecar_on_sockets_alone(start: Start, tmp_path: Path) -> None:
    """By a port, by its socket, and per service: without its upstreams it is there, and they are not."""
    where = f"unix:{tmp_path}/s.sock"
    with hold_port() as nobody:
        away = f"127.0.0.1:{nobody.getsockname()[1]}"
        options = ("--bus-address", away, "--state-address", away, "--socket-path", "", "--store-path", "")
        sidecar = start("sidecar", "--health-address", "127.0.0.1:0", *options, address=where)
        for address in (where, health_address(sidecar)):
            assert check(address, "", PATIENCE)[0] == SERVING
            assert check(address, BUS, PATIENCE) == (NOT_SERVING, f"NOT_SERVING: {BUS} at {away} is not reached")


@pytest.fixture
def mute() -> Iterator[str]:
    """An address where somebody accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_no_answer_is_told_apart_from_nobody(mute: str) -> None:
    assert check(mute, "", 0.2) == (TIMED_OUT, f"no answer from {mute} within 0.2 s")
    with hold_port() as nobody:
        code, word = check(f"127.0.0.1:{nobody.getsockname()[1]}", "", PATIENCE)
    assert code == UNREACHABLE
    assert "refused" in word
    assert check("unix:/nowhere/at/all.sock", "", PATIENCE)[0] == UNREACHABLE


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 9], ids=["nothing", "http", "junk"]
)
def test_a_stranger_is_none_of_ours(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(4096)
                line.sendall(said)

        stranger = threading.Thread(target=answer)
        stranger.start()
        code, word = check(f"127.0.0.1:{listener.getsockname()[1]}", "", PATIENCE)
        stranger.join(PATIENCE)
    assert code == UNREACHABLE
    assert "it hung up" in word or "speaks no gRPC" in word


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "want one ADDRESS"),
        (["a:1", "b:2"], "want one ADDRESS, not a:1 b:2"),
        (["tls://a:1"], "tls://a:1 speaks TLS: ask the health address"),
        (["a"], "'a' is no address"),
        (["a:0"], "'a:0' is no address"),
        (["a:70000"], "'a:70000' is no address"),
        (["unix:"], "needs a path"),
        (["a:1", "--service"], "--service needs a value"),
        (["a:1", "--service", "é"], "--service is no full name"),
        (["a:1", "--timeout=nan"], "--timeout must be within 0 and 3600 seconds, not 'nan'"),
        (["a:1", "--timeout", "0"], "not '0'"),
        (["a:1", "--tiemout", "1"], "no such option: --tiemout"),
    ],
)
def test_a_wrong_command_line_is_told(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(arguments) == WRONG_USAGE
    assert words in capsys.readouterr().err


def test_help_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(["--help"]) == 0
    assert "--timeout SECONDS" in capsys.readouterr().out


def test_it_costs_less_than_fifty_milliseconds(bus: RunningProgram) -> None:
    """Of CPU, with the start of Python, where no development install's finder starts with it."""
    spent = 0.0

    def clock() -> float:
        return spent

    code = "import sys; from trunkline.cli import main; main()"
    where = [str(Path(trunkline.__path__[0]).parent), *(path for path in sys.path if path)]

    def ask() -> None:
        nonlocal spent
        address = health_address(bus)
        started = subprocess.Popen(
            [sys.executable, "-S", "-c", code, "health", address],
            env={"PYTHONPATH": os.pathsep.join(where)},
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        assert started.returncode == SERVING
        spent += used.ru_utime + used.ru_stime

    Stopwatch(0.001, 0.05, clock).measure(ask)


def test_it_imports_nothing_large() -> None:
    """Neither gRPC, nor the command line's libraries, nor the words that other commands share."""
    code = "import sys, trunkline.cli, trunkline.cli.services.probe; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert not loaded & {"grpc", "click", "rich", "asyncio", "ssl", "json", "trunkline.errors", "google.protobuf"}


@pytest.mark.parametrize(("path", "status"), [("/metrics", 200), ("/", 404), ("/metric", 404), ("/metrics/x", 404)])
def test_metrics_are_on_one_path(bus: RunningProgram, path: str, status: int) -> None:
    try:
        with urllib.request.urlopen(f"http://{bus.metrics_address}{path}", timeout=PATIENCE) as answer:
            got, page = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            got, page = error.code, error.read().decode()
    assert got == status
    assert ("trunkline_insecure" in page) if status == 200 else page == "metrics are at /metrics\n"
