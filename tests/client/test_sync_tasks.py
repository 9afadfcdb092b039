"""Tasks by the synchronous face."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.patience import PATIENCE
from trunkline import Accepted, AgentMessage, RequestCancelledError, Result, TaskNotFoundError
from trunkline.sync import MessageBus


def test_tasks(bus_address: str) -> None:
    """Submitted, worked on by a callback, followed, listed, cancelled."""
    name = f"sync-{uuid4().hex}"
    channel = f"sync:{name}"
    with MessageBus(bus_address) as bus:
        bus.create_durable(name, channel)
        first, second = (bus.submit(channel, AgentMessage(message_type="job", sender_id="tests")) for _ in range(2))
        assert second.cancel(by="me").state == "cancelled"
        done: list[str] = []
        bus.subscribe(channel, lambda message: done.append(message.message_id), durable=name)
        assert bus.task(first.id).result(PATIENCE) is None
        assert done == [first.id]
        assert [type(event) for event in first.events()] in ([Result], [Accepted, Result])
        with pytest.raises(RequestCancelledError):
            second.result(PATIENCE)
        assert [each.id for each in bus.tasks(durable=name)] == [second.id, first.id]
        assert first.status().state == "done"
        assert repr(first) == f"SubmittedTask(id={first.id!r})"
        with pytest.raises(TaskNotFoundError):
            bus.task("never").status()
