"""`trunkline up`: three programs, or replicas over Redis, in one terminal, which live and end together."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE, OwnTime
from tests.programs import address_of, command, health, hold_port
from tests.redis.servers import RedisServer, running


class Up:
    """`trunkline up` as a process, on free ports."""

    def __init__(self, data: Path, *options: str) -> None:
        self._ports = hold_port(), hold_port()
        self.bus, self.state = map(address_of, self._ports)
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command(["--bus", self.bus, "--state", self.state, "up", "--data", str(data), *options]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._heard:
                    self.lines.append(line)
                    self._heard.notify_all()

    def wait_for(self, words: str) -> str:
        """The first line with these words."""
        with self._heard:
            self._heard.wait_for(lambda: any(words in line for line in self.lines), PATIENCE)
            return next(line for line in self.lines if words in line)

    def pids(self) -> dict[str, int]:
        """Of the programs, by what they are called."""
        self.wait_for("trunkline | ready in")
        found = (re.match(r"([\w-]+) +\| .* ready .*pid=(\d+)", line) for line in self.lines)
        return {match[1]: int(match[2]) for match in found if match}

    def addresses(self) -> dict[str, str]:
        """Where the programs serve, by what they are called."""
        where = self.wait_for("trunkline | ready in").rstrip("\n").partition(" s: ")[2]
        return dict(each.split(" ") for each in where.split(", "))

    def end(self) -> int:
        """Its exit code, once all that it said was heard."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for port in self._ports:
            port.close()
        return code


@pytest.fixture
def up(socket_dir: Path) -> Iterator[Up]:
    started = Up(socket_dir / "data")
    yield started
    if started.process.poll() is None:
        started.process.terminate()
        started.end()


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _kill(up: Up) -> None:
    """Returns when its programs are gone too."""
    watched = [os.pidfd_open(pid) for pid in up.pids().values()]
    up.process.kill()
    up.end()
    for descriptor in watched:
        gone, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert gone


def test_three_programs_are_healthy_where_the_ready_line_says(up: Up, socket_dir: Path) -> None:
    """One line says where each of them serves."""
    ready = up.wait_for("trunkline | ready in")
    for address in (up.bus, up.state, f"unix:{socket_dir}/data/sidecar.sock"):
        assert address in ready
        assert health(address) == "SERVING"
    assert len(set(up.pids().values())) == 3


def test_they_are_ready_within_two_seconds(socket_dir: Path) -> None:
    """The best of some starts, without the time in which others had the cores: other work must not decide."""
    seconds = []
    for number in range(4):
        up = Up(socket_dir / f"data{number}")
        took = re.search(r"ready in ([\d.]+) s", up.wait_for("trunkline | ready in"))
        children = (OwnTime(pid, since_start=True).waited() for pid in up.pids().values())
        waited = OwnTime(up.process.pid, since_start=True).waited() + max(children)
        up.process.terminate()
        assert up.end() == 0
        assert took is not None
        seconds.append(float(took[1]) - waited)
        if seconds[-1] <= 2.0:
            break
    assert min(seconds) <= 2.0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_all(up: Up, signum: signal.Signals) -> None:
    """Gracefully: each program says that it stopped, the exit code is 0, no process is left."""
    pids = up.pids()
    up.process.send_signal(signum)
    assert up.end() == 0
    assert sum("stopped" in line for line in up.lines) == 3
    assert all(_gone(pid) for pid in pids.values())


@pytest.mark.parametrize("name", ["bus", "state", "sidecar"])
def test_a_program_that_dies_is_named_and_ends_the_others(up: Up, name: str) -> None:
    """Nobody works on with half a system without knowing; the exit code is not 0."""
    pids = up.pids()
    os.kill(pids[name], signal.SIGKILL)
    assert up.end() == 1
    assert f"{name} ended by itself (SIGKILL)" in "".join(up.lines)
    assert all(_gone(pid) for pid in pids.values())


def test_no_program_outlives_a_parent_that_was_killed(up: Up) -> None:
    """They end with their standard input."""
    _kill(up)


