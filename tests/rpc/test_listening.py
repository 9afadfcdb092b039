"""A server gets the address that it names, or a clear reason why not."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from grpc import aio

from trunklined.rpc.listening import ListenError, hang_up, is_live, listen


@pytest.fixture
async def server() -> AsyncIterator[aio.Server]:
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    yield server
    await server.stop(0)


async def test_port_zero_becomes_the_port_that_was_got(server: aio.Server) -> None:
    """The returned address can be dialled."""
    address = listen(server, "127.0.0.1:0")
    await server.start()
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 5):
        pass


async def test_a_port_in_use_is_refused(server: aio.Server) -> None:
    """Two servers never share a port silently."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ListenError, match=f"cannot serve on {address}: another program serves there"):
            listen(server, address)


async def test_a_socket_file_is_for_its_owner_alone(server: aio.Server, socket_dir: Path) -> None:
    """Mode 0600, and the process' own umask is as before."""
    mask = os.umask(0o022)
    os.umask(mask)
    listen(server, f"unix:{socket_dir}/s")
    assert stat.S_IMODE((socket_dir / "s").stat().st_mode) == 0o600
    assert os.umask(mask) == mask


async def test_a_stale_socket_file_is_replaced(server: aio.Server, socket_dir: Path) -> None:
    """A server that died leaves its file behind; nobody has to remove it by hand."""
    path = socket_dir / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen(server, f"unix:{path}")
    await server.start()
    assert is_live(path)


async def test_a_live_socket_is_left_alone(server: aio.Server, socket_dir: Path) -> None:
    """The second server gets a clear error, the first one goes on."""
    path = socket_dir / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ListenError, match="another program serves there"):
            listen(server, f"unix:{path}")
        assert is_live(path)


async def test_a_socket_with_a_full_backlog_counts_as_live(server: aio.Server, socket_dir: Path) -> None:
    """A server that is only slow to accept keeps its socket."""
    path = socket_dir / "s"
    waiting = []
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        with pytest.raises(ListenError, match="another program serves there"):
            listen(server, f"unix:{path}")
    for client in waiting:
        client.close()


async def test_a_file_that_is_no_socket_is_left_alone(server: aio.Server, socket_dir: Path) -> None:
    """A mistyped path never costs a file."""
    path = socket_dir / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="no socket"):
        listen(server, f"unix:{path}")
    assert path.read_text() == "data"


async def test_a_missing_directory_is_named(server: aio.Server, socket_dir: Path) -> None:
    """The error says which address and why."""
    with pytest.raises(ListenError, match=r"unix:.*/none/s: No such file or directory"):
        listen(server, f"unix:{socket_dir}/none/s")


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_server_that_hangs_up_is_gone_for_callers(server: aio.Server, socket_dir: Path, kind: str) -> None:
    """Before it is stopped: its connections end, new ones are refused, and stopping it removes the socket's file."""
    path = socket_dir / "s"
    address = listen(server, f"unix:{path}" if kind == "unix" else "127.0.0.1:0")
    await server.start()
    where: str | tuple[str, int] = str(path) if kind == "unix" else ("127.0.0.1", int(address.rpartition(":")[2]))
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family) as accepted, socket.socket(family) as late:
        await asyncio.to_thread(accepted.connect, where)
        assert await asyncio.to_thread(accepted.recv, 1)  # gRPC's first frame: the server has accepted
        hang_up(address)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(late.connect, where)
        with suppress(ConnectionResetError):
            while await asyncio.to_thread(accepted.recv, 4096):
                continue
    await server.stop(0)
    assert not path.exists()
