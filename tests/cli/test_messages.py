"""publish, subscribe and request against a real bus."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import termios
import threading
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Follow, Trunkline
from tests.patience import PATIENCE
from tests.programs import RunningProgram, command
from trunkline import AgentMessage, GrpcMessageBus, sync


def test_subscribe_shows_a_message_on_one_line(trunkline: Trunkline, follow: Follow, channel: str) -> None:
    """Time, channel, type, sender, payload; nobody's text can steer the terminal."""
    watcher = follow("subscribe", "test:*", "--count", "1", until="subscribed to test:*")
    sent = trunkline(
        "publish", channel, '{"note": "done"}', "--type", "task\x1b[31m", "--sender", "me\n", "--recipient", "you"
    )
    assert sent.stdout == f"published 1 message on {channel}\n"
    shown, _ = watcher.communicate(timeout=PATIENCE)
    assert watcher.returncode == 0
    clock, *rest = shown.rstrip("\n").split("  ")
    assert clock.count(":") == 2
    assert rest == [channel, "task\\x1b[31m", "me\\n -> you", '{"note":"done"}']


def test_subscribe_gives_scripts_json(trunkline: Trunkline, follow: Follow, channel: str) -> None:
    """One object a line, and nothing else on standard output."""
    watcher = follow("subscribe", channel, "--count", "3", "--format", "json", until='"event": "subscribed"')
    options = ("--priority", "high", "--ttl", "60", "--correlation-id", "c1", "--metadata", '{"trace": 1}')
    trunkline("publish", channel, "-", *options, input='{"n": 1}\n\n{"n": "ö"}\n')
    trunkline("publish", channel)
    lines = watcher.communicate(timeout=PATIENCE)[0].splitlines()
    first, second, third = map(json.loads, lines)
    assert [first["payload"], second["payload"], third["payload"]] == [{"n": 1}, {"n": "ö"}, {}]
    assert (first["channel"], first["sender_id"], first["message_type"]) == (channel, "cli", "status_update")
    assert (first["priority"], first["ttl_seconds"], first["correlation_id"]) == ("high", 60, "c1")
    assert (first["metadata"], third["correlation_id"], third["recipient_id"]) == ({"trace": 1}, None, None)
    assert second["sequence"] > first["sequence"]


def test_a_group_shares_the_messages(trunkline: Trunkline, follow: Follow, channel: str) -> None:
    """Each message goes to one member; a count takes no more than that."""
    members = [follow("subscribe", channel, "--group", "g", "--count", "2", until="subscribed") for _ in range(2)]
    trunkline("publish", channel, "--count", "4")
    for member in members:
        assert len(member.communicate(timeout=PATIENCE)[0].splitlines()) == 2


def test_subscribe_ends_in_time(trunkline: Trunkline, channel: str) -> None:
    """Without a count that is what was asked for; with one it is a timeout."""
    assert trunkline("subscribe", channel, "--timeout", "0.2").returncode == 0
    assert trunkline("subscribe", channel, "--timeout", "0.2", "--count", "1").returncode == 4


def test_an_interrupt_is_130(follow: Follow, channel: str) -> None:
    """Without a traceback."""
    watcher = follow("subscribe", channel, until="subscribed")
    watcher.send_signal(signal.SIGINT)
    assert "Traceback" not in watcher.communicate(timeout=PATIENCE)[1]
    assert watcher.returncode == 130


