"""What an agent has: attributes, plugins, a logger, clients."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agents import crew
from tests.patience import PATIENCE
from trunkline.agents import AgentError, BaseProcessAgent, BaseThreadAgent, LoggerConfig, PluginSet


class Database:
    """A plugin, as programs write it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.calls: list[str] = []

    def set_owner(self, owner: BaseThreadAgent) -> None:
        self.calls.append(f"owner {owner.name}")

    def initialize(self) -> None:
        self.calls.append("initialize")
        if self.file == "missing":
            raise FileNotFoundError(self.file)

    def finalize(self) -> None:
        self.calls.append("finalize")
        if self.file == "stuck":
            raise OSError(self.file)


class Store:
    """A plugin that only needs to be given back."""

    given_back = False

    def finalize(self) -> None:
        self.given_back = True


class Clerk(BaseThreadAgent):
    class Plugin(BaseThreadAgent.Plugin):
        database = Database("default")
        store = Store()
        retries = 3

    plugin: Plugin

    def setup(self) -> None:
        self.plugin.database.calls.append("setup")

    def execute(self) -> None:
        self.plugin.database.calls.append("execute")

    def on_close(self) -> None:
        self.plugin.database.calls.append("on_close")


def lived(agent: BaseThreadAgent | BaseProcessAgent) -> Any:
    """After a whole life."""
    agent.start()
    assert agent.join(20)
    return agent


def test_plugins_are_made_ready_before_setup_and_given_back_after_on_close() -> None:
    """Each by what it has of the three calls."""
    clerk = lived(Clerk(name="a"))
    assert clerk.plugin.database.calls == ["owner a", "initialize", "setup", "execute", "on_close", "finalize"]
    assert clerk.plugin.store.given_back
    assert clerk.plugin.retries == 3


def test_each_agent_has_its_own_plugins() -> None:
    """Class attributes are what they are copied from."""
    one, two = lived(Clerk()), lived(Clerk())
    assert one.plugin.store is not two.plugin.store
    assert not Clerk.Plugin.store.given_back


def test_plugins_can_be_given_to_an_agent() -> None:
    """By name, in place of the class's own."""
    clerk = lived(Clerk(plugin=Clerk.Plugin(database=Database("orders"))))
    assert clerk.plugin.database.file == "orders"
    assert clerk.plugin.database.calls[-1] == "finalize"


def test_an_agent_fails_of_a_plugin_that_cannot_be_made_ready() -> None:
    """It is given back all the same."""
    clerk = lived(Clerk(plugin=Clerk.Plugin(database=Database("missing"))))
    assert clerk.failure == "FileNotFoundError: missing"
    assert clerk.plugin.database.calls == ["owner Clerk", "initialize", "on_close", "finalize"]


