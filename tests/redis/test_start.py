"""What is wrong with a Redis is said at the start: one line, exit code 2, and nothing was written."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import pytest
import trustme

from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import address_of, hold_port, run_program
from tests.redis.servers import Cluster, RedisServer, Sentinels, running
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager, MessageType
from trunkline.errors import StorageError
from trunklined.redis.checks import check_redis
from trunklined.redis.link import Link
from trunklined.redis.target import parse_url

SECRET = "nobody-shall-read-this"
PREFIX = f"start-{uuid4().hex}"


def start(url: str, *options: str, **environment: str) -> CompletedProcess[str]:
    """Starts a state service over a Redis that it should refuse."""
    where = ("--address", "127.0.0.1:0", "--engine", "redis", "--redis-prefix", PREFIX)
    soon = ("--redis-timeout", "5", "--redis-wait", "1")
    return run_program("state", *where, *soon, *options, TRUNKLINE_STATE_REDIS_URL=url, **environment)


def is_refused(said: CompletedProcess[str], *words: str) -> None:
    """Asserts that one line says these words, and no secret."""
    assert said.returncode == 2, said
    [line] = said.stderr.strip().splitlines()
    for word in words:
        assert word in line
    assert SECRET not in said.stderr + said.stdout
    assert "Traceback" not in said.stderr + said.stdout


def keys(server: RedisServer) -> set[bytes]:
    """What is there of what a start would write."""
    with server.client() as client:
        return set(client.keys(f"*{PREFIX}*"))


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with a password."""
    with running(requirepass=SECRET) as server:
        yield server


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", ("needs --redis-url", "REDIS_URL")),
        (f"http://me:{SECRET}@localhost", ("TRUNKLINE_STATE_REDIS_URL=", "redis://", "redis+cluster://")),
        (f"redis://me:{SECRET}@localhost:many/0", ("'many'", "1 to 65535")),
        (f"redis://:{SECRET}@a:1,b:2/0", ("several hosts", "redis+sentinel://")),
        (f"redis+sentinel://:{SECRET}@a:1", ("names no service",)),
        (f"redis+cluster://:{SECRET}@a:1/3", ("the database 3",)),
        (f"redis://:{SECRET}@localhost/0?ssl=true", ("options behind ?",)),
    ],
)
def test_a_url_that_is_none(url: str, words: tuple[str, ...]) -> None:
    is_refused(start(url), *words)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--redis-prefix", "a{b}"), "letters, digits"),
        (("--redis-tls-ca", "/nowhere/ca.pem"), "rediss"),
    ],
)
def test_an_option_that_does_not_fit(options: tuple[str, str], word: str) -> None:
    is_refused(start("redis://localhost", *options), options[0], word)


def test_a_tls_file_that_is_not_there() -> None:
    is_refused(start("rediss://localhost", "--redis-tls-ca", "/nowhere/ca.pem"), "/nowhere/ca.pem", "No such file")


def test_nobody_answers() -> None:
    with hold_port() as held:
        is_refused(start(f"redis://:{SECRET}@{address_of(held)}"), address_of(held), "not available", "--redis-url")


@pytest.mark.parametrize("credentials", ["", f":{SECRET}-not@", f"nobody:{SECRET}@"])
def test_a_password_that_is_refused(guarded: RedisServer, credentials: str) -> None:
    is_refused(start(f"redis://{credentials}{guarded.address}"), "refuses user or password", guarded.address)
    assert not keys(guarded)


def test_a_user_who_may_not_write(guarded: RedisServer) -> None:
    with guarded.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@read", "+@connection", "+info")
    is_refused(start(f"redis://reader:{SECRET}@{guarded.address}"), "ACL does not permit", "reader")
    assert not keys(guarded)


def test_a_cluster_as_if_it_stood_alone(redis_cluster: Cluster) -> None:
    is_refused(start(f"redis://{redis_cluster.masters[0].address}"), "is a cluster", "redis+cluster://")
    assert not any(keys(master) for master in redis_cluster.masters)


