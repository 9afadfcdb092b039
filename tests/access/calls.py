"""Every call of both services, and every item of their streams, as the protos have them: how each is made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from tests.patience import PATIENCE
from trunkline.errors import TrunklineError
from trunkline.v1 import bus_pb2, state_pb2
from trunkline.wire.status import error_from_item, error_from_rpc

SERVICES = {
    "bus": bus_pb2.DESCRIPTOR.services_by_name["BusService"],
    "state": state_pb2.DESCRIPTOR.services_by_name["StateService"],
}


@dataclass(frozen=True)
class Call:
    """One call, or one item of a multiplexed stream.

    Args:
        service: "bus" or "state".
        method: its descriptor.
        item: the name of the item; empty: the call itself.
    """

    service: str
    method: Any
    item: str = ""

    @property
    def name(self) -> str:
        """Such as `Publish` or `OpenStream.publish`."""
        return f"{self.method.name}.{self.item}" if self.item else str(self.method.name)

    @property
    def path(self) -> str:
        return f"/{SERVICES[self.service].full_name}/{self.method.name}"

    @property
    def message(self) -> Any:
        """The class of what it asks with: of an item, that of the item."""
        asked = self.method.input_type
        if self.item:
            asked = asked.nested_types_by_name["ClientItem"].fields_by_name[self.item].message_type
        return message_factory.GetMessageClass(asked)


def all_calls() -> Iterator[Call]:
    """Yields what the protos have now."""
    for service, descriptor in SERVICES.items():
        for method in descriptor.methods:
            inside = method.input_type.nested_types_by_name.get("ClientItem")
            if inside is None:
                yield Call(service, method)
                continue
            for field in inside.oneofs_by_name["item"].fields:
                yield Call(service, method, field.name)


CALLS = list(all_calls())

MESSAGE = {"messageId": "m", "json": "{}"}
PUBLISH = {"channel": "c:1", "messages": [MESSAGE]}
REQUEST = {"channel": "c:1", "message": MESSAGE, "timeout": "5s"}
START = {"start": {"pattern": "c:*"}}
SAVE = {"agentState": {"agentId": "a", "agentType": "coding"}}
RECORD = {"kind": "RECORD_KIND_AGENT_STATE", "id": "a"}
HOLD = {"name": "l", "number": 1}

TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "Publish": (PUBLISH, 'publish = ["c:1"]'),
    "PublishStream": ({"publish": PUBLISH}, 'publish = ["c:*"]'),
    "Subscribe": (START, 'subscribe = ["c:>"]'),
    "Request": (REQUEST, 'request = ["c:1"]'),
    "RequestStream": ({"request": REQUEST}, 'request = ["c:1"]'),
    "Respond": ({"requestId": "r"}, 'respond = [">"]'),
    "Cancel": ({"requestId": "r"}, 'request = [">"]'),
    "OpenStream.publish": (PUBLISH, 'publish = ["c:1"]'),
    "OpenStream.request": (REQUEST, 'request = ["c:1"]'),
    "OpenStream.subscribe": (START, 'subscribe = ["c:*"]'),
    "OpenStream.cancel": ({}, ""),
    "OpenStream.ping": ({}, ""),
    "OpenStream.request_stream": ({"request": REQUEST}, 'request = ["c:1"]'),
    "OpenStream.request_credit": ({"parts": 1}, ""),
    "ListSubscriptions": ({}, 'inspect = ["list"]'),
    "GetStats": ({}, 'inspect = ["stats"]'),
    "Explain": ({"channel": "c:1"}, 'inspect = ["explain"]'),
    "Tail": ({"pattern": "c:*"}, 'inspect = ["tail"]\nsubscribe = ["c:*"]'),
    "Trace": ({"messageId": "m"}, 'inspect = ["trace"]'),
    "Stuck": ({}, 'inspect = ["stuck"]'),
    "CreateDurableSubscription": ({"name": "d", "pattern": "c:*"}, 'subscribe = ["c:*"]\ndurable.create = ["d"]'),
    "GetDurableSubscription": ({"name": "d"}, 'durable.see = ["d"]'),
    "ListDurableSubscriptions": ({}, 'inspect = ["list"]'),
    "DeleteDurableSubscription": ({"name": "d"}, 'durable.delete = ["d"]'),
    "SeekDurableSubscription": ({"name": "d", "position": {"all": True}}, 'durable.seek = ["d"]'),
    "UpdateDurableSubscription": ({"name": "d", "settings": {"ackWait": "9s"}}, 'durable.manage = ["d"]'),
    "PauseDurableSubscription": ({"name": "d"}, 'durable.manage = ["d"]'),
    "ResumeDurableSubscription": ({"name": "d"}, 'durable.manage = ["d"]'),
    "Settle": ({"durable": "d", "ack": {"sequences": [1]}}, 'durable.settle = ["d"]'),
    "ListWaitingMessages": ({"durable": "d"}, 'durable.see = ["d"]'),
    "CancelWaitingMessages": ({"durable": "d", "filter": {}}, 'durable.manage = ["d"]'),
    "MoveWaitingMessages": ({"durable": "d", "toDurable": "e", "filter": {}}, 'durable.manage = ["d", "e"]'),
    "ListDeadLetters": ({"filter": {"durable": "d"}}, 'dead_letters.see = ["d"]'),
    "GetDeadLetter": ({"deadLetterId": "1"}, 'dead_letters.see = ["*"]'),
    "RedriveDeadLetters": ({"filter": {"durable": "d"}}, 'dead_letters.redrive = ["d"]'),
    "PurgeDeadLetters": ({"filter": {}}, 'dead_letters.purge = ["*"]'),
    "SubmitTask": ({"channel": "c:1", "message": MESSAGE}, 'tasks.submit = ["c:1"]'),
    "GetTask": ({"taskId": "t"}, 'tasks.see = [">"]'),
    "ListTasks": ({"channel": "c:*"}, 'tasks.see = ["c:*"]'),
    "CancelTask": ({"taskId": "t"}, 'tasks.cancel = [">"]'),
    "Save": (SAVE, 'records.write = ["agent_state/a"]'),
    "Get": (RECORD, 'records.read = ["agent_state/a"]'),
    "List": ({"kind": "RECORD_KIND_AGENT_STATE"}, 'records.list = ["agent_state/*"]'),
    "Delete": (RECORD, 'records.write = ["agent_state/a"]'),
    "Batch": (
        {"operations": [{"save": SAVE}, {"get": RECORD}]},
        'records.write = ["agent_state/a"]\nrecords.read = ["agent_state/*"]',
    ),
    "Watch": (
        {},
        'records.watch = ["agent_state/*", "workflow_state/*", "task_result/*"]',
    ),
    "OpenStateStream.save": (SAVE, 'records.write = ["agent_state/a"]'),
    "OpenStateStream.get": (RECORD, 'records.read = ["*/a"]'),
    "OpenStateStream.list": ({"kind": "RECORD_KIND_AGENT_STATE"}, 'records.list = ["agent_state/*"]'),
    "OpenStateStream.delete": (RECORD, 'records.write = ["agent_state/*"]'),
    "OpenStateStream.batch": ({"operations": [{"delete": RECORD}]}, 'records.write = ["agent_state/a"]'),
    "OpenStateStream.renew_lease": ({"lease": HOLD}, 'leases.acquire = ["l"]'),
    "OpenStateStream.release_lease": ({"lease": HOLD}, 'leases.acquire = ["l"]'),
    "OpenStateStream.touch": ({**RECORD, "ttl": "9s"}, 'records.write = ["agent_state/a"]'),
    "GetStateStats": ({}, 'inspect = ["stats"]'),
    "AcquireLease": ({"name": "l", "ttl": "1s"}, 'leases.acquire = ["l"]'),
    "RenewLease": ({"lease": HOLD}, 'leases.acquire = ["*"]'),
    "ReleaseLease": ({"lease": HOLD}, 'leases.acquire = ["l"]'),
    "ListLeases": ({}, 'leases.see = ["*"]'),
    "Touch": ({**RECORD, "ttl": "9s"}, 'records.write = ["agent_state/a"]'),
}
"""By call or item: what is asked, and what must be allowed for it. Nothing: it is part of something that was."""


async def ask(
    channel: grpc.aio.Channel, call: Call, request: Message, metadata: tuple[tuple[str, str], ...] = ()
) -> TrunklineError | None:
    """Makes a call, or sends an item; returns the error that answers it, or None."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _ask(channel, call, request, metadata)
    except grpc.aio.AioRpcError as status:
        return error_from_rpc(status)


