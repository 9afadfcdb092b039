"""state get, list, save, delete and watch against a real StateService."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from tests.cli.conftest import Trunkline
from tests.patience import PATIENCE
from tests.programs import RunningProgram, command


@pytest.fixture
def name() -> str:
    """An id that no other test uses."""
    return uuid4().hex


def test_a_record_can_be_saved_read_and_deleted(trunkline: Trunkline, name: str) -> None:
    """What `get` shows, `save` takes."""
    saved = trunkline("state", "save", "agent", json.dumps({"agent_id": name, "agent_type": "coding"}))
    assert saved.returncode == 0, saved.stderr
    shown = trunkline("state", "get", "agent", name, "--format", "json")
    record = json.loads(shown.stdout)
    assert (record["agent_id"], record["status"]) == (name, "idle")
    assert record["written_by"].startswith("ipv4:127.0.0.1:")  # nobody was asked who they are
    assert record["written_by"] in trunkline("state", "list", "agent").stdout
    written_at = datetime.fromisoformat(record["written_at"])
    assert abs(written_at - datetime.fromisoformat(record["created_at"])) < timedelta(seconds=PATIENCE)
    assert saved.stdout == f"saved agent {name} at revision {record['revision']}\n"
    again = trunkline("state", "save", "agent", input=shown.stdout)
    assert again.returncode == 0, again.stderr
    assert json.loads(trunkline("state", "get", "agent", name).stdout)["revision"] == record["revision"] + 1
    assert trunkline("state", "delete", "agent", name).stdout == f"deleted agent {name}\n"


def test_a_missing_record_is_3(trunkline: Trunkline, name: str) -> None:
    """For get and for delete, in both formats."""
    for verb in ("get", "delete"):
        said = trunkline("state", verb, "task", name)
        assert said.returncode == 3
        assert said.stderr == f"error: there is no task '{name}' (NOT_FOUND)\n"
    assert json.loads(trunkline("state", "get", "task", name, "--format", "json").stderr)["error_code"] == "NOT_FOUND"


def test_an_expected_revision_is_held(trunkline: Trunkline, name: str) -> None:
    """0: it must not exist yet; the error says both revisions."""
    body = json.dumps({"workflow_id": name})
    assert trunkline("state", "save", "workflow", body, "--expected-revision", "0").returncode == 0
    said = trunkline("state", "save", "workflow", body, "--expected-revision", "0", "--format", "json")
    assert said.returncode == 1
    error = json.loads(said.stderr)
    assert error["error_code"] == "REVISION_MISMATCH"
    assert error["details"]["expected"] == 0
    assert error["details"]["actual"] > 0


def test_a_list_is_filtered(trunkline: Trunkline, name: str) -> None:
    """A table for people, a line for each record for scripts."""
    for number, status in enumerate(["completed", "failed"]):
        record = {"task_id": f"{name}-{number}", "agent_id": name, "status": status}
        assert trunkline("state", "save", "task", json.dumps(record)).returncode == 0
    listed = trunkline("state", "list", "task", "--agent", name, "--format", "json").stdout.splitlines()
    assert [json.loads(line)["task_id"] for line in listed] == [f"{name}-0", f"{name}-1"]
    table = trunkline("state", "list", "task", "--agent", name, "--status", "failed").stdout
    assert f"{name}-1" in table
    assert f"{name}-0" not in table
    assert "revision" in table


def test_a_watch_shows_records_and_changes(trunkline: Trunkline, environment: dict[str, str], name: str) -> None:
    """What is there, SYNCED, then each change."""
    record = {"task_id": name, "agent_id": name, "status": "pending"}
    trunkline("state", "save", "task", json.dumps(record))
    watch = command(["state", "watch", "task", "--id", name, "--count", "3", "--format", "json"])
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True, env=environment) as watcher:
        assert watcher.stdout is not None
        first, synced = json.loads(watcher.stdout.readline()), json.loads(watcher.stdout.readline())
        trunkline("state", "save", "task", json.dumps(record | {"status": "completed"}))
        trunkline("state", "delete", "task", name)
        rest = [json.loads(line) for line in watcher.communicate(timeout=PATIENCE)[0].splitlines()]
    assert (first["change"], first["record"]["status"]) == ("saved", "pending")
    assert synced["change"] == "synced"
    assert [(each["change"], each["id"]) for each in rest] == [("saved", name), ("deleted", name)]
    assert rest[0]["record"]["status"] == "completed"
    assert watcher.returncode == 0


def test_an_unreachable_state_service_is_5(trunkline: Trunkline) -> None:
    """The message says what cannot be reached."""
    said = trunkline("--state", "127.0.0.1:1", "state", "get", "agent", "x")
    assert said.returncode == 5
    assert "127.0.0.1:1" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_watch_goes_on_when_the_service_comes_back(
    trunkline: Trunkline, environment: dict[str, str], killable_state: RunningProgram, name: str
) -> None:
    """The loss and the return are told on standard error; what was there is not shown again."""
    service = ("--state", killable_state.address)
    record = {"task_id": name, "agent_id": name, "status": "pending"}
    trunkline(*service, "state", "save", "task", json.dumps(record))
    watch = command([*service, "state", "watch", "task", "--count", "2"])
    pipe = subprocess.PIPE
    with subprocess.Popen(watch, stdout=pipe, stderr=pipe, text=True, env=environment) as watcher:
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        assert "saved" in watcher.stdout.readline()
        assert "synced" in watcher.stdout.readline()
        killable_state.kill()
        assert watcher.stderr.readline().startswith("-- connection lost: ")
        killable_state.start()
        assert watcher.stderr.readline() == "-- connected again\n"
        trunkline(*service, "state", "delete", "task", name)
        shown, told = watcher.communicate(timeout=PATIENCE)
    assert (shown.count("\n"), "deleted" in shown, told) == (1, True, "")
    assert watcher.returncode == 0