def test_a_port_in_use_is_said(socket_dir: Path) -> None:
    """Which program, which address; and nothing is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        up = Up(socket_dir / "data", "--bus", taken)
        assert up.end() == 1
    (line,) = [line for line in up.lines if f"cannot serve on {taken}" in line]
    assert line.startswith("bus       | ")
    assert "cannot start" in line
    assert "bus ended by itself (exit code 1)" in "".join(up.lines)


def test_what_was_stored_survives_a_restart(socket_dir: Path) -> None:
    """The journal lies in the data directory beside the records, and what it says is where."""
    first = Up(socket_dir / "data")
    kept = first.wait_for("trunkline | stored messages are kept in")
    assert f"{socket_dir}/data/bus.db, records in {socket_dir}/data/state.db" in kept
    _call(first, "durable", "create", "workers", "work:>")
    _call(first, "publish", "work:a", '{"n": 1}', "--stored")
    _kill(first)
    assert {"bus.db", "state.db"} <= {path.name for path in (socket_dir / "data").iterdir()}
    second = Up(socket_dir / "data")
    second.wait_for("trunkline | ready in")
    taken = _call(second, "subscribe", "--durable", "workers", "--count", "1", "--timeout", "20")
    assert '{"n":1}' in taken
    second.process.terminate()
    assert second.end() == 0


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """With a password, which nobody shall see."""
    with running(requirepass="secret") as server:
        yield server


def test_two_replicas_over_redis_are_one_bus_and_one_store(socket_dir: Path, redis: RedisServer) -> None:
    """What is published at one is heard at the other, what is saved at one is read at the other; the first ones are
    where --bus and --state say. The URL is in no command line of a program; one Ctrl-C ends all."""
    up = Up(socket_dir / "data", "--redis", redis.url, "--replicas", "2")
    try:
        where, pids = up.addresses(), up.pids()
        assert (where["bus-1"], where["state-1"]) == (up.bus, up.state)
        assert set(where) == set(pids) == {"bus-1", "bus-2", "state-1", "state-2", "sidecar"}
        assert len(set(where.values())) == 5
        for pid in pids.values():
            assert redis.address not in Path(f"/proc/{pid}/cmdline").read_text()

        pipe = subprocess.PIPE
        heard = command(["--bus", where["bus-2"], "subscribe", "work:>", "--count", "1", "--timeout", f"{PATIENCE}"])
        with subprocess.Popen(heard, stdout=pipe, stderr=pipe, text=True) as listener:
            assert listener.stderr is not None
            assert listener.stdout is not None
            assert "subscribed" in listener.stderr.readline()
            _call(up, "--bus", where["bus-1"], "publish", "work:a", '{"n": 1}')
            assert '{"n":1}' in listener.stdout.read()
            assert listener.wait(PATIENCE) == 0
        _call(up, "--bus", where["bus-2"], "durable", "create", "workers", "work:>")
        _call(up, "--bus", where["bus-1"], "publish", "work:a", '{"n": 2}', "--stored")
        taken = _call(up, "--bus", where["bus-2"], "subscribe", "--durable", "workers", "--count", "1")
        assert '{"n":2}' in taken
        _call(up, "--state", where["state-1"], "state", "save", "agent", '{"agent_id": "a", "agent_type": "coding"}')
        assert '"coding"' in _call(up, "--state", where["state-2"], "state", "get", "agent", "a", "--format", "json")

        kept = up.wait_for("trunkline | stored messages")
        assert f"are kept in Redis (redis://{redis.address}/0), as its settings say" in kept
        assert not {"bus.db", "state.db"} & {path.name for path in (socket_dir / "data").iterdir()}
        up.process.send_signal(signal.SIGINT)
        assert up.end() == 0
        assert "secret" not in "".join(up.lines)
        assert sum("stopped" in line for line in up.lines) == 5
        assert all(_gone(pid) for pid in pids.values())
    finally:
        if up.process.poll() is None:
            up.process.terminate()
            up.end()


@pytest.mark.parametrize("url", ["redis://me:secret@{nobody}/0", "http://me:secret@{nobody}/0"])
def test_a_redis_that_is_not_there_is_said_once(socket_dir: Path, url: str) -> None:
    """By the first program that wants it, with where it is and without the password; nothing else is started."""
    with hold_port() as nobody:
        up = Up(socket_dir / "data", "--redis", url.format(nobody=address_of(nobody)), "--replicas", "3")
        assert up.end() == 2
    said = "".join(up.lines)
    (why,) = [line for line in up.lines if "invalid setting" in line]
    assert why.startswith("bus-1     | ")
    assert "TRUNKLINE_BUS_REDIS_URL" in why
    assert "trunkline | bus-1 ended by itself (exit code 2)" in said
    assert "secret" not in said
    assert "bus-2" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--replicas", "2"), "--replicas needs --redis URL"),
        (("--redis", "redis://localhost", "--replicas", "0"), "0 is not in the range 1<=x<=16"),
        (("--redis", "redis://localhost", "--replicas", "17"), "17 is not in the range 1<=x<=16"),
    ],
)
def test_replicas_that_cannot_be_are_refused(socket_dir: Path, options: tuple[str, ...], words: str) -> None:
    """Before anything is started."""
    up = Up(socket_dir / "data", *options)
    assert up.end() == 2
    assert words in "".join(up.lines)
    assert not (socket_dir / "data").exists()


def _call(up: Up, *arguments: str) -> str:
    """What a subcommand prints."""
    done = subprocess.run(
        command(["--bus", up.bus, *arguments]), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
