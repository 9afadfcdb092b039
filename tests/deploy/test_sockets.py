"""The sidecar's sockets, opened to other users: their mode and group, and that each program is asked who it is."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydantic import ValidationError

from tests.deploy.conftest import Start
from tests.patience import PATIENCE
from tests.programs import RunningProgram, health
from trunklined.access.tokens import make_token
from trunklined.sidecar.config import Settings

GUEST, STRANGER, TEAM = 41_001, 41_002, 41_100
"""Users and a group that no system has."""

BECOME = """
import json, os, socket, sys
import grpc, grpc._channel
from trunkline.cli.services.probe import main
where, uid, gid, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups])
os.setgid(int(gid))
os.setuid(int(uid))
"""
"""After what it imports, which another user need not be able to read."""

ASK_GRPC = """
sys.exit(main([where, "--timeout", "20"]))
"""

ASK_LINES = """
line = socket.socket(socket.AF_UNIX)
line.settimeout(20)
line.connect(where)
line.sendall(json.dumps({"sender": "a", "type": "STATUS"}).encode() + b"\\n")
sys.stdout.write(line.recv(4096).decode(errors="replace"))
"""

ASK_AS = """
with grpc.insecure_channel(where) as channel:
    ask = channel.unary_unary("/trunkline.v1.BusService/GetStats")
    try:
        ask(b"", metadata=[("trunkline-on-behalf-of", "operator")], timeout=20, wait_for_ready=True)
        sys.stdout.write("OK")
    except grpc.RpcError as error:
        sys.stdout.write(f"{error.code().name}: {error.details()}")
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, as pytest's own are not."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def sidecar(start: Start, folder: Path, *options: str, **words: Any) -> RunningProgram:
    return start(
        "sidecar",
        *("--socket-path", f"{folder}/lines.sock", "--store-path", "", "--metrics-address", "127.0.0.1:0"),
        *options,
        address=f"unix:{folder}/s.sock",
        **words,
    )


def run(
    code: str, where: str, uid: int, gid: int = 41_999, groups: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs a client as another user."""
    words = [sys.executable, "-c", BECOME + code, where, *map(str, (uid, gid, *groups))]
    return subprocess.run(words, timeout=PATIENCE, check=False, stdout=subprocess.PIPE, text=True)


def ask(code: str, where: str, uid: int, gid: int = 41_999, groups: tuple[int, ...] = ()) -> int:
    """The same; returns its exit code."""
    return run(code, where, uid, gid, groups).returncode


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_closed_by_default(start: Start, folder: Path) -> None:
    """Mode 0600, and nothing stands before gRPC's own socket."""
    sidecar(start, folder)
    assert {each.name: mode_of(each) for each in folder.iterdir()} == {"s.sock": 0o600, "lines.sock": 0o600}
    assert ask(ASK_GRPC, f"unix:{folder}/s.sock", GUEST) != 0


def test_a_user_is_let_in_and_another_is_sent_away(start: Start, folder: Path) -> None:
    """On both sockets; the log says who was refused, the metric how many."""
    program = sidecar(start, folder, "--allowed-uids", f"0,{GUEST}")
    assert mode_of(folder / "s.sock") == mode_of(folder / "lines.sock") == 0o666
    assert mode_of(folder / "s.sock.own") == 0o600
    where = f"unix:{folder}/s.sock"
    assert ask(ASK_GRPC, where, GUEST) == 0
    assert health(where) == "SERVING"
    assert ask(ASK_GRPC, where, STRANGER) == 5
    program.wait_for(f'"uid": {STRANGER}')
    ask(ASK_LINES, f"{folder}/lines.sock", STRANGER)  # which hears why, if it writes before the line is closed
    program.wait_for(f"user {STRANGER} is not allowed to connect")
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=PATIENCE) as page:
        assert "trunkline_sidecar_clients_denied_total 2.0" in page.read().decode()


