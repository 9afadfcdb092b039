"""Real Redis servers for tests: alone, with replicas, with sentinels, as a cluster. On free ports of 127.0.0.1, in
directories of their own; each is ended by its pid, and none is left behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import redis
import trustme
from redis.crc import key_slot

from tests.patience import PATIENCE
from tests.programs import hold_port

SERVER = shutil.which("redis-server", path="/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin") or "redis-server"
VALKEY = (
    shutil.which("valkey-server", path=f"{Path(__file__).parents[2] / '.tools' / 'bin'}:/usr/bin") or "valkey-server"
)
PACE = 0.02
"""Seconds between two looks at a condition."""

SLOTS = 16_384


class RedisServer:
    """One redis-server as a child process.

    Args:
        options: as in redis.conf: `appendonly="yes"`, `requirepass="secret"`; underscores stand for dashes.
        sentinel: it is a sentinel.
        program: another server than Redis.
        tls: the authority that signs its certificate; then it speaks TLS only.
        name: whom its certificate is for besides 127.0.0.1; empty: for nobody that it is.
        lines: of redis.conf besides.
    """

    def __init__(
        self,
        *,
        sentinel: bool = False,
        program: str = SERVER,
        tls: trustme.CA | None = None,
        name: str = "localhost",
        lines: Sequence[str] = (),
        **options: str | int,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="trunkline-redis-"))
        self.ca = self.directory / "ca.pem"
        self._tls = tls
        self._sentinel = sentinel
        self._program = program
        self._held = hold_port()
        self.port: int = self._held.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.password = str(options.get("requirepass", "")) or None
        settings: dict[str, str | int] = {
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "logfile": str(self.directory / "log"),
            "daemonize": "no",
            "port": 0 if tls else self.port,
        }
        if tls is not None:
            self.certify(tls, name)
            settings |= {
                "tls-port": self.port,
                "tls-cert-file": str(self.directory / "server.pem"),
                "tls-key-file": str(self.directory / "server.pem"),
                "tls-ca-cert-file": str(self.ca),
                "tls-auth-clients": "no",
            }
        if not sentinel:
            settings |= {"save": '""', "appendonly": "no", "repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1}
            settings |= {name.replace("_", "-"): value for name, value in options.items()}
        text = "".join(f"{name} {value}\n" for name, value in settings.items()) + "".join(f"{line}\n" for line in lines)
        (self.directory / "redis.conf").write_text(text)

    def certify(self, authority: trustme.CA, name: str = "localhost") -> None:
        """Gives it a certificate of an authority; in force when it starts."""
        authority.cert_pem.write_to_path(self.ca)
        certificate = authority.issue_cert(*(("127.0.0.1", name) if name else ("other.example",)))
        certificate.private_key_and_cert_chain_pem.write_to_path(self.directory / "server.pem")

    @property
    def address(self) -> str:
        """Where it serves, as host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of its first database."""
        credentials = f":{self.password}@" if self.password else ""
        return f"redis{'s' if self._tls else ''}://{credentials}{self.address}/0"

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Starts it, or starts it again on its data; returns when it answers and has loaded them."""
        command = [self._program, str(self.directory / "redis.conf"), *(["--sentinel"] if self._sentinel else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.wait_until(lambda client: client.ping())
        return self

    def client(self) -> redis.Redis:
        """Returns a client of its own, for what tests look at."""
        own = str(self.directory / "server.pem")
        tls = {"ssl_ca_certs": str(self.ca), "ssl_certfile": own, "ssl_keyfile": own, "ssl_check_hostname": False}
        return redis.Redis.from_url(self.url, socket_timeout=PATIENCE, **(tls if self._tls else {}))

    def wait_until(self, holds: Callable[[Any], Any]) -> None:
        """Returns when `holds` says so of a client."""
        end = time.monotonic() + PATIENCE
        last: object = "nothing was true"
        while time.monotonic() < end:
            assert self._process is not None
            assert self._process.poll() is None, f"redis-server ended:\n{self.log()}"
            try:
                with self.client() as client:
                    if holds(client):
                        return
            except redis.RedisError as error:
                last = error
            time.sleep(PACE)
        raise AssertionError(f"{self.address}: {last}\n{self.log()}")

    def log(self) -> str:
        """What it wrote into its log."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def signal(self, number: int) -> None:
        """Sends it a signal, such as SIGSTOP."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kills it, as a machine that fails would; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """Makes sure that it is gone, with its data."""
        self.kill()
        self._held.close()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def running(**words: Any) -> Iterator[RedisServer]:
    """One server that stands alone; see `RedisServer`."""
    server = RedisServer(**words)
    try:
        yield server.start()
    finally:
        server.end()


class Replicas:
    """A master and its replicas."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.servers = list(servers)
        self.master, *self.replicas = servers

    @property
    def url(self) -> str:
        """Of the master that was first."""
        return self.master.url


@contextmanager
def replicated(replicas: int = 1, **options: Any) -> Iterator[Replicas]:
    """A master with replicas that are in step."""
    with ExitStack() as stack:
        master = stack.enter_context(running(**options))
        below = [stack.enter_context(running(replicaof=f"127.0.0.1 {master.port}", **options)) for _ in range(replicas)]
        master.wait_until(lambda client: _online(client) == replicas)
        yield Replicas([master, *below])


def _online(client: Any) -> int:
    info = client.info("replication")
    return sum(info.get(f"slave{index}", {}).get("state") == "online" for index in range(info["connected_slaves"]))


class Sentinels(Replicas):
    """A master, its replicas and the sentinels that watch them."""

    service = "main"

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        super().__init__(servers)
        self.sentinels = list(sentinels)

    @property
    def url(self) -> str:
        """Of the service, by all sentinels."""
        return f"redis+sentinel://{','.join(each.address for each in self.sentinels)}/{self.service}/0"

    def master_port(self) -> int:
        """Returns the port of the master that the first sentinel names."""
        with self.sentinels[0].client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)[1])