def test_one_server_as_if_it_were_a_cluster(redis_server: RedisServer) -> None:
    is_refused(start(f"redis+cluster://{redis_server.address}"), "cluster", "--redis-url")
    assert not keys(redis_server)


def test_a_sentinel_as_if_it_were_a_server(redis_sentinels: Sentinels) -> None:
    is_refused(start(f"redis://{redis_sentinels.sentinels[0].address}"), "sentinel", "--redis-url")


def test_a_service_that_no_sentinel_knows(redis_sentinels: Sentinels) -> None:
    is_refused(start(f"redis+sentinel://{redis_sentinels.sentinels[0].address}/other"), "'other'", "not known there")


def test_a_replica_as_if_it_were_the_master(redis_sentinels: Sentinels) -> None:
    master = redis_sentinels.master_port()
    replica = next(each for each in redis_sentinels.servers if each.port != master)
    is_refused(start(replica.url), "read-only replica", replica.address)
    assert not keys(replica)


def test_a_server_that_drops_keys() -> None:
    with running(maxmemory="100mb", maxmemory_policy="allkeys-lru") as server:
        is_refused(start(server.url), "maxmemory-policy allkeys-lru", "noeviction")
        assert not keys(server)


def test_a_server_whose_memory_is_full() -> None:
    with running(maxmemory="1", maxmemory_policy="noeviction") as server:
        is_refused(start(server.url), "maxmemory is reached", server.address)
        assert not keys(server)


@pytest.mark.parametrize(
    ("name", "command", "words"),
    [
        ("heads", ("LPUSH", "heads", "x"), ("is a list, not a hash", "--redis-prefix")),
        ("heads", ("HSET", "heads", "x", "y"), ("choose another prefix", "--redis-prefix")),
        ("format", ("SET", "format", "something else"), ("'something else'", "another program uses this prefix")),
        ("format", ("SET", "format", "trunkline state 99"), ("is of format 99", "a newer version wrote it")),
    ],
)
def test_keys_of_others(redis_server: RedisServer, name: str, command: tuple[str, ...], words: tuple[str, ...]) -> None:
    tag = parse_url(redis_server.url).tag("state").replace("trunkline", PREFIX)
    key = f"{tag}:{name}"
    with redis_server.client() as client:
        client.execute_command(command[0], key, *command[2:])
        before = client.dump(key)
        is_refused(start(redis_server.url), *words)
        assert keys(redis_server) == {key.encode()}
        assert client.dump(key) == before
        client.delete(key)


def test_tls_that_is_none(redis_server: RedisServer) -> None:
    is_refused(start(redis_server.url.replace("redis://", "rediss://")), "not available", "--redis-url")
    assert not keys(redis_server)


