"""The state service as a real process: kills, full disks, second servers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.programs import RunningProgram, run_program
from tests.state.samples import agent
from trunkline.v1 import state_pb2 as wire
from trunkline.v1 import state_pb2_grpc
from trunkline.wire.status import error_from_rpc

AGENT_STATE = wire.RECORD_KIND_AGENT_STATE


def ask(program: RunningProgram, call: Callable[[state_pb2_grpc.StateServiceStub], object]) -> object:
    with grpc.insecure_channel(program.address) as channel:
        return call(state_pb2_grpc.StateServiceStub(channel))


def ids(program: RunningProgram) -> set[str]:
    found: set[str] = set()
    token = ""
    while True:
        request = wire.ListRequest(kind=AGENT_STATE, page_size=1000, page_token=token)
        page = ask(program, lambda stub, request=request: stub.List(request))  # type: ignore[misc]
        assert isinstance(page, wire.ListResponse)
        found.update(record.agent_state.agent_id for record in page.records)
        token = page.next_page_token
        if not token:
            return found


def test_a_write_that_was_answered_survives_kill_9(killable_state: RunningProgram) -> None:
    """Killed at any moment amid a stream of writes, five times: whatever was answered is there, and revisions go on."""
    answered: dict[str, int] = {}
    for life in range(5):
        with grpc.insecure_channel(killable_state.address) as channel:
            stub = state_pb2_grpc.StateServiceStub(channel)
            calls = []
            for number in range(400):
                id = f"life{life}-{number}"
                calls.append((id, stub.Save.future(wire.SaveRequest(agent_state=agent(id)))))
                if number == 50 + 60 * life:
                    calls[0][1].result(timeout=10)
                    calls[number // 2][1].result(timeout=10)
                    killable_state.kill()
            for id, call in calls:
                if call.exception(timeout=10) is None:
                    answered[id] = call.result().revision
        killable_state.restart()
        assert answered.keys() <= ids(killable_state)
    assert len(answered) >= 5
    assert len(set(answered.values())) == len(answered)
    for id, revision in answered.items():
        request = wire.GetRequest(kind=AGENT_STATE, id=id)
        got = ask(killable_state, lambda stub, request=request: stub.Get(request))  # type: ignore[misc]
        assert isinstance(got, wire.GetResponse)
        assert got.record.revision == revision


def test_a_second_server_on_the_same_file_ends_with_a_clear_error(
    killable_state: RunningProgram, socket_dir: Path
) -> None:
    """Exit code 1, with the holder's pid; the first goes on."""
    path = socket_dir / "state.db"
    said = run_program("state", "--address", "127.0.0.1:0", "--path", str(path), "--log-format", "json")
    assert said.returncode == 1
    assert f"pid {killable_state.pid}" in said.stderr
    assert "Traceback" not in said.stderr
    ask(killable_state, lambda stub: stub.Save(wire.SaveRequest(agent_state=agent())))


def test_a_database_from_a_newer_version_ends_it_with_a_clear_error(
    killable_state: RunningProgram, socket_dir: Path
) -> None:
    """Exit code 1 with both versions; nothing is altered."""
    ask(killable_state, lambda stub: stub.Save(wire.SaveRequest(agent_state=agent())))
    assert killable_state.stop() == 0
    path = socket_dir / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    said = run_program("state", "--address", "127.0.0.1:0", "--path", str(path), "--log-format", "json")
    assert said.returncode == 1
    assert "version 99" in said.stderr
    assert "Traceback" not in said.stderr
    assert path.read_bytes() == before


def save_until_refused(program: RunningProgram, start: int) -> tuple[int, str]:
    """How many were saved, and the reason of the one that was not."""
    text = '{"x":"' + "y" * 8000 + '"}'
    for number in range(start, start + 2000):
        request = wire.SaveRequest(agent_state=agent(f"r{number}", metadata_json=text))
        try:
            ask(program, lambda stub, request=request: stub.Save(request))  # type: ignore[misc]
        except grpc.RpcError as error:
            refused = error_from_rpc(error)
            return number, f"{refused.error_code} {refused.details.get('limit')}"
    raise AssertionError("the disk was never full")


def test_a_full_disk_refuses_writes_and_reads_go_on_and_it_resumes(
    small_disk: Path, start_program: Callable[..., RunningProgram]
) -> None:
    """OVERLOADED while there is no room; a restart on the full disk works; nothing that was answered is lost."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    program = start_program("state", "--path", str(small_disk / "state.db"))
    count, reason = save_until_refused(program, 0)
    assert reason == "OVERLOADED disk"
    assert count > 10
    expected = {f"r{number}" for number in range(count)}
    assert ids(program) == expected
    os.unlink(ballast)
    again, reason = save_until_refused(program, count)
    assert again > count, "it did not resume when there was room"
    assert reason == "OVERLOADED disk"
    expected = {f"r{number}" for number in range(again)}
    assert ids(program) == expected
    program.restart()
    assert ids(program) == expected
    with sqlite3.connect(small_disk / "state.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_metrics_tell_operations_and_commit_latency(
    start_program: Callable[..., RunningProgram], socket_dir: Path
) -> None:
    """On the metrics port, as Prometheus reads them."""
    from urllib.request import urlopen

    program = start_program("state", "--engine", "memory", "--metrics-address", "127.0.0.1:0")
    ask(program, lambda stub: stub.Save(wire.SaveRequest(agent_state=agent())))
    with pytest.raises(grpc.RpcError):
        ask(program, lambda stub: stub.Get(wire.GetRequest(kind=AGENT_STATE, id="none")))
    with urlopen(f"http://{program.metrics_address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    for line in (
        'trunkline_state_operations_total{operation="save"} 1.0',
        'trunkline_state_errors_total{reason="NOT_FOUND"} 1.0',
        'trunkline_state_records{kind="agent_state"} 1.0',
        "trunkline_state_commit_seconds_count 1.0",
        "trunkline_state_waiting_writes 0.0",
        "trunkline_state_watchers 0.0",
    ):
        assert line in text
