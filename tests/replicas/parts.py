"""Part: a program in any language, which does the steps of the conformance table with a connection of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from tests.conformance.runners import Runner
from tests.polyglot.languages import build
from trunkline.errors import ERRORS, from_wire


class Part:
    """One program, whose steps are done one after the other."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.language = runner.language
        self._steps = ThreadPoolExecutor(1)

    async def do(self, verb: str, **words: Any) -> dict[str, Any]:
        """Does a step; what it answers must be no error but one of ours.

        Raises:
            TrunklineError: what the client in that language failed with.
        """
        step = {"do": verb, **words}
        answer = await asyncio.get_running_loop().run_in_executor(self._steps, self._runner.do, step)
        if error := answer.get("error"):
            assert error["code"] in ERRORS, f"{self._runner.language}, {step}: {error}"
            raise from_wire(error["code"], f"{self._runner.language}, {step}: {error['message']}", error["details"])
        done: dict[str, Any] = answer["ok"]
        return done

    def end(self) -> None:
        """Ends the program."""
        self._runner.end()
        self._steps.shutdown()


@asynccontextmanager
async def parts(language: str, address: str, of: str, *names: str) -> AsyncIterator[dict[str, Part]]:
    """So many programs of a language, connected to the bus or the state."""
    built = await asyncio.to_thread(build, language)
    made = {name: Part(Runner(built)) for name in names}
    try:
        for each in made.values():
            await each.do(f"connect_{of}", address=address)
        yield made
    finally:
        for each in made.values():
            await asyncio.to_thread(each.end)


def numbered(number: int, sender: str = "publisher") -> dict[str, Any]:
    """A message, as the table has it."""
    return {"type": "n", "sender": sender, "json": json.dumps({"n": number})}


def number_of(came: dict[str, Any]) -> int:
    """The number of one that came."""
    number = json.loads(came["message"]["json"])["n"]
    assert isinstance(number, int)
    return number