def test_a_certificate_of_somebody_else(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with running(tls=trustme.CA()) as server:
        is_refused(start(server.url, "--redis-tls-ca", f"{tmp_path}/other.pem"), "certificate", server.address)
        assert not keys(server)


def test_tls_with_the_right_certificate(start_program: StartProgram) -> None:
    """It starts, and keeps its data there."""
    with running(tls=trustme.CA(), requirepass=SECRET) as server:
        environment = {"TRUNKLINE_STATE_REDIS_URL": server.url}
        options = ("--engine", "redis", "--redis-tls-ca", str(server.ca), "--redis-prefix", PREFIX)
        program = start_program("state", *options, env=environment)
        assert keys(server)
        assert program.stop() == 0
        assert SECRET not in program.output()


def test_where_the_acl_permits_neither_info_nor_config(guarded: RedisServer, start_program: StartProgram) -> None:
    """It starts, says what it does not know, and states no more than is true."""
    with guarded.client() as client:
        client.execute_command(
            *("ACL", "SETUSER", "narrow", "on", f">{SECRET}", "~*", "&*", "+@all", "-info", "-config", "-role")
        )
    environment = {"TRUNKLINE_STATE_REDIS_URL": f"redis://narrow:{SECRET}@{guarded.address}"}
    program = start_program("state", "--engine", "redis", "--redis-prefix", f"narrow-{PREFIX}", env=environment)
    events = program.events()
    assert any("ACL does not permit INFO" in each["event"] for each in events)
    assert [each["kept"] for each in events if "kept" in each] == ["memory"]
    assert SECRET not in program.output()


def test_the_acl_user_of_the_page_suffices(guarded: RedisServer, start_program: StartProgram) -> None:
    """Bus and state do all that they do by the keys and channels that docs/operations.md names."""
    shown = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    (rules,) = re.findall(r"^ACL SETUSER trunkline on '>\.\.\.' (.+)$", shown, re.MULTILINE)
    with guarded.client() as client:
        client.execute_command("ACL", "SETUSER", "trunkline", "on", f">{SECRET}", *rules.split())
    url = f"redis://trunkline:{SECRET}@{guarded.address}"
    bus = ("--engine", "redis", "--redis-prefix", "trunkline")
    first = start_program("bus", *bus, env={"TRUNKLINE_BUS_REDIS_URL": url})
    second = start_program("bus", *bus, env={"TRUNKLINE_BUS_REDIS_URL": url})
    state = start_program("state", *bus, env={"TRUNKLINE_STATE_REDIS_URL": url})

    async def work() -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def hear(message: AgentMessage) -> None:
            await heard.put(message.channel)

        async with (
            GrpcMessageBus(first.address) as here,
            GrpcMessageBus(second.address) as there,
            GrpcStateManager(state.address) as manager,
            asyncio.timeout(PATIENCE),
        ):
            await here.subscribe("live:news", hear)
            await here.subscribe("stored:news", hear, durable="all")
            message = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="me", payload={})
            await there.publish("live:news", message)
            assert await heard.get() == "live:news"
            await there.publish("stored:news", message, stored=True)
            assert await heard.get() == "stored:news"
            await manager.save_agent_state(AgentState(agent_id="one", agent_type="coding"))
            assert await manager.get_agent_state("one") is not None

    asyncio.run(work())
    for program in (first, second, state):
        assert program.stop() == 0


@asynccontextmanager
async def answering(info: str) -> AsyncIterator[str]:
    """Where somebody answers as an old Redis would, of which no program is at hand."""
    written: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while header := await reader.readline():
            words = []
            for _ in range(int(header[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            written.append(words[0].upper())
            answer = {b"ROLE": "*1\r\n$6\r\nmaster\r\n", b"EVAL": ":1\r\n", b"INFO": f"${len(info)}\r\n{info}\r\n"}
            writer.write(answer.get(words[0].upper(), "+OK\r\n").encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
        assert not {b"SET", b"HSET", b"XADD"} & set(written)
    finally:
        server.close()


@pytest.mark.parametrize(("version", "is_taken"), [("6.2.14", False), ("7.0.0", True), ("10.1", True)])
async def test_a_redis_that_is_too_old(version: str, is_taken: bool) -> None:
    types: dict[str, Any] = {}
    async with answering(f"redis_version:{version}\r\nredis_mode:standalone\r\nrole:master\r\n") as address:
        link = Link(parse_url(f"redis://{address}"), "state", retry_seconds=0)
        with pytest.raises(StorageError) as refused:
            await check_redis(link, "state", 1, types)
        await link.close()
    # The other versions come as far as the keys, of which this server knows nothing.
    assert ("too old: 7.0 or newer" in refused.value.message) is not is_taken
    assert refused.value.details["setting"] in ("redis_url", "redis_prefix")


def test_a_target_as_text_has_no_password() -> None:
    target = parse_url(f"redis://me:{SECRET}@localhost:6379/2")
    assert str(target) == "redis://me:***@localhost:6379/2"
    assert SECRET not in repr(target)
