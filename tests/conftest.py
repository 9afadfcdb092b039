"""Real programs for the tests: shared ones for the session, and killable ones for one test."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.programs import RunningProgram
from tests.redis import servers
from tests.redis.replicas import Replicas, Where
from tests.turns import Turns

StartProgram = Callable[..., RunningProgram]

SYNCED: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"}
"""Redis syncs what it takes."""
PATIENT_MS = 60_000
"""However busy the machine is, the session's servers count each other as alive."""

# How long an example takes says how busy the machine is.
settings.register_profile("trunkline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trunkline")


def pytest_configure() -> None:
    """A shell that starts the tests in the background lets them ignore Ctrl-C, and so would every program that they
    start; the tests send it to programs on purpose."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_turns = Turns()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the timeout: to wait for a turn is not to run
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """Runs tests that are marked `alone` while no other process of this run tests anything."""
    _turns.begin(alone=_is_alone(item))
    try:
        return (yield)
    finally:
        if not (nextitem is not None and _is_alone(item) and _is_alone(nextitem)):
            _turns.end()


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Writes lone surrogates as they are escaped in Python: tests log such texts on purpose, and processes that run
    tests in parallel tell each other only what UTF-8 can say."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {_encodable(key): _encodable(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(map(_encodable, value))
        case _:
            return value


@contextmanager
def _directory() -> Iterator[Path]:
    """Not pytest's: its names, with the test's in them, are too long for UNIX sockets."""
    path = Path(tempfile.mkdtemp(prefix="trunkline-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def programs() -> Iterator[StartProgram]:
    """Yields what starts programs, and ends them all."""
    started: list[RunningProgram] = []

    def start(name: str, *options: str, **words: Any) -> RunningProgram:
        if name == "bus" and not {"--path", "--engine"} & set(options):
            options = (*options, "--engine", "memory")  # the default file is one for all
        program = RunningProgram(name, *options, **words)
        started.append(program)
        return program.start()

    try:
        yield start
    finally:
        for program in reversed(started):
            program.end()


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A directory with a name that is short enough for UNIX sockets, whatever the test is called."""
    with _directory() as path:
        yield path


@pytest.fixture
def start_program(socket_dir: Path) -> Iterator[StartProgram]:
    """`start_program("bus", "--max-subscriptions", "2")` starts a program that ends with the test, and before the
    test's directory does, where it may still be writing."""
    with programs() as start:
        yield start


def _start_bus(start: StartProgram, directory: Path) -> RunningProgram:
    return start("bus", "--path", f"{directory}/bus.db")


def _start_state(start: StartProgram, directory: Path, *options: str) -> RunningProgram:
    return start("state", "--engine", "sqlite", "--path", f"{directory}/state.db", *options)


def _start_sidecar(start: StartProgram, directory: Path, bus: str, state: str) -> RunningProgram:
    upstreams = ("--bus-address", bus, "--state-address", state)
    files = ("--socket-path", f"{directory}/channel.sock", "--store-path", f"{directory}/sidecar.db")
    return start("sidecar", *upstreams, *files, address=f"unix:{directory}/sidecar.sock")


@pytest.fixture(scope="session")
def _shared_directory() -> Iterator[Path]:
    with _directory() as path:
        yield path


@pytest.fixture(scope="session")
def _shared(_shared_directory: Path) -> Iterator[StartProgram]:
    with programs() as start:
        yield start


@pytest.fixture(scope="session")
def bus_program(_shared: StartProgram, _shared_directory: Path) -> RunningProgram:
    """The session's bus. Shared: do not end it, and use channels of your own."""
    return _start_bus(_shared, _shared_directory)


@pytest.fixture(scope="session")
def replica_addresses(_shared: StartProgram) -> Iterator[list[str]]:
    """Where two replicas of one bus serve, with a Redis of their own. Shared: use channels of your own."""
    with servers.running() as redis:
        yield [_shared("bus", "--redis-url", redis.url, "--replica-ttl", "60").address for _ in range(2)]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Where the session's Redis is, which syncs what it takes. Shared: use channels, names or prefixes of your own."""
    with servers.running(**SYNCED) as redis:
        yield redis.url


@contextmanager
def _journal_replicas(redis: Where) -> Iterator[Replicas]:
    lasting = ("--journal-lease-seconds", "60", "--replica-ttl", "60")  # however busy the machine is
    replicas = Replicas(redis, 2, *lasting)
    try:
        yield replicas.start()
    finally:
        replicas.end()


@pytest.fixture(scope="session")
def journal_replicas() -> Iterator[Replicas]:
    """The session's two buses over one journal, in a Redis that syncs what it takes. Shared: do not end them, and use
    channels and names of your own."""
    with servers.running(**SYNCED) as redis, _journal_replicas(redis) as replicas:
        yield replicas


@pytest.fixture(scope="session")
def sentinel_replicas(redis_sentinels: servers.Sentinels) -> Iterator[Replicas]:
    """The same over the session's Redis with sentinels."""
    with _journal_replicas(redis_sentinels) as replicas:
        yield replicas


