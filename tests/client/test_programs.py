"""A local stack: real programs for a block of code, which end with it, however it ends."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import trunkline
from trunkline import AgentMessage, AgentState, AgentType, LocalStack, MessageType
from trunkline.programs import PROGRAMS, ProgramError
from trunkline.sync import MessageBus, StateManager

SECONDS = 60.0


def _message(text: str) -> AgentMessage:
    return AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="tester", payload={"text": text})


@contextmanager
def _all_end(pids: list[int]) -> Iterator[None]:
    """Expects that these processes have ended soon after the block."""
    watched = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for descriptor in watched:
            assert select.select([descriptor], [], [], SECONDS)[0]
    finally:
        for descriptor in watched:
            os.close(descriptor)


def test_a_block_has_a_bus_and_a_store_that_end_with_it() -> None:
    """In memory, on free ports."""
    with LocalStack() as stack:
        with MessageBus(stack.bus_address) as bus, StateManager(stack.state_address) as state:
            bus.create_durable("workers", "work:>")
            bus.publish("work:a", _message("a"), stored=True)
            state.save_agent_state(AgentState(agent_id="a", agent_type=AgentType.CODING))
            assert state.get_agent_state("a") is not None
            outbox = state.statistics().outbox
            assert outbox is not None
            assert outbox.bus_address == stack.bus_address, "writes may carry messages"
        programs = stack.programs
        assert list(programs) == ["bus", "state"]
    assert [program.exit_code for program in programs.values()] == [0, 0]


async def test_it_is_an_asynchronous_context_too() -> None:
    """And its loop goes on while the programs start and end."""
    async with LocalStack() as stack:
        bus = trunkline.GrpcMessageBus(stack.bus_address)
        await bus.connect()
        await bus.publish("work:a", _message("a"))
        await bus.disconnect()
    assert [program.exit_code for program in stack.programs.values()] == [0, 0]


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    """The programs that were started by then are ended."""
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    stack = LocalStack(on_line=lambda *_: loop.call_soon_threadsafe(heard.set))
    starting = asyncio.create_task(stack.__aenter__())
    await asyncio.wait_for(heard.wait(), SECONDS)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert all(program.exit_code is not None for program in stack.programs.values())


def test_a_sidecar_without_a_data_directory_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sockets and its file lie in a directory of their own while it runs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalStack(programs=PROGRAMS) as stack:
        assert stack.socket_path.is_socket()
        with MessageBus(stack.sidecar_address) as bus, StateManager(stack.sidecar_address) as state:
            bus.publish("work:a", _message("a"))
            assert state.get_agent_state("nobody") is None
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_keeps_what_was_stored(socket_dir: Path) -> None:
    """The next stack finds it."""
    for texts in ([], ["a"]):
        with LocalStack(socket_dir / "data") as stack, MessageBus(stack.bus_address) as bus:
            bus.create_durable("workers", "work:>", start="all")
            found = threading.Event()
            seen: list[str] = []

            def see(message: AgentMessage, seen: list[str] = seen, found: threading.Event = found) -> None:
                seen.append(str(message.payload["text"]))
                found.set()

            if texts:
                bus.subscribe("work:>", see, durable="workers")
                assert found.wait(SECONDS)
            else:
                bus.publish("work:a", _message("a"), stored=True)
        assert seen == texts


def test_a_killed_program_is_restarted_where_it_was(socket_dir: Path) -> None:
    """With another process id, the same address and the same file; the stack does not take it for a failure."""
    with LocalStack(socket_dir / "data", programs=["state"]) as stack:
        program, address = stack.programs["state"], stack.state_address
        before = program.pid
        with StateManager(address) as state:
            state.save_agent_state(AgentState(agent_id="a", agent_type=AgentType.CODING))
            program.kill()
            stack.check()
            program.restart()
            assert state.get_agent_state("a") is not None
        assert (program.pid == before, stack.state_address) == (False, address)


def test_a_program_that_ends_by_itself_is_noticed() -> None:
    """By whoever waits, with its name; and the others are ended with the block."""
    with LocalStack() as stack:
        stack.check()
        os.kill(stack.programs["state"].pid, signal.SIGKILL)
        assert stack.wait() is stack.programs["state"]
        with pytest.raises(ProgramError, match=r"the state ended by itself \(exit code -9\)\n  .*ready"):
            stack.check()
    assert stack.programs["bus"].exit_code == 0


def test_waiting_ends_when_the_stack_is_stopped() -> None:
    """From another thread."""
    stack = LocalStack(programs=["state"])
    stack.start()
    stopping = threading.Timer(0.1, stack.stop)
    stopping.start()
    assert stack.wait() is None
    stopping.join()
    stack.stop()
    assert stack.programs["state"].exit_code == 0


def test_a_program_that_cannot_start_is_named_with_its_own_words() -> None:
    """And nothing is left of the stack."""
    stack = LocalStack(options={"bus": ["--dedup-messages", "many"]})
    with (
        pytest.raises(ProgramError, match=r"the bus could not start \(exit code 2\)\n  .*--dedup-messages=many"),
        stack,
    ):
        pytest.fail("it has started")
    assert all(program.exit_code is not None for program in stack.programs.values())


def test_a_block_that_fails_ends_the_programs() -> None:
    """What it raises passes through."""
    stack = LocalStack(programs=["state"])
    with pytest.raises(ZeroDivisionError), stack:
        _ = 1 / 0
    assert stack.programs["state"].exit_code == 0


def test_programs_end_with_a_parent_that_is_killed() -> None:
    """Whatever it runs."""
    code = """if True:
        import trunkline, sys
        with trunkline.LocalStack() as stack:
            print(*(program.pid for program in stack.programs.values()), flush=True)
            sys.stdin.read()
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        with _all_end([int(pid) for pid in parent.stdout.readline().split()]):
            parent.kill()


def test_a_sidecar_stands_before_programs_that_run_already(bus_address: str, state_address: str) -> None:
    """They are not the stack's to end."""
    with LocalStack(programs=["sidecar"], bus_address=bus_address, state_address=state_address) as stack:
        assert (stack.bus_address, stack.state_address) == (bus_address, state_address)
        with StateManager(stack.sidecar_address) as state:
            assert state.get_agent_state("nobody at all") is None
    with StateManager(state_address) as state:
        assert state.get_agent_state("nobody at all") is None


def test_an_address_is_known_when_the_program_serves() -> None:
    """Before that there is none to hand out."""
    with pytest.raises(RuntimeError, match="the bus was not started"):
        _ = LocalStack().bus_address


def test_lines_of_the_logs_are_heard() -> None:
    """With the program that wrote them; a callback that fails is no harm."""
    heard: list[tuple[str, str]] = []

    def hear(program: object, line: str) -> None:
        heard.append((getattr(program, "name", ""), line))
        raise ValueError(line)

    with LocalStack(programs=["state"], on_line=hear) as stack:
        program = stack.programs["state"]
    assert [name for name, _ in heard] == ["state"] * len(program.log)
    assert [line for _, line in heard] == list(program.log)
    assert '"event": "stopped"' in heard[-1][1]