def test_a_group_by_the_files_mode(start: Start, folder: Path) -> None:
    """As in a pod with fsGroup: the file lets its group connect, and the user is asked for all the same."""
    sidecar(start, folder, "--socket-mode", "0660", "--socket-group", str(TEAM), "--allowed-uids", f"0,{GUEST}")
    for name in ("s.sock", "lines.sock"):
        assert (mode_of(folder / name), (folder / name).stat().st_gid) == (0o660, TEAM)
    where = f"unix:{folder}/s.sock"
    assert ask(ASK_GRPC, where, GUEST, groups=(TEAM,)) == 0
    assert ask(ASK_GRPC, where, GUEST) == 5, "the kernel lets nobody else connect"
    assert ask(ASK_GRPC, where, STRANGER, groups=(TEAM,)) == 5, "the sidecar asks for the user, too"


def test_a_group_by_name_of_the_setting(start: Start, folder: Path) -> None:
    """Every user whose effective group is named."""
    sidecar(start, folder, "--allowed-gids", str(TEAM))
    assert ask(ASK_GRPC, f"unix:{folder}/s.sock", STRANGER, gid=TEAM) == 0
    assert ask(ASK_GRPC, f"unix:{folder}/s.sock", STRANGER) == 5
    assert ask(ASK_LINES, f"{folder}/lines.sock", STRANGER, gid=TEAM) == 0


def test_it_ends_whole(start: Start, folder: Path) -> None:
    """No file of a socket is left, and it can start there again."""
    program = sidecar(start, folder, "--allowed-gids", str(TEAM))
    assert program.stop() == 0
    assert list(folder.glob("*.sock")) == []
    program.start()
    assert health(f"unix:{folder}/s.sock") == "SERVING"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("socket_mode", "660x", "want the mode of a file in octal"),
        ("socket_mode", "0460", "lets its owner read and write"),
        ("socket_mode", "9660", "want the mode"),
        ("socket_group", "no-such-group", "there is no group of that name"),
        ("allowed_uids", "root", "want numbers with commas, such as 0,1000, not 'root'"),
        ("allowed_gids", "1;2", "not '1;2'"),
    ],
)
def test_bad_settings_are_named(name: str, value: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate({name: value})


def test_a_path_that_leaves_no_room_is_refused() -> None:
    path = f"unix:/{'a' * 105}"
    Settings(address=path)
    with pytest.raises(ValidationError, match="has at most 103 bytes"):
        Settings(address=path, allowed_gids="1")


def test_large_messages_pass_through_the_door(start: Start, folder: Path) -> None:
    """A program of another user publishes 3 MiB to a bus and reads it back through the sidecar."""
    bus = start("bus", "--path", f"{folder}/bus.db")
    sidecar(start, folder, "--allowed-uids", f"0,{GUEST}", "--bus-address", bus.address)
    code = """
import sys, trunkline.sync
from trunkline import AgentMessage, MessageType
with trunkline.sync.MessageBus(sys.argv[1]) as bus:
    got = []
    subscription = bus.subscribe("big", lambda message: got.append(len(message.payload["text"])))
    large = {"text": "x" * 3_000_000}
    bus.publish("big", AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="a", payload=large))
    import time
    until = time.monotonic() + 40
    while not got and time.monotonic() < until:
        time.sleep(0.02)
sys.exit(0 if got == [3_000_000] else 7)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, f"unix:{folder}/s.sock"],
        timeout=PATIENCE,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, json.dumps(ran.stderr[-2000:])


def test_who_is_let_in_speaks_for_nobody_else(start: Start, folder: Path) -> None:
    """Through a sidecar that the bus trusts to say whose calls are: its own user may say so, a guest may not."""
    (folder / "tokens").write_text((made := make_token("sidecar"))[1])
    (folder / "access.toml").write_text(
        '[[allow]]\nwho = ["sidecar"]\non_behalf_of = true\n[[allow]]\nwho = ["operator"]\ninspect = ["stats"]\n'
    )
    for file in folder.iterdir():
        file.chmod(0o600)
    files = ("--token-file", f"{folder}/tokens", "--access-file", f"{folder}/access.toml")
    bus = start("bus", "--engine", "memory", *files)
    sidecar(
        *(start, folder, "--allowed-uids", f"0,{GUEST}", "--bus-address", bus.address, "--on-behalf-of"),
        env={"TRUNKLINE_TOKEN": made[0]},
    )
    own = os.geteuid()
    for uid, said in ((own, "OK"), (GUEST, f"PERMISSION_DENIED: uid:{GUEST} may not speak for others")):
        assert run(ASK_AS, f"unix:{folder}/s.sock", uid).stdout == said
