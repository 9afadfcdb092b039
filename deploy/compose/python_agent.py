"""Gives texts to whoever measures them, as tasks that are not lost, and prints what came of each."""

from __future__ import annotations

import os
import time

from trunkline import AgentMessage, MessageType
from trunkline.sync import MessageBus, StateManager


def main() -> None:
    """Until it is stopped: a text, its result, and a pause."""
    with MessageBus(os.environ["TRUNKLINE_BUS"]) as bus, StateManager(os.environ["TRUNKLINE_STATE"]) as state:
        bus.create_durable("measure", "measure:tasks")
        while True:
            name = f"text-{time.time_ns()}"
            payload = {"Name": name, "Source": "one\ntwo\nthree\n"}
            task = AgentMessage(message_type=MessageType.TASK_ASSIGNMENT, sender_id="python-agent", payload=payload)
            bus.publish("measure:tasks", task, stored=True)
            while (result := state.get_task_result(name)) is None:
                time.sleep(0.1)
            print(name, result.agent_id, result.output_data, flush=True)
            time.sleep(5)


if __name__ == "__main__":
    main()
