"""What README.md and docs/ show is true: each page's programs run and its commands answer, against real programs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import trunkline
from scripts.tools import find
from tests.conftest import StartProgram
from tests.house.page import (
    BESIDE,
    MARKS,
    NOT_RUN,
    OUTPUT,
    PAGES,
    README,
    ROOT,
    SERVES,
    SERVICE,
    STREAMS,
    Block,
    Page,
)
from tests.programs import PYTHON, hold_port

SECONDS = 60.0
NOT_RUN_BLOCKS = {
    "README.md": 3,
    "docs/compose.md": 1,
    "docs/kubernetes.md": 7,
    "docs/operations.md": 1,
    "docs/performance.md": 2,
    "docs/security.md": 2,
}
"""How many blocks of each page are not run."""
PROGRAMS = {
    "README.md": {"agent.py", "coordinator.py", "tasks.py"},
    "docs/agents.md": {"team.py", "service.py", "channel.py"},
    "docs/durable-delivery.md": {"worker.py", "fails.py", "lives.py"},
    "docs/from-conductorai.md": {"team.py", "team_over_grpc.py", "failures.py"},
    "docs/from-pyorchestrate.md": {"weather.py", "counter.py", "service.py", "supervised.py", "fleet.py"},
    "docs/python-client.md": {"done.py", "figures.py", "blocking.py", "in_memory.py", "leading.py", "local.py"},
    "docs/requests.md": {"writer.py", "asks.py"},
    "docs/security.md": {"secure.py"},
    "docs/sidecar.md": {"external.py"},
}
RUN = [page for page in PAGES if any(block.language in ("python", "sh") for block in page.blocks)]


class Reader:
    """Runs the blocks of one page in their order, in one directory, beside a bus, a state service and a sidecar of its
    own that stand where `trunkline up` has them."""

    def __init__(self, page: Page, folder: Path, start: StartProgram) -> None:
        self._page = page
        self._folder = folder
        kept = folder / ".trunkline"
        kept.mkdir()
        self._bus = start("bus", "--path", str(kept / "bus.db"), cwd=folder).address
        state_options = ("--path", str(kept / "state.db"), "--bus-address", self._bus)
        state = start("state", *state_options, cwd=folder).address
        upstreams = ("--bus-address", self._bus, "--state-address", state)
        files = ("--socket-path", str(kept / "channel.sock"), "--store-path", str(kept / "sidecar.db"))
        start("sidecar", *upstreams, *files, address=f"unix:{kept / 'sidecar.sock'}", cwd=folder)
        self._held = hold_port()
        self._shown = {
            "7431": self._bus.rpartition(":")[2],
            "7432": state.rpartition(":")[2],
            "7441": str(self._held.getsockname()[1]),  # of a service that the page itself runs
        }
        self._environment = {
            **os.environ,
            "PATH": f"{self._commands()}{os.pathsep}{os.environ['PATH']}",
            "TRUNKLINE_BUS": self._bus,
            "TRUNKLINE_STATE": state,
        }
        for program in (README, page):
            for name, block in program.programs.items():
                (folder / name).write_text(self._localized(block.text))

    def run(self) -> dict[str, str]:
        """Runs all; returns what each block that ended by itself printed, by where it stands."""
        printed: dict[str, str] = {}
        blocks = [block for block in self._page.blocks if block.language in ("python", "sh") and self._is_run(block)]
        servers = {server["server"] for block in blocks if (server := block.match(BESIDE))}
        assert {block.name for block in blocks if block.match(SERVES)} <= servers, "nothing is run beside a program"
        with self._held, ExitStack() as serving, ExitStack() as streaming:
            for block in blocks:
                if block.match(SERVES):
                    continue
                if block.match(SERVICE):
                    serving.enter_context(self._run_service(block))
                    continue
                if stream := block.match(STREAMS):
                    streaming.enter_context(self._stream(block, **stream.groupdict()))
                    continue
                beside = block.match(BESIDE)
                with self._serve(beside["server"]) if beside else ExitStack():
                    printed[block.where] = self._run(block)
                streaming.close()
        return printed

    def _is_run(self, block: Block) -> bool:
        return block.match(NOT_RUN) is None

    def _run(self, block: Block) -> str:
        """Runs a block that must end by itself with success, and returns what it printed."""
        done = subprocess.run(
            self._arguments(block),
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{block.where}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert block.language == "python" or done.stdout + done.stderr, f"{block.where} printed nothing"
        return done.stdout

    @contextmanager
    def _serve(self, name: str) -> Iterator[None]:
        """Runs a program that serves, from the moment that it is ready."""
        with self._process([sys.executable, name]) as program:
            assert program.stdout is not None
            assert any(line.rstrip().endswith("ready") for line in program.stdout), f"{name} never said ready"
            yield

    @contextmanager
    def _run_service(self, block: Block) -> Iterator[None]:
        """Runs a service from the moment that it is ready."""
        with self._process(self._arguments(block), stderr=subprocess.STDOUT) as program:
            assert program.stdout is not None
            said = []
            for line in program.stdout:
                said.append(line)
                if '"event": "ready"' in line:
                    break
            else:
                pytest.fail(f"{block.where} was never ready: {''.join(said)}")
            yield

    @contextmanager
    def _stream(self, block: Block, when: str, text: str) -> Iterator[None]:
        """Runs a command that goes on, from the moment that it is subscribed. It prints `text` before or after what is
        run beside it."""
        before = self._subscriptions()
        with self._process(self._arguments(block)) as program:
            deadline = time.monotonic() + SECONDS
            while self._subscriptions() == before:
                assert program.poll() is None, f"{block.where} ended"
                assert time.monotonic() < deadline, f"{block.where} never subscribed"
                time.sleep(0.05)
            if when == "until":
                yield
            assert program.stdout is not None
            assert any(text in line for line in program.stdout), f"{block.where} never printed {text!r}"
            if when == "from":
                yield

    @contextmanager
    def _process(self, arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A process that is ended by SIGTERM; one that goes on for too long by SIGKILL, which ends its output."""
        with subprocess.Popen(
            arguments, cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, text=True, **options
        ) as program:
            too_long = threading.Timer(SECONDS, program.kill)
            too_long.start()
            try:
                yield program
            finally:
                program.terminate()
                program.wait()
                too_long.cancel()

    def _arguments(self, block: Block) -> list[str]:
        if block.name:
            return [sys.executable, block.name]
        text = self._localized(block.text)
        if block.language == "python":
            return [sys.executable, "-c", text]
        stream = "exec " if block.match(STREAMS) or block.match(SERVICE) else ""
        return ["/bin/sh", "-euc", f"{stream}{text}"]

    def _localized(self, text: str) -> str:
        """The text with the ports of the running programs."""
        return re.sub(r"\b(127\.0\.0\.1|localhost):(743[12]|7441)\b", lambda found: self._local(*found.groups()), text)

    def _local(self, host: str, port: str) -> str:
        return f"{host}:{self._shown[port]}"

    def _subscriptions(self) -> int:
        async def count() -> int:
            async with trunkline.GrpcMessageBus(self._bus) as bus:
                return (await bus.statistics()).subscriptions

        return asyncio.run(count())

    def _commands(self) -> Path:
        """A directory with the commands that pages use."""
        commands = self._folder / "bin"
        commands.mkdir()
        script = commands / "trunkline"
        script.write_text(f'#!/bin/sh\nexec {" ".join(PYTHON)} trunkline.cli "$@"\n')
        script.chmod(0o700)
        if any("grpcurl" in block.text for block in self._page.blocks if block.language == "sh"):
            grpcurl = find("grpcurl")
            assert grpcurl, "grpcurl is missing: `make test` installs it, or `python scripts/tools.py grpcurl`"
            (commands / "grpcurl").symlink_to(grpcurl)
        return commands


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_what_a_page_shows_runs_and_prints_what_is_shown(
    page: Page, socket_dir: Path, start_program: StartProgram
) -> None:
    """In the order of the page, as a reader would do it."""
    printed = Reader(page, socket_dir, start_program).run()
    for block, output in page.outputs:
        said, shown = printed[block.where], output.text
        found = output.match(OUTPUT)
        if found is None or not found["shortened"]:
            assert said == shown, f"{output.where} does not show what {block.where} prints"
            continue
        lines = iter(said.splitlines())
        for line in shown.splitlines():
            assert any(line.strip() in each for each in lines), f"{output.where}: {line!r} is not in\n{said}"


