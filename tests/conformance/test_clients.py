"""Holds the clients of all languages to one table of cases, against real programs; and to the same bytes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.access.conftest import EVERYTHING
from tests.conformance.runners import Runner
from tests.conftest import StartProgram, programs
from tests.patience import PATIENCE
from tests.polyglot.languages import LANGUAGES, build
from tests.programs import RunningProgram, address_of, hold_port, sync_channel
from trunkline import Tls
from trunkline.tls.certificates import write_certificates
from trunkline.v1 import bus_pb2, bus_pb2_grpc, message_pb2, state_pb2

HERE: Final = Path(__file__).parent
CASES: Final[dict[str, dict[str, Any]]] = json.loads((HERE / "cases.json").read_text())
VECTORS: Final[list[dict[str, Any]]] = json.loads((HERE / "vectors.json").read_text())
DIGITS: Final = {"python": 6}
"""Of a second that a language's times have; 9 where nothing is said."""


def casts() -> Iterator[Any]:
    """Who plays a and b in each case: each language alone, each with the next one, or all pairs; without those that
    do not have what it is about."""
    for case, words in CASES.items():
        names = [name for name in LANGUAGES if name not in words.get("without", ())]
        played: list[tuple[str, ...]]
        match words["pairs"]:
            case "one":
                played = [(name,) for name in names]
            case "ring":
                played = [(name, names[(at + 1) % len(names)]) for at, name in enumerate(names)]
            case _:
                played = [(a, b) for a in names for b in names]
        for cast in played:
            yield pytest.param(case, cast, id=f"{case.replace(' ', '-')}-{'-'.join(cast)}")


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[tuple[str, str], Runner]]:
    """A runner for each part and language, started when it is first asked for."""
    started: dict[tuple[str, str], Runner] = {}
    try:
        yield started
    finally:
        for each in started.values():
            each.end()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the table names: a bus and a state service, also with a small rate for all who call, a bus with TLS, an
    address where nobody is, and authorities."""
    folder = tmp_path_factory.mktemp("conformance")
    for authority in ("own", "other"):
        (folder / authority).mkdir()
        write_certificates(folder / authority)
    with programs() as start, hold_port() as away:
        yield {
            **_services(start, folder),
            "away": address_of(away),
            "ca": f"{folder}/own/ca.pem",
            "other_ca": f"{folder}/other/ca.pem",
            "long": "k" * 256,
            "now": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }


def _services(start: StartProgram, folder: Path) -> dict[str, Any]:
    bus = start("bus", "--path", f"{folder}/bus.db", "--max-queued-messages", "100")
    state = start("state", "--path", f"{folder}/state.db", "--watch-history", "50")
    options = ("--tls-cert", f"{folder}/own/server.pem", "--tls-key", f"{folder}/own/server.key")
    secure = start("bus", *options, tls=Tls(ca=f"{folder}/own/ca.pem"))
    rate = '[[limit]]\nwho = ["*"]\nmessages_per_second = 20\nmessages_burst = 3\n'
    (folder / "access.toml").write_text(f'[[allow]]\nwho = ["anonymous"]\n{EVERYTHING}\n{rate}')
    limited = ("--access-file", f"{folder}/access.toml")
    return {
        "programs": {"bus": bus, "state": state},
        "bus": bus.address,
        "state": state.address,
        "limited_bus": start("bus", "--path", f"{folder}/limited.db", *limited).address,
        "limited_state": start("state", "--engine", "memory", *limited).address,
        "without_tls": secure.address.removeprefix("tls://"),
    }


@contextmanager
def closed(parts: dict[str, Runner], running: dict[str, RunningProgram]) -> Iterator[None]:
    """Leaves runners without connections, and services that run, for the next case."""
    try:
        yield
    finally:
        for runner in parts.values():
            runner.process.send_signal(signal.SIGCONT)
            runner.do({"do": "close"})
        for program in running.values():
            if program.process.poll() is not None:
                program.start()


@pytest.mark.timeout(10 * PATIENCE)
@pytest.mark.parametrize(("case", "cast"), list(casts()))
def test_a_case(
    case: str, cast: tuple[str, ...], runners: dict[tuple[str, str], Runner], places: dict[str, Any]
) -> None:
    """Each step is answered as the table says."""
    words = {**places, "case": f"c{list(CASES).index(case)}-{'-'.join(cast)}"}
    parts: dict[str, Runner] = {}
    for part, name in zip("ab", cast, strict=False):
        if (part, name) not in runners:
            runners[part, name] = Runner(build(name), part)
        parts[part] = runners[part, name]
    digits = min(DIGITS.get(name, 9) for name in cast)
    with closed(parts, places["programs"]):
        for at, (who, step, *wanted) in enumerate(CASES[case]["steps"]):
            if who == "test":
                _act(step, parts, places["programs"])
                continue
            _check(f"step {at}, {who}: {step}", parts[who], _filled(step, words), wanted, words, digits)


def _act(what: str, parts: dict[str, Runner], running: dict[str, RunningProgram]) -> None:
    """Does what the test does itself."""
    verb, whom = what.split()
    match verb:
        case "kill":
            running[whom].kill()
        case "start":
            running[whom].start()
        case "pause":
            parts[whom].process.send_signal(signal.SIGSTOP)
        case "resume":
            parts[whom].process.send_signal(signal.SIGCONT)
        case "find":
            _find(parts[whom].client_name, running["bus"])
        case _:
            pytest.fail(f"{what!r} is no step")


def _find(client_name: str, bus: RunningProgram) -> None:
    """A client's name stands beside its subscriptions."""
    with sync_channel(bus.address) as channel:
        stub = bus_pb2_grpc.BusServiceStub(channel)
        listed = stub.ListSubscriptions(bus_pb2.ListSubscriptionsRequest(), timeout=PATIENCE)
    peers = [each.peer for each in listed.subscriptions]
    assert any(each.endswith(f" [{client_name}]") for each in peers), peers


