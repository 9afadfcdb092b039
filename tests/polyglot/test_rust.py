"""The Rust client: its own tests, and the agent of its README, compiled from the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.access.conftest import EVERYTHING
from tests.conftest import StartProgram
from tests.polyglot.agents import check_agent, check_example
from tests.polyglot.rust import PROGRAMS, RUST_CLIENT, cargo
from trunkline import Tls
from trunkline.tls.certificates import write_certificates

FEATURES = ("--features=tls",)
"""All that is built here has the same: what it needs is compiled once."""


@pytest.mark.timeout(900)
def test_its_own_tests_pass(start_program: StartProgram, tmp_path: Path) -> None:
    """`cargo test`, against programs that run."""
    write_certificates(tmp_path)
    authority = f"{tmp_path}/ca.pem"
    options = ("--tls-cert", f"{tmp_path}/server.pem", "--tls-key", f"{tmp_path}/server.key")
    rate = '[[limit]]\nwho = ["*"]\nmessages_per_second = 0.001\nmessages_burst = 1\n'
    (tmp_path / "access.toml").write_text(f'[[allow]]\nwho = ["anonymous"]\n{EVERYTHING}\n{rate}')
    done = cargo(
        *("test", *FEATURES, "--tests"),
        TRUNKLINE_TEST_BUS=start_program("bus", "--path", f"{tmp_path}/bus.db").address,
        TRUNKLINE_TEST_LIMITED_BUS=start_program("bus", "--access-file", f"{tmp_path}/access.toml").address,
        TRUNKLINE_TEST_STATE=start_program("state", "--engine", "memory").address,
        TRUNKLINE_TEST_SECURE_BUS=start_program("bus", *options, tls=Tls(ca=authority)).address,
        TRUNKLINE_TEST_CA=authority,
    )
    assert "0 failed" in done


@pytest.fixture(scope="module")
def agent_from_readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crate beside the client's that has the README's agent alone, with the address as its argument."""
    folder = tmp_path_factory.mktemp("agent")
    (block,) = re.findall(r"```rust\n(.*?)```", (RUST_CLIENT / "README.md").read_text(), re.DOTALL)
    assert block.count('"127.0.0.1:7431"') == 1
    (folder / "src").mkdir()
    (folder / "src" / "main.rs").write_text(
        block.replace('"127.0.0.1:7431"', '&std::env::args().nth(1).expect("an address")')
    )
    (needs,) = re.findall(r"```toml\n(.*?)```", (RUST_CLIENT / "README.md").read_text(), re.DOTALL)
    needs = needs.replace('path = "PATH/TO/trunkline/clients/rust"', f'path = "{RUST_CLIENT}", features = ["tls"]')
    profile = re.search(r"\[profile.dev\].*", (RUST_CLIENT / "Cargo.toml").read_text(), re.DOTALL)
    assert profile is not None
    package = '[package]\nname = "readme-agent"\nversion = "0.0.0"\nedition = "2021"\n'
    (folder / "Cargo.toml").write_text(f"{package}\n{needs}\n{profile[0]}")
    (folder / "Cargo.lock").write_bytes((RUST_CLIENT / "Cargo.lock").read_bytes())  # the same versions
    cargo("build", folder=folder)
    return PROGRAMS / "readme-agent"


@pytest.mark.timeout(900)
async def test_the_ten_line_agent_loses_nothing(
    agent_from_readme: Path, start_program: StartProgram, tmp_path: Path
) -> None:
    """It is killed and started again, and so is its bus: each task that was receipted has its result."""
    server = start_program("bus", "--path", str(tmp_path / "bus.db"))
    await check_agent(lambda address: [str(agent_from_readme), address], server)


@pytest.mark.timeout(900)
async def test_the_example_does_its_job(start_program: StartProgram, tmp_path: Path) -> None:
    """It answers requests, and keeps the results of tasks where Python finds them; by a socket, too."""
    cargo("build", *FEATURES, "--examples")
    bus = start_program("bus", "--engine", "memory", address=f"unix:{tmp_path}/bus.sock").address
    state = start_program("state", "--engine", "memory").address
    await check_example(
        lambda *addresses: [str(PROGRAMS / "examples" / "measure"), *addresses], bus, state, "measure-rust"
    )
