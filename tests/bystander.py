"""A bystander: another client, in a process of its own, which asks the services one thing after the other while others
keep them busy."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack

from tests.patience import PATIENCE, OwnTime
from tests.programs import RunningProgram
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager

WARM_UP = 50
"""Asked for before anything counts."""


class Bystander:
    """Knows the longest that one request through the bus, and one save where there is a store, took since it was last
    asked. What other processes than the services take of its time does not count, so that a busy machine changes
    nothing.

    Args:
        bus: the program through which it requests, and answers itself.
        state: the program in which it saves.
        reads: it reads what it saved once instead of saving.
    """

    def __init__(self, bus: RunningProgram, state: RunningProgram | None = None, *, reads: bool = False) -> None:
        programs = [bus, *([state] if state is not None else [])]
        self._arguments = [str(argument) for each in programs for argument in (each.address, each.pid)]
        if reads:
            self._arguments.append("reads")

    async def __aenter__(self) -> Bystander:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bystander", *self._arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert await self._answer() == b"ready\n"
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self._process.communicate(b""), PATIENCE)

    async def longest(self) -> float:
        """Returns the longest since the last call, in seconds; what runs now is waited for."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"longest\n")
        return float(await self._answer())

    async def _answer(self) -> bytes:
        assert self._process.stdout is not None
        return await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)


class _Client:
    """What the bystander asks for, again and again."""

    def __init__(self, bus: GrpcMessageBus, state: GrpcStateManager | None, *, reads: bool) -> None:
        self._bus = bus
        self._state = state
        self._reads = reads
        self._channel = f"bystander:{os.getpid()}"

    async def start(self) -> None:
        """Begins to answer."""
        await self._bus.subscribe(self._channel, self._reply)
        await self._save()

    async def ask(self) -> None:
        """Requests, and saves or reads."""
        question = AgentMessage(message_type="control", sender_id="bystander")
        await self._bus.request(self._channel, question, timeout=PATIENCE)
        if self._state is not None and self._reads:
            await self._state.get_agent_state(self._channel)
        else:
            await self._save()

    async def _save(self) -> None:
        if self._state is not None:
            await self._state.save_agent_state(AgentState(agent_id=self._channel, agent_type="test"))

    async def _reply(self, message: AgentMessage) -> None:
        await self._bus.publish(f"{self._channel}:replies", message.create_response("bystander", "control"))


async def _main(bus_address: str, bus_pid: str, state_address: str = "", state_pid: str = "", mode: str = "") -> None:
    asked = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    pids = [os.getpid(), *(int(pid) for pid in (bus_pid, state_pid) if pid)]
    async with AsyncExitStack() as connected:
        bus = await connected.enter_async_context(GrpcMessageBus(bus_address))
        state = await connected.enter_async_context(GrpcStateManager(state_address)) if state_address else None
        client = _Client(bus, state, reads=bool(mode))
        await client.start()
        for _ in range(WARM_UP):
            await client.ask()
        _say("ready")
        line = asyncio.ensure_future(asked.readline())
        longest = 0.0
        while True:
            took = OwnTime(*pids)
            await client.ask()
            longest = max(longest, took.seconds())
            if line.done():
                if not line.result():
                    return
                _say(longest)
                longest = 0.0
                line = asyncio.ensure_future(asked.readline())
            await asyncio.sleep(0.001)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
