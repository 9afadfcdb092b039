"""An orchestrator as a program of its own, for what clients outside of it see.

    python -m tests.orchestrator.served '{"socket": "…", "agents": [["weather", "Ticking", {}]], "config": {…}}'

It says `ready` on standard output when its agents that shall be started are, and ends with its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from typing import Any

from tests.orchestrator import sample_agents
from trunkline.orchestrator import Orchestrator
from trunkline.orchestrator.registry.entry import AgentEntry

READY_SECONDS = 60.0


def main() -> None:
    wish: dict[str, Any] = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.WARNING)
    config = Orchestrator.Config(
        enable_command_interface=True, command_socket_path=wish["socket"], **wish.get("config", {})
    )
    orchestrator = Orchestrator(config, wish.get("name"))
    for name, kind, options in wish.get("agents", ()):
        orchestrator.register_agent(getattr(sample_agents, kind), name, **options)
    for number in range(wish.get("registered", 0)):
        orchestrator.register_agent(sample_agents.Ticking, f"{wish.get('prefix', 'agent')}-{number:05}")
    for name in wish.get("start", ()):
        orchestrator.start_agent(name)
        _wait_until_settled(orchestrator.memory.get_agent(name))
    threading.Thread(target=_end_with_stdin, args=(orchestrator,), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    orchestrator.wait()


def _wait_until_settled(entry: AgentEntry) -> None:
    """Returns when an agent is ready, or waits in the queue, or will not become ready, as one whose dependency failed
    meanwhile."""
    end = time.monotonic() + READY_SECONDS
    while not (entry.in_queue or entry.is_broken or entry.state_events.ready_event.wait(0.01)):
        if time.monotonic() > end:
            raise AssertionError(f"{entry.name} did not become ready")


def _end_with_stdin(orchestrator: Orchestrator) -> None:
    sys.stdin.read()
    orchestrator.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
