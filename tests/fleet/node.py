"""An orchestrator as a program of its own: `python -m tests.fleet.node`, of `nodes.Node`.

A line of standard input is a call: `{"id": 1, "call": "start", "args": [], "options": {}}`. A line of standard output
is its answer, or an event.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from functools import partial
from typing import Any

from tests.fleet import crew
from trunkline.errors import TrunklineError
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator import Orchestrator, OrchestratorEvent, RestartPolicy

_writing = threading.Lock()


def say(**facts: Any) -> None:
    """Writes one line."""
    line = json.dumps(facts) + "\n"
    with _writing:
        sys.stdout.write(line)
        sys.stdout.flush()


def main() -> None:
    wish: dict[str, Any] = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("trunkline.agents").setLevel(logging.CRITICAL)  # they fail on purpose
    orchestrator = Orchestrator(Orchestrator.Config(**wish["config"]), wish["name"])
    for event in OrchestratorEvent:
        if event is not OrchestratorEvent.AGENT_HEARTBEAT:
            orchestrator.register_event(event, partial(tell, event.name))
    say(ready=True)
    for line in sys.stdin:
        call = json.loads(line)
        threading.Thread(target=answer, args=(orchestrator, call), daemon=True).start()
    orchestrator.shutdown()


def tell(event: str, agent_name: str | None = None, **facts: Any) -> None:
    """An event."""
    say(event=event, agent=agent_name, **{name: str(value) for name, value in facts.items()})


def answer(orchestrator: Orchestrator, call: dict[str, Any]) -> None:
    """Does a call."""
    try:
        result = do(orchestrator, call["call"], call["args"], call["options"])
    except TrunklineError as error:
        say(answer=call["id"], error=error.to_dict())
    except Exception as error:  # noqa: BLE001  # a test that calls wrongly is told so
        say(answer=call["id"], error={"message": f"{type(error).__name__}: {error}", "error_code": "WRONG_CALL"})
    else:
        say(answer=call["id"], result=result)


def do(orchestrator: Orchestrator, name: str, args: list[Any], options: dict[str, Any]) -> Any:
    """The call itself."""
    match name:
        case "register_agent":
            restart = RestartPolicy(**options.pop("restart", {}))
            config = getattr(crew, args[0]).Config(**options.pop("config", {}))
            orchestrator.register_agent(getattr(crew, args[0]), args[1], config, restart=restart, **options)
        case "send":
            orchestrator.send(args[0], ServiceMessage("tests", "STATUS", args[1]))
        case "pids":
            return {entry.name: entry.pid for entry in orchestrator.memory.agents if entry.pid is not None}
        case "states":
            return {entry.name: entry.state for entry in orchestrator.memory.agents}
        case "dead_letters":
            return [entry.to_dict() for entry in orchestrator.dead_letters]
        case _:
            return getattr(orchestrator, name)(*args, **options)
    return None


if __name__ == "__main__":
    main()