@contextmanager
def sentinels(replicas: int = 1, count: int = 3, down_after_ms: int = 1000, **options: Any) -> Iterator[Sentinels]:
    """A master with replicas, and sentinels that know each other."""
    with replicated(replicas, **options) as below, ExitStack() as stack:
        name, master = Sentinels.service, below.master
        lines = (
            f"sentinel monitor {name} 127.0.0.1 {master.port} {count // 2 + 1}",
            f"sentinel down-after-milliseconds {name} {down_after_ms}",
            f"sentinel failover-timeout {name} 5000",
            f"sentinel parallel-syncs {name} 1",
        )
        watching = [stack.enter_context(running(sentinel=True, lines=lines)) for _ in range(count)]
        for each in watching:
            each.wait_until(lambda client: _knows(client, name, replicas, count - 1))
        yield Sentinels(below.servers, watching)


def _knows(client: Any, name: str, replicas: int, others: int) -> bool:
    flat = client.execute_command("SENTINEL", "MASTER", name)
    pairs = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    found = {_text(key): _text(value) for key, value in pairs.items()}
    return int(found["num-slaves"]) == replicas and int(found["num-other-sentinels"]) == others


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Cluster:
    """Masters that share the slots."""

    def __init__(self, masters: Sequence[RedisServer]) -> None:
        self.masters = list(masters)

    @property
    def url(self) -> str:
        """Of the cluster, by all masters."""
        return f"redis+cluster://{','.join(each.address for each in self.masters)}"

    def move_slot(self, key: str, between: Callable[[], None] = lambda: None) -> tuple[RedisServer, RedisServer]:
        """Moves the slot of a key to another master, as `redis-cli --cluster reshard` does: key by key, while the slot
        is served by both.

        Args:
            between: called when one key of the slot is there, and the others are not.

        Returns:
            Where the slot was, and where it is.
        """
        slot = key_slot(key.encode())
        source = self._master_of(slot)
        target = self.masters[(self.masters.index(source) + 1) % len(self.masters)]
        with source.client() as there, target.client() as here:
            ids = [_text(each.execute_command("CLUSTER", "MYID")) for each in (there, here)]
            here.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
            there.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
            is_first = True
            while keys := there.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1 if is_first else 10):
                where = ("127.0.0.1", target.port, "", 0, int(PATIENCE * 1000))
                there.execute_command("MIGRATE", *where, "KEYS", *keys)
                if is_first:
                    between()
                is_first = False
            here.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
            there.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        for each in self.masters:
            if each not in (source, target):
                with each.client() as client:
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        return source, target

    def _master_of(self, slot: int) -> RedisServer:
        with self.masters[0].client() as client:
            for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(each for each in self.masters if each.port == master[1])
        raise AssertionError(f"nobody serves slot {slot}")


@contextmanager
def cluster(masters: int = 3, **options: Any) -> Iterator[Cluster]:
    """A cluster without replicas, in which every slot is served."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(masters):
            bus = hold_port()  # the nodes speak to each other on a port of their own
            stack.callback(bus.close)
            words: dict[str, Any] = {
                "cluster-enabled": "yes",
                "cluster-announce-ip": "127.0.0.1",
                "cluster-node-timeout": 2000,
            }
            words["cluster-port"] = bus.getsockname()[1]
            nodes.append(stack.enter_context(running(**{**words, **options})))
        bounds = [SLOTS * index // masters for index in range(masters + 1)]
        for index, node in enumerate(nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        with nodes[0].client() as client:
            for node in nodes[1:]:
                port = node.client().config_get("cluster-port")["cluster-port"]
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, port)
        for node in nodes:
            node.wait_until(lambda client: _cluster_is_up(client, masters))
        yield Cluster(nodes)


def _cluster_is_up(client: Any, masters: int) -> bool:
    said = client.execute_command("CLUSTER", "INFO")
    info = said if isinstance(said, dict) else dict(line.split(":") for line in _text(said).split("\r\n") if line)
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == masters


def pause(server: RedisServer) -> None:
    """Stops a server as a machine that hangs would."""
    server.signal(signal.SIGSTOP)


def resume(server: RedisServer) -> None:
    """Lets it go on."""
    server.signal(signal.SIGCONT)
