"""A bystander: another client, in a process of its own, which asks the services one thing after the other while others
keep them busy."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Self

from tests.patience import PATIENCE, OwnTime
from tests.programs import RunningProgram
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager

WARM_UP = 50
"""Asked for before anything counts."""
AFTER_REST = 5
"""Asked for before anything counts again."""

SAVES: Final = "saves"
READS: Final = "reads"
_LONGEST: Final = "longest"
_REST: Final = "rest"


class Bystander:
    """Knows the longest that one request through the bus, and one save where there is a store, took since it was last
    asked. What other processes than the services take of its time does not count, so that a busy machine changes
    nothing. It asks nothing while nobody wants to know: one serves many tests.

    Args:
        bus: the program through which it requests, and answers itself.
        state: the program in which it saves.
    """

    def __init__(self, bus: RunningProgram, state: RunningProgram | None = None) -> None:
        programs = [bus, *([state] if state is not None else [])]
        self._arguments = [str(argument) for each in programs for argument in (each.address, each.pid)]

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.bystander", *self._arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE)

    @asynccontextmanager
    async def asking(self, what: str = SAVES) -> AsyncIterator[None]:
        """Goes on to ask within the block.

        Args:
            what: `READS`: it reads what it saved once instead of saving.
        """
        await self._tell(what)
        try:
            yield
        finally:
            await self._tell(_REST)

    async def longest(self) -> float:
        """Returns the longest since the last call, in seconds; what runs now is waited for."""
        return float(await self._tell(_LONGEST))

    async def _tell(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), PATIENCE)


class _Client:
    """What the bystander asks for, again and again."""

    def __init__(self, bus: GrpcMessageBus, state: GrpcStateManager | None) -> None:
        self._bus = bus
        self._state = state
        self.reads = False
        self._channel = f"bystander:{os.getpid()}"

    async def start(self) -> None:
        """Begins to answer."""
        await self._bus.subscribe(self._channel, self._reply)
        await self._save()

    async def ask(self) -> None:
        """Requests, and saves or reads."""
        question = AgentMessage(message_type="control", sender_id="bystander")
        await self._bus.request(self._channel, question, timeout=PATIENCE)
        if self._state is not None and self.reads:
            await self._state.get_agent_state(self._channel)
        else:
            await self._save()

    async def _save(self) -> None:
        if self._state is not None:
            await self._state.save_agent_state(AgentState(agent_id=self._channel, agent_type="test"))

    async def _reply(self, message: AgentMessage) -> None:
        await self._bus.publish(f"{self._channel}:replies", message.create_response("bystander", "control"))


async def _main(bus_address: str, bus_pid: str, state_address: str = "", state_pid: str = "") -> None:
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    pids = [os.getpid(), *(int(pid) for pid in (bus_pid, state_pid) if pid)]
    async with AsyncExitStack() as connected:
        bus = await connected.enter_async_context(GrpcMessageBus(bus_address))
        state = await connected.enter_async_context(GrpcStateManager(state_address)) if state_address else None
        client = _Client(bus, state)
        await client.start()
        for _ in range(WARM_UP):
            await client.ask()
        _say("ready")
        while word := (await words.readline()).decode().strip():
            client.reads = word == READS
            for _ in range(AFTER_REST):
                await client.ask()
            _say("asking")
            await _ask_until_rest(client, words, pids)
            _say("resting")


async def _ask_until_rest(client: _Client, words: asyncio.StreamReader, pids: list[int]) -> None:
    word = asyncio.ensure_future(words.readline())
    longest = 0.0
    while True:
        took = OwnTime(*pids)
        await client.ask()
        longest = max(longest, took.seconds())
        if word.done():
            if word.result().decode().strip() != _LONGEST:
                return
            _say(longest)
            longest = 0.0
            word = asyncio.ensure_future(words.readline())
        await asyncio.sleep(0.001)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