@pytest.fixture(scope="session")
def cluster_replicas(redis_cluster: servers.Cluster) -> Iterator[Replicas]:
    """The same over the session's Redis Cluster."""
    with _journal_replicas(redis_cluster) as replicas:
        yield replicas


@pytest.fixture
def owner_address(journal_replicas: Replicas) -> str:
    """Where the replica serves that owns the journal."""
    return journal_replicas.settle().address


@pytest.fixture
def replica_address(journal_replicas: Replicas) -> str:
    """Where the other one does."""
    return journal_replicas.others[0].address


@pytest.fixture(scope="session")
def state_program(_shared: StartProgram, _shared_directory: Path, bus_program: RunningProgram) -> RunningProgram:
    """The session's state service (sqlite) before the session's bus. Shared: do not end it, and use ids of your own."""
    return _start_state(_shared, _shared_directory, "--bus-address", bus_program.address)


@pytest.fixture(scope="session")
def sidecar_program(
    _shared: StartProgram, _shared_directory: Path, bus_program: RunningProgram, state_program: RunningProgram
) -> RunningProgram:
    """The session's sidecar before the session's bus and state. Shared: do not end it."""
    return _start_sidecar(_shared, _shared_directory, bus_program.address, state_program.address)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.RedisServer]:
    """The session's Redis, alone, which keeps nothing. Shared: do not end it, and use a prefix of your own."""
    with servers.running() as server:
        yield server


@pytest.fixture(scope="session")
def redis_sentinels() -> Iterator[servers.Sentinels]:
    """The session's Redis with a replica and sentinels, which syncs what it takes. Shared: do not end them, and use a
    prefix of your own."""
    with servers.sentinels(down_after_ms=PATIENT_MS, **SYNCED) as watched:
        yield watched


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[servers.Cluster]:
    """The session's Redis Cluster, which syncs what it takes. Shared: do not end it, and use a prefix of your own."""
    with servers.cluster(cluster_node_timeout=PATIENT_MS, **SYNCED) as cluster:
        yield cluster


def _start_redis_state(start: StartProgram, url: str, *options: str) -> RunningProgram:
    return start("state", "--engine", "redis", *options, env={"TRUNKLINE_STATE_REDIS_URL": url})


@pytest.fixture(scope="session")
def redis_state_addresses(
    _shared: StartProgram, redis_server: servers.RedisServer, bus_program: RunningProgram
) -> tuple[str, str]:
    """Where two state services over one store in the session's Redis serve, before the session's bus. Shared."""
    bus = ("--bus-address", bus_program.address)
    first, second = (_start_redis_state(_shared, redis_server.url, *bus).address for _ in range(2))
    return first, second


@pytest.fixture(scope="session")
def sentinel_state_address(
    _shared: StartProgram, redis_sentinels: servers.Sentinels, bus_program: RunningProgram
) -> str:
    """Where a state service over the session's Redis with sentinels serves. Shared."""
    return _start_redis_state(_shared, redis_sentinels.url, "--bus-address", bus_program.address).address


@pytest.fixture(scope="session")
def cluster_state_address(_shared: StartProgram, redis_cluster: servers.Cluster, bus_program: RunningProgram) -> str:
    """Where a state service over the session's Redis Cluster serves. Shared."""
    return _start_redis_state(_shared, redis_cluster.url, "--bus-address", bus_program.address).address


@pytest.fixture(scope="session")
def bus_address(bus_program: RunningProgram) -> str:
    """Where the session's bus serves."""
    return bus_program.address


@pytest.fixture(scope="session")
def state_address(state_program: RunningProgram) -> str:
    """Where the session's state service serves."""
    return state_program.address


@pytest.fixture(scope="session")
def sidecar_address(sidecar_program: RunningProgram) -> str:
    """Where the session's sidecar serves: a UNIX socket."""
    return sidecar_program.address


@pytest.fixture
def killable_bus(start_program: StartProgram, socket_dir: Path) -> RunningProgram:
    """A bus of this test alone: kill(), restart() on the same address, pause(), resume(), stop()."""
    return _start_bus(start_program, socket_dir)


@pytest.fixture
def killable_state(start_program: StartProgram, socket_dir: Path) -> RunningProgram:
    """A state service of this test alone; a restart finds the same file."""
    return _start_state(start_program, socket_dir)


@pytest.fixture
def killable_sidecar(
    start_program: StartProgram, socket_dir: Path, killable_bus: RunningProgram, killable_state: RunningProgram
) -> RunningProgram:
    """A sidecar of this test alone before its killable bus and state."""
    return _start_sidecar(start_program, socket_dir, killable_bus.address, killable_state.address)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A real file system of 2 MiB. Mounting needs root."""
    directory = Path(tempfile.mkdtemp(prefix="trunkline-"))
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(directory)],
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        directory.rmdir()
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.decode().strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
        shutil.rmtree(directory, ignore_errors=True)