def test_a_plugin_that_cannot_be_given_back_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The others are."""
    clerk = lived(Clerk(plugin=Clerk.Plugin(database=Database("stuck"))))
    assert clerk.failure is None
    assert clerk.plugin.store.given_back
    assert "plugin 'database' was not given back" in caplog.text


def test_an_agent_without_plugins_has_an_empty_set() -> None:
    """`self.plugin` is always there."""
    assert vars(crew.ThreadQuitter().plugin) == {}
    assert isinstance(crew.ThreadQuitter().plugin, PluginSet)


def test_keyword_arguments_become_attributes(diary: Path) -> None:
    """Of the agent in its process too."""
    agent = lived(crew.ProcessWorker(diary=str(diary), fails_in="on_close", unknown=1))
    assert agent.kwargs == {"diary": str(diary), "fails_in": "on_close", "unknown": 1}
    assert crew.read(diary) == ["setup", "execute", "on_close"]
    assert agent.agent_runner.failure() == "exit code 1"


@pytest.mark.parametrize("name", ["start", "execute", "stop_event", "state_events", "control_events", "result", "pid"])
def test_the_framework_keeps_its_own_names(name: str) -> None:
    """An argument that would replace one of them is refused, by name."""
    arguments: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError, match=f"agent 'ThreadQuitter' cannot have an attribute '{name}'"):
        crew.ThreadQuitter(**arguments)


def test_an_agent_may_use_the_names_bus_and_state_for_itself() -> None:
    """They give way, as every program has a `state` of its own."""

    class Stateful(BaseThreadAgent):
        state: Any

        def execute(self) -> None:
            self.state = "mine"

    agent = lived(Stateful(bus="the number 7"))
    assert (agent.state, agent.bus, agent.failure) == ("mine", "the number 7", None)


def test_a_name_in_the_channels_place_is_refused() -> None:
    """The first positional argument is the channel."""
    with pytest.raises(TypeError, match="msg_channel must be a channel, not 'counter'; an agent's name is given by na"):
        crew.ThreadQuitter("counter")  # type: ignore[arg-type]


def test_an_agent_without_addresses_says_so() -> None:
    """When it uses the bus or the state store."""
    agent = crew.ThreadQuitter(name="a")
    with pytest.raises(AgentError, match="agent 'a' has no bus: it was given no bus_address"):
        _ = agent.bus
    with pytest.raises(AgentError, match="agent 'a' has no state: it was given no state_address"):
        _ = agent.state


class Publisher(BaseProcessAgent):
    """Speaks to both services from its own process."""

    def execute(self) -> str:
        from trunkline import AgentState

        self.state.save_agent_state(AgentState(agent_id=self.name, agent_type="test"))
        found = self.state.get_agent_state(self.name)
        return "" if found is None else f"{found.agent_id} {self.bus.is_connected}"


def test_an_agent_has_the_bus_and_the_state_store(bus_address: str, state_address: str) -> None:
    """Connected when it first uses them, disconnected at its end."""
    from trunkline.message_channel import MessageChannel

    with MessageChannel("process") as channel:
        end = channel.endpoint("publisher-of-belongings")
        agent = Publisher(end, name="publisher-of-belongings", bus_address=bus_address, state_address=state_address)
        lived(agent)
        said = []
        while (message := channel.receive(0)) is not None:
            said.append(message.payload)
        assert 'RESULT:"publisher-of-belongings True"' in said


def test_a_logger_has_the_levels_that_programs_use(caplog: pytest.LogCaptureFixture) -> None:
    """SUCCESS stands between INFO and WARNING, TRACE below DEBUG."""
    agent = crew.ThreadQuitter(name="loud")
    with caplog.at_level(1, "trunkline.agents.loud"):
        agent.logger.trace("a %s", "trace")
        agent.logger.success("well done")
        agent.logger.info("so so", extra={"city": "Rome"})
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        *(("TRACE", "a trace"), ("SUCCESS", "well done"), ("INFO", "so so")),
    ]
    assert caplog.records[2].city == "Rome"  # type: ignore[attr-defined]
    assert logging.INFO < caplog.records[1].levelno < logging.WARNING


def test_a_level_can_be_configured() -> None:
    """By name; another is refused."""
    agent = crew.ThreadQuitter(name="quiet", config=crew.ThreadQuitter.Config(logger_config=LoggerConfig("WARNING")))
    assert not agent.logger.isEnabledFor(logging.INFO)
    agent = crew.ThreadQuitter(name="noisy", config=crew.ThreadQuitter.Config(logger_config=LoggerConfig("trace")))
    assert agent.logger.isEnabledFor(5)
    with pytest.raises(ValueError, match="level is 'loud', it must be one of TRACE, DEBUG"):
        LoggerConfig("loud")


PROGRAM = """
import logging, sys
from trunkline.agents import BaseProcessAgent, BaseThreadAgent

if "configured" in sys.argv:
    logging.basicConfig(format="MINE %(message)s", level=logging.WARNING)

class Speaker:
    def execute(self):
        self.logger.info(f"{self.name} was here")
        self.logger.warning(f"{self.name} was heard")

class InThread(Speaker, BaseThreadAgent): pass
class InProcess(Speaker, BaseProcessAgent): pass

if __name__ == "__main__":
    for agent in (InThread(), InProcess()):
        agent.start()
        agent.join()
"""


def test_agents_are_heard_where_nobody_has_set_up_logging(tmp_path: Path) -> None:
    """In their own process too, which starts with nothing set up; a program's own set-up is left alone."""
    program = tmp_path / "speakers.py"
    program.write_text(PROGRAM)
    plain = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert plain.stdout == ""
    said = [line.split(": ", 1)[1] for line in plain.stderr.splitlines()]
    assert said == [f"{name} was {what}" for name in ("InThread", "InProcess") for what in ("here", "heard")]
    command = [sys.executable, str(program), "configured"]
    configured = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert configured.stderr.splitlines() == ["MINE InThread was heard", "MINE InProcess was heard"]