def _check(
    where: str, runner: Runner, step: dict[str, Any], wanted: list[Any], words: dict[str, Any], digits: int
) -> None:
    """Does a step; `wanted` has what it answers or the code of its error, and what else is said of an error."""
    answer, more = (*wanted, None, None)[:2] if wanted else (None, None)
    if "repeat" in step:
        step["messages"] = step["messages"] * step.pop("repeat")
    times, until = step.pop("times", 1), step.pop("until", None)
    all_that_came = [runner.do(step) for _ in range(times)]
    came = next((each for each in all_that_came if "error" in each), all_that_came[-1])
    while until is not None and came["ok"]["changes"][0]["id"] != until:
        came = runner.do(step)
    if isinstance(answer, str):
        assert came.get("error", {}).get("code") == answer, f"{where}: {came}"
        _match(where, came["error"], _filled(more or {}, words), words, digits)
        return
    if "error" in came and more is not None and came["error"]["code"] == more.get("or"):
        return
    assert "ok" in came, f"{where}: {came}"
    _match(where, came["ok"], _filled(answer or {}, words), words, digits)


def _filled(value: Any, words: dict[str, Any]) -> Any:
    """Puts words in: a text that is one word alone becomes its value."""
    match value:
        case dict():
            return {key: _filled(each, words) for key, each in value.items()}
        case list():
            return [_filled(each, words) for each in value]
        case str():
            if value.startswith("{") and value.endswith("}") and value[1:-1] in words:
                return words[value[1:-1]]
            for word in ("case", "bus", "without_tls"):
                value = value.replace(f"{{{word}}}", str(words[word]))
            return value
        case _:
            return value


def _match(where: str, came: Any, wanted: Any, words: dict[str, Any], digits: int) -> None:
    """All that is wanted came; None wants nothing, or something empty. {"keep": word} keeps a value."""
    if isinstance(wanted, dict) and list(wanted) == ["keep"]:
        assert came, f"{where}: nothing to keep"
        words[wanted["keep"]] = came
        return
    match wanted:
        case dict():
            for key, each in wanted.items():
                got = came.get(key)
                if each is not None and key in ("json", "metadata"):
                    assert json.loads(got or "{}") == json.loads(each), f"{where}: {key} is {got}"
                elif each is not None and key in ("time", "heartbeat"):
                    assert _instant(got, digits) == _instant(each, digits), f"{where}: {key} is {got}"
                else:
                    _match(f"{where}, {key}", got, each, words, digits)
        case list():
            assert isinstance(came, list), f"{where}: {came}"
            assert len(came) == len(wanted), f"{where}: {came}"
            for index, (got, each) in enumerate(zip(came, wanted, strict=True)):
                _match(f"{where}[{index}]", got, each, words, digits)
        case None:
            assert not came or came == "{}", f"{where}: {came!r} came"
        case _:
            assert came == wanted, f"{where}: {came!r} came, not {wanted!r}"


def _instant(text: str, digits: int) -> tuple[str, str]:
    """A time of UTC, with so many digits of its second."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return seconds, fraction.ljust(9, "0")[:digits]


@pytest.mark.parametrize("vector", VECTORS, ids=[each["name"].replace(" ", "-") for each in VECTORS])
@pytest.mark.parametrize("name", LANGUAGES)
def test_a_vector(name: str, vector: dict[str, Any], runners: dict[tuple[str, str], Runner]) -> None:
    """The same bytes are read as the same values, and the same values are written as bytes of the same meaning."""
    if ("a", name) not in runners:
        runners["a", name] = Runner(build(name))
    runner, kind, digits = runners["a", name], vector["kind"], DIGITS.get(name, 9)
    value_word = "message" if kind == "message" else "record"
    read = runner.do({"do": "decode", "kind": kind, "hex": vector["hex"]})
    _match(vector["name"], read["ok"]["value"], vector["value"], {}, digits)
    written = runner.do({"do": "encode", "kind": kind, value_word: vector["value"]})
    _same(kind, vector["hex"], written["ok"]["hex"], digits)


def _same(kind: str, wanted: str, came: str, digits: int) -> None:
    """Two encodings say the same, but for what a client sets by itself, and the digits that its times have."""
    cls: Any = message_pb2.Message if kind == "message" else state_pb2.AgentState
    both = [cls.FromString(bytes.fromhex(each)) for each in (wanted, came)]
    for each in both:
        if kind == "message":
            times = [each.timestamp]
        else:
            each.ClearField("created_at")
            each.ClearField("updated_at")
            times = [each.last_heartbeat] if each.HasField("last_heartbeat") else []
        for time in times:
            time.nanos -= time.nanos % 10 ** (9 - digits)
    assert both[0] == both[1]