@pytest.fixture
def agent(bus_address: str, channel: str) -> Iterator[str]:
    """A Python agent that answers requests with what it got."""
    loop = asyncio.new_event_loop()
    bus = GrpcMessageBus(bus_address)

    async def answer(message: AgentMessage) -> None:
        await bus.publish(f"{channel}:reply", message.create_response("agent", "task_result", {"got": message.payload}))

    async def begin() -> None:
        await bus.connect()
        await bus.subscribe(channel, answer)

    loop.run_until_complete(begin())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield channel
    asyncio.run_coroutine_threadsafe(bus.disconnect(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_a_request_shows_its_reply(trunkline: Trunkline, agent: str) -> None:
    """The payload for people, the whole reply for scripts."""
    assert json.loads(trunkline("request", agent, '{"n": 1}').stdout) == {"got": {"n": 1}}
    reply = json.loads(trunkline("--format", "json", "request", agent, '{"n": 2}').stdout)
    assert (reply["sender_id"], reply["payload"]) == ("agent", {"got": {"n": 2}})


@pytest.fixture
def responder(bus_address: str, channel: str) -> Iterator[str]:
    """A Python agent that answers with parts, or waits for ever, or fails."""

    def answer(request: sync.Request) -> Iterator[str]:
        if request.payload.get("fail"):
            raise ValueError("no")
        request.progress(0.5, "half")
        yield "one"
        while request.payload.get("wait"):
            yield "more"
        request.set_result({"done": True})

    with sync.MessageBus(bus_address) as bus:
        bus.respond(channel, answer, concurrency=2, name="agent-1")
        yield channel


def test_a_stream_shows_a_life(trunkline: Trunkline, responder: str) -> None:
    """A line for each event; for scripts an object; a failure is exit code 1."""
    lines = trunkline("request", responder, "{}", "--stream").stdout.splitlines()
    assert lines[0] == "accepted by agent-1"
    assert lines[1] == "progress 50% half"
    assert lines[-1] == 'result {"done":true}'
    said = trunkline("--format", "json", "request", responder, "{}", "--stream", "--idle-timeout", "20")
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert [event["event"] for event in events] == ["accepted", "progress", "part", "result"]
    assert [event["number"] for event in events] == [1, 2, 3, 4]
    failed = trunkline("request", responder, '{"fail": true}', "--stream")
    assert failed.returncode == 1
    assert failed.stderr.endswith("(REQUEST_FAILED)\n")


def test_a_request_is_cancelled_by_its_id(trunkline: Trunkline, environment: dict[str, str], responder: str) -> None:
    """Who follows it hears by whom; what is unknown is refused."""
    id, pipe = f"{responder}-1", subprocess.PIPE
    asking = command(("request", responder, '{"wait": true}', "--stream", "--correlation-id", id))
    with subprocess.Popen(asking, stdout=pipe, stderr=pipe, text=True, env=environment) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "accepted by agent-1\n"
        assert trunkline("cancel", id, "--reason", "too dear").stdout == f"cancelled {id}\n"
        shown, said = following.communicate(timeout=PATIENCE)
    assert shown.endswith("cancelled by cli: too dear\n")
    assert said.endswith("(REQUEST_CANCELLED)\n")
    assert following.returncode == 1
    assert trunkline("cancel", id).stderr.endswith("(REQUEST_NOT_FOUND)\n")


def test_errors_name_their_code(trunkline: Trunkline, channel: str) -> None:
    """For people a line, for scripts to_dict(); 1 where it was refused."""
    said = trunkline("request", channel)
    assert said.returncode == 1
    assert said.stderr.startswith("error: ")
    assert said.stderr.endswith("(NO_RESPONDERS)\n")
    told = trunkline("request", channel, "--format", "json")
    assert json.loads(told.stderr)["error_code"] == "NO_RESPONDERS"
    assert trunkline("publish", "no good").stderr.endswith("(INVALID_CHANNEL)\n")
    assert trunkline("subscribe", "a:>:b").stderr.endswith("(INVALID_CHANNEL)\n")


def test_a_request_without_an_answer_is_4(trunkline: Trunkline, bus_address: str, channel: str) -> None:
    """Somebody listens, nobody answers."""
    with sync.MessageBus(bus_address) as bus:
        bus.subscribe(channel, lambda _: None)
        said = trunkline("request", channel, "--timeout", "0.3")
    assert said.returncode == 4
    assert said.stderr.endswith("(REQUEST_TIMEOUT)\n")


def test_subscribe_only_looks_on(trunkline: Trunkline, follow: Follow, channel: str) -> None:
    """Who watches the traffic does not count as somebody who could answer: the request still fails at once."""
    follow("subscribe", channel, until="subscribed")
    said = trunkline("request", channel, "--timeout", "20")
    assert said.returncode == 1
    assert said.stderr.endswith("(NO_RESPONDERS)\n")


@pytest.mark.parametrize("arguments", [("publish", "a"), ("request", "a"), ("subscribe", "a"), ("subscriptions",)])
def test_an_unreachable_bus_is_5(trunkline: Trunkline, arguments: tuple[str, ...]) -> None:
    """The message says what cannot be reached."""
    said = trunkline("--bus", "127.0.0.1:1", *arguments)
    assert said.returncode == 5
    assert "127.0.0.1:1" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_terminal_gets_colour_and_lines_of_its_width(
    trunkline: Trunkline, environment: dict[str, str], channel: str
) -> None:
    """A long payload is cut with a mark; --full and pipes get all of it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment.pop("COLUMNS", None)
    watch = command(["subscribe", channel, "--count", "1"])
    with subprocess.Popen(watch, stdout=theirs, stderr=subprocess.PIPE, text=True, env=environment) as watcher:
        os.close(theirs)
        assert watcher.stderr is not None
        assert "subscribed" in watcher.stderr.readline()
        trunkline("publish", channel, json.dumps({"text": "x" * 500}))
        assert watcher.wait(20) == 0
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert f"\x1b[36m{channel}" in shown
    visible = re.sub(r"\x1b\[\d+m", "", shown).rstrip()
    assert len(visible) == 100
    assert visible.endswith("x…")


def _next_message(watcher: subprocess.Popen[str], killable_bus: RunningProgram, channel: str) -> str:
    assert watcher.stdout is not None
    published = subprocess.run(
        command(["--bus", killable_bus.address, "publish", channel]), timeout=PATIENCE, check=True
    )
    assert published.returncode == 0
    return watcher.stdout.readline()


def test_subscribe_goes_on_when_the_bus_comes_back(follow: Follow, killable_bus: RunningProgram, channel: str) -> None:
    """Each loss is told once, and the count goes on over them."""
    watcher = follow("--bus", killable_bus.address, "subscribe", channel, "--count", "3", until="subscribed")
    assert watcher.stderr is not None
    for end in (killable_bus.kill, killable_bus.stop):
        assert channel in _next_message(watcher, killable_bus, channel)
        end()
        assert watcher.stderr.readline().startswith("-- connection lost: ")
        killable_bus.start()
        assert watcher.stderr.readline() == "-- connected again\n"
    assert channel in _next_message(watcher, killable_bus, channel)
    assert watcher.communicate(timeout=PATIENCE) == ("", "")
    assert watcher.returncode == 0


def test_scripts_are_told_of_a_loss_in_json(follow: Follow, killable_bus: RunningProgram, channel: str) -> None:
    """On standard error, as events."""
    options = ("subscribe", channel, "--count", "1", "--format", "json")
    watcher = follow("--bus", killable_bus.address, *options, until='"event": "subscribed"')
    assert watcher.stderr is not None
    killable_bus.kill()
    lost = json.loads(watcher.stderr.readline())
    assert (lost["event"], bool(lost["reason"])) == ("disconnected", True)
    killable_bus.start()
    assert json.loads(watcher.stderr.readline()) == {"event": "reconnected"}
    assert json.loads(_next_message(watcher, killable_bus, channel))["channel"] == channel
    assert watcher.wait(20) == 0


def test_the_time_runs_out_without_a_bus_too(follow: Follow, killable_bus: RunningProgram, channel: str) -> None:
    """Whoever waits for a bus that stays away is told in time."""
    options = ("subscribe", channel, "--timeout", "3", "--count", "1")
    watcher = follow("--bus", killable_bus.address, *options, until="subscribed")
    killable_bus.kill()
    assert "-- connection lost: " in watcher.communicate(timeout=PATIENCE)[1]
    assert watcher.returncode == 4
