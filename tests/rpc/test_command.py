"""`python -m trunklined`: the real programs' options, bad settings, and what they cost while idle."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import StartProgram
from tests.patience import Stopwatch
from tests.programs import RunningProgram, run_program

PROGRAMS = ("bus", "state", "sidecar")
MAX_IDLE_BYTES = 80 * 1024 * 1024
MAX_IDLE_SHARE = 0.01
IDLE_SECONDS = 1.5


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_lists_each_setting_with_its_variable(name: str) -> None:
    """What can be set, and how from the environment."""
    said = run_program(name, "--help").stdout
    for field in ("address", "metrics_address", "log_level", "drain_seconds", "max_message_bytes"):
        assert f"--{field.replace('_', '-')} " in said
        assert f"TRUNKLINE_{name.upper()}_{field.upper()}" in said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_bad_option_is_named_with_its_value(name: str) -> None:
    """One line, exit code 2, no traceback."""
    ended = run_program(name, "--drain-seconds", "soon")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"trunklined {name}: --drain-seconds=soon: ")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_bad_variable_is_named_with_its_value(name: str) -> None:
    """One line for each setting that is wrong; an option is named as an option, a variable as a variable."""
    variable = f"TRUNKLINE_{name.upper()}_ADDRESS"
    ended = run_program(name, "--log-level", "loud", **{variable: "nowhere"})
    assert ended.returncode == 2
    assert f"{variable}=nowhere: want host:port" in ended.stderr
    assert "--log-level=loud: " in ended.stderr
    assert ended.stderr.count("\n") == 2


def test_an_option_goes_before_the_environment() -> None:
    """As everywhere."""
    ended = run_program("bus", "--address", "nowhere", TRUNKLINE_BUS_ADDRESS="127.0.0.1:0")
    assert "--address=nowhere" in ended.stderr


def test_an_unknown_program_or_option_is_wrong_usage() -> None:
    """Exit code 2."""
    assert run_program("broker").returncode == 2
    assert run_program("bus", "--adress", "x").returncode == 2


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_idle_program_is_small_and_quiet(name: str, start_program: StartProgram, socket_dir: Path) -> None:
    """Under 80 MB and under 1% of a core, with metrics served."""
    own = {
        "bus": (),
        "state": ("--path", f"{socket_dir}/state.db"),
        "sidecar": (
            *("--bus-address", "127.0.0.1:1", "--socket-path", f"{socket_dir}/channel.sock"),
            *("--store-path", f"{socket_dir}/sidecar.db"),
        ),
    }[name]
    program = start_program(name, *own, "--metrics-address", "127.0.0.1:0")
    with urllib.request.urlopen(f"http://{program.metrics_address}/metrics", timeout=10) as answer:
        assert b"process_cpu_seconds_total" in answer.read()
    assert _resident_bytes(program) < MAX_IDLE_BYTES
    costs = Stopwatch(0, MAX_IDLE_SHARE * IDLE_SECONDS, partial(_cpu_seconds, program))
    costs.measure(lambda: time.sleep(IDLE_SECONDS))


def _resident_bytes(program: RunningProgram) -> int:
    pages = int(Path(f"/proc/{program.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds(program: RunningProgram) -> float:
    """Since its start."""
    user, system = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_an_input_that_never_ends_cannot_be_followed() -> None:
    """/dev/null is no pipe: the option that was meant to end the program says so at once."""
    ended = run_program("bus", "--address", "127.0.0.1:0", "--end-with-stdin")
    assert ended.returncode == 1
    assert "standard input is neither a pipe nor a terminal" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_misspelt_variable_is_named_with_the_nearest_right_one(start_program: StartProgram) -> None:
    """A warning only: Kubernetes sets variables of such names for its Services, which are none of ours."""
    variables = {
        "TRUNKLINE_STATE_PAHT": "/data/state.db",
        "TRUNKLINE_STATE_SERVICE_HOST": "10.0.0.1",
        "TRUNKLINE_STATE_PORT_7432_TCP": "tcp://10.0.0.1:7432",
    }
    program = start_program("state", "--engine", "memory", env={**os.environ, **variables})
    program.stop()
    (warned,) = [event for event in program.events() if "no such setting" in event["event"]]
    assert warned["level"] == "warning"
    assert warned["event"] == (
        "TRUNKLINE_STATE_PAHT is set, but there is no such setting; did you mean TRUNKLINE_STATE_PATH?"
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_path_that_cannot_be_made_is_one_clear_line(name: str, tmp_path: Path, socket_dir: Path) -> None:
    """It says the whole path, why, and which setting has it; as JSON where logs are."""
    file = tmp_path / "file"
    file.write_text("")
    field = "store_path" if name == "sidecar" else "path"
    option = (f"--{field.replace('_', '-')}", f"{file}/below/x.db")
    more = ("--socket-path", "") if name == "sidecar" else ()
    plain = run_program(name, "--address", f"unix:{socket_dir}/s", *option, *more, "--log-format", "console")
    assert plain.returncode == 1
    assert plain.stderr.count("\n") == 1
    assert f"{file}/below/x.db cannot be opened: Not a directory" in plain.stderr
    assert f"TRUNKLINE_{name.upper()}_{field.upper()}" in plain.stderr
    for log_format in ("json", "auto"):
        as_json = run_program(name, "--address", f"unix:{socket_dir}/s", *option, *more, "--log-format", log_format)
        (line,) = as_json.stderr.splitlines()
        assert json.loads(line)["event"] == "cannot start"


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_invalid_setting_is_json_where_logs_are(name: str) -> None:
    """However the format is set."""
    variable = f"TRUNKLINE_{name.upper()}_LOG_FORMAT"
    for ended in (
        run_program(name, "--drain-seconds", "soon", "--log-format", "json"),
        run_program(name, "--drain-seconds", "soon", **{variable: "json"}),
    ):
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        said = json.loads(line)
        assert (said["event"], said["level"], said["program"]) == ("invalid setting", "error", name)
        assert said["reason"].startswith("--drain-seconds=soon: ")