async def _ask(channel: Any, call: Call, request: Message, metadata: Any) -> TrunklineError | None:
    answers = message_factory.GetMessageClass(call.method.output_type).FromString
    raw = request.SerializeToString()
    if not call.method.client_streaming and not call.method.server_streaming:
        await channel.unary_unary(call.path, None, answers)(raw, metadata=metadata)
        return None
    if not call.method.client_streaming:
        stream = channel.unary_stream(call.path, None, answers)(raw, metadata=metadata)
        await stream.read()
        stream.cancel()
        return None
    stream = channel.stream_stream(call.path, None, answers)(metadata=metadata)
    try:
        if not call.item:
            await stream.write(raw)
            answer = await stream.read()
            refused = answer is not grpc.aio.EOF and answer.WhichOneof("frame") == "error"
            return error_from_item(answer.error) if refused else None
        return await _ask_item(stream, call, request)
    finally:
        stream.cancel()


async def _ask_item(stream: Any, call: Call, request: Message) -> TrunklineError | None:
    """Sends an item, and behind it one that is always answered: so the lack of an answer is an answer, too."""
    frame: Any = message_factory.GetMessageClass(call.method.input_type)()
    item = frame.items.add(id=1)
    getattr(item, call.item).CopyFrom(request)
    behind = type(frame)()
    behind.items.add(id=2)  # an empty item, which is refused
    await stream.initial_metadata()
    if not stream.done():  # else it was refused: to write would say less than to read does
        await stream.write(frame.SerializeToString())
        await stream.write(behind.SerializeToString())
    found: dict[int, Any] = {}
    while 2 not in found or (1 not in found and call.item in ANSWERED):
        answer = await stream.read()
        if answer is grpc.aio.EOF:
            await stream.code()
            break
        for each in answer.items:
            found.setdefault(each.id, each)
    first = found.get(1)
    return error_from_item(first.error) if first is not None and first.WhichOneof("item") == "error" else None


_OF_STATE = state_pb2.OpenStateStreamRequest.ClientItem.DESCRIPTOR.oneofs_by_name["item"].fields
ANSWERED = ("publish", "request", "subscribe", "request_stream", *(field.name for field in _OF_STATE))
"""Items that are answered each; the others are about something that is open."""