def test_every_mark_is_known() -> None:
    """A mark that is misspelt would hide its block."""
    for page in PAGES:
        for block in page.blocks:
            assert not block.mark or any(block.match(kind) for kind in MARKS), f"{block.where}: {block.mark!r}"
            assert block.is_picture or block.mark or block.language in ("python", "sh"), f"{block.where}: no mark"
        assert page.text.count("```") == 2 * len(page.blocks), f"{page.name}: a block that is not found"


def test_no_example_is_lost_by_a_change_of_form() -> None:
    """The programs that these tests look for are there."""
    assert {page.name: set(page.programs) for page in PAGES if page.programs} == PROGRAMS


def test_what_is_not_run_is_counted() -> None:
    """A block that is left out is left out on purpose; Python is Python even there."""
    found: dict[str, int] = {}
    for page in PAGES:
        for block in page.blocks:
            if block.match(NOT_RUN):
                found[page.name] = found.get(page.name, 0) + 1
                if block.language == "python":
                    compile(block.text, block.where, "exec")
    assert found == NOT_RUN_BLOCKS


@pytest.mark.parametrize("page", [*PAGES, Page(ROOT / "CHANGELOG.md")], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Page) -> None:
    """A file or a folder of the repository, and of a page a heading. Addresses of the network are not called."""
    for link in page.links:
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.is_relative_to(ROOT), f"{page.name}: {link} is outside"
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        if anchor:
            assert anchor in Page(target).anchors, f"{page.name}: {link} has no such heading"


def test_every_page_is_named_in_the_readme() -> None:
    """Where to read on."""
    named = {link.partition("#")[0] for link in README.links}
    assert {page.name for page in PAGES[1:]} - named == set()


def test_the_tree_in_the_readme_is_there() -> None:
    """Every folder that it names, below the one that it is indented under."""
    (tree,) = (block.text for block in README.blocks if "protos/trunkline/v1/ " in block.text)
    above = ROOT
    for line in tree.splitlines():
        indented = line.startswith("  ")
        for folder in line.strip().partition("  ")[0].split():
            path = (above if indented else ROOT) / folder
            assert path.is_dir(), folder
            above = above if indented else path
