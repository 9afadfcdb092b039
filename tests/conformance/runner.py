"""Does the steps of the table that all clients are held to with the Python client: it reads a step as a JSON object a
line, and answers each with a line, {"ok": …} or {"error": …}."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    AgentState,
    Change,
    DurableMessage,
    DurableSettings,
    Failure,
    GrpcMessageBus,
    GrpcStateManager,
    Part,
    Priority,
    Progress,
    RecordNotFoundError,
    Request,
    Result,
    Tls,
    TrunklineError,
)
from trunkline.bus.codec import decode_message, parse_message
from trunkline.message_encoding import encode_delivery, encode_message
from trunkline.state.codec import decode_record, encode_record
from trunkline.state.filter import Filter
from trunkline.state.grpc.frames import write_list
from trunkline.v1.state_pb2 import AgentState as AgentStateWire

Step = dict[str, Any]
Said = dict[str, Any]


def failure(words: Step) -> Exception:
    """What a handler fails with: with a code, or any error."""
    if "code" in words:
        return TrunklineError(words["text"], words["code"], {"retryable": words.get("retryable", False)})
    return RuntimeError(words["text"])


class Received:
    """What a subscription got."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[AgentMessage, asyncio.Event]] = asyncio.Queue()
        self.lagged: asyncio.Queue[int] = asyncio.Queue()
        self.trouble: asyncio.Queue[TrunklineError] = asyncio.Queue()
        self.goes_on = asyncio.Event()
        self.held: list[tuple[AgentMessage, asyncio.Event]] = []
        self.pattern = ""


class Runner:
    """What the steps of one case made."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._bus: GrpcMessageBus | None = None
        self._state: GrpcStateManager | None = None
        self._reconnected: dict[str, asyncio.Queue[None]] = {"bus": asyncio.Queue(), "state": asyncio.Queue()}
        self._subscriptions: dict[str, Received] = {}
        self._watches: dict[str, AsyncIterator[Change]] = {}
        self._later: dict[str, asyncio.Task[Said]] = {}

    @property
    def bus(self) -> GrpcMessageBus:
        assert self._bus is not None
        return self._bus

    @property
    def state(self) -> GrpcStateManager:
        assert self._state is not None
        return self._state

    async def answer(self, step: Step) -> Said:
        """Does a step now, or beside those that follow."""
        if name := step.pop("later", ""):
            self._later[name] = asyncio.create_task(self.attempt(step))
            await asyncio.sleep(0)
            return {"ok": {}}
        return await self.attempt(step)

    async def attempt(self, step: Step) -> Said:
        verb = step.pop("do")
        if verb == "wait":
            return await asyncio.wait_for(self._later[step["for"]], PATIENCE)
        try:
            async with asyncio.timeout(PATIENCE):
                return {"ok": await getattr(self, f"do_{verb}")(**step) or {}}
        except TrunklineError as error:
            return {
                "error": {
                    "code": error.error_code,
                    "message": error.message,
                    "retryable": error.retryable,
                    "details": error.metadata(),
                }
            }
        except (ValueError, TypeError, TimeoutError) as error:  # the table's reader judges it
            return {"error": {"code": "?", "message": f"{type(error).__name__}: {error}"}}

    def _options(self, of: str, ca: str, wait: bool, timeout: float) -> Step:
        tls = Tls(ca=ca) if ca else None
        back = partial(self._reconnected[of].put_nowait, None)
        return {"tls": tls, "wait_for_ready": wait, "connect_timeout": timeout, "on_reconnected": back}

    async def do_connect_bus(self, address: str, ca: str = "", wait: bool = True, timeout: float = PATIENCE) -> None:
        bus = GrpcMessageBus(address, **self._options("bus", ca, wait, timeout))
        await bus.connect()
        self._bus = bus

    async def do_connect_state(self, address: str, ca: str = "", wait: bool = True, timeout: float = PATIENCE) -> None:
        state = GrpcStateManager(address, **self._options("state", ca, wait, timeout))
        await state.connect()
        self._state = state

    async def do_reconnected(self, of: str) -> None:
        await self._reconnected[of].get()

    async def do_reconnections(self, of: str) -> Said:
        return {"count": self._reconnected[of].qsize()}

    async def do_close(self) -> None:
        for received in self._subscriptions.values():
            received.goes_on.set()
        if self._bus is not None:
            await self._bus.disconnect()
        if self._state is not None:
            await self._state.disconnect()
        for task in self._later.values():
            task.cancel()
        self._begin()  # the next case begins with nothing

    async def do_publish(self, channel: str, messages: list[Step], stored: bool = False) -> Said:
        if not stored:
            for each in messages:
                await self.bus.publish(channel, to_message(each))
            await self.bus.flush()
            return {}
        receipts = await asyncio.gather(
            *(
                self.bus.publish(channel, to_message(each), stored=True, ordering_key=each.get("key"))
                for each in messages
            )
        )
        told = [
            {"sequence": each.sequence, "duplicate": each.duplicate, "durability": each.durability.name}
            for each in receipts
        ]
        return {"receipts": told}

    async def do_subscribe(
        self,
        name: str,
        pattern: str,
        group: str | None = None,
        credit: int | None = None,
        durable: str | None = None,
        ack_wait: float | None = None,
        concurrency: int = 1,
        hold: bool = False,
        takes: float = 0.0,
        fail: Step | None = None,
    ) -> None:
        received = self._subscriptions[name] = Received()
        received.pattern = pattern

        async def handle(message: AgentMessage) -> None:
            settled = asyncio.Event()
            received.came.put_nowait((message, settled))
            await asyncio.sleep(takes)
            if fail is not None:
                raise failure(fail)
            if hold and not received.goes_on.is_set():
                waits = [asyncio.create_task(each.wait()) for each in (settled, received.goes_on)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in waits:
                        each.cancel()

        if durable is None:
            lagged, trouble = received.lagged.put_nowait, received.trouble.put_nowait
            options: Step = {"group": group, "credit": credit, "concurrency": concurrency}
            await self.bus.subscribe(pattern, handle, **options, on_lagged=lagged, on_error=trouble)
            return
        settings = None if ack_wait is None else DurableSettings(ack_wait=ack_wait)
        await self.bus.subscribe(
            pattern,
            handle,
            durable=durable,
            settings=settings,
            credit=credit,
            concurrency=concurrency,
            on_error=received.trouble.put_nowait,
        )

    async def do_expect(self, name: str = "", count: int = 1, **words: Any) -> Said:
        received = self._subscriptions[words["from"]]
        told = []
        for _ in range(count):
            message, settled = await received.came.get()
            received.held.append((message, settled))
            one: Said = {"channel": message.channel, "message": from_message(message)}
            if isinstance(message, DurableMessage):
                one |= {"attempt": message.attempt, "sequence": message.sequence}
            told.append(one)
        return {"messages": told}

    async def do_lagged(self, **words: Any) -> Said:
        return {"dropped": await self._subscriptions[words["from"]].lagged.get()}

    async def do_trouble(self, **words: Any) -> None:
        raise await self._subscriptions[words["from"]].trouble.get()

    async def do_settle(self, name: str, reason: str = "", **words: Any) -> None:
        message, settled = self._subscriptions[words["from"]].held.pop(0)
        assert isinstance(message, DurableMessage)
        try:
            if name == "ack":
                await message.ack()
            elif name == "nak":
                await message.nak(reason, delay=0)
            else:
                await message.terminate(reason)
        finally:
            settled.set()

    async def do_go_on(self, **words: Any) -> None:
        self._subscriptions[words["from"]].goes_on.set()

    async def do_drain(self, **words: Any) -> None:
        await self.bus.unsubscribe(self._subscriptions[words["from"]].pattern)

    async def do_respond(
        self, pattern: str, hold: bool = False, takes: float = 0.0, parts: int = 0, fail: Step | None = None
    ) -> None:
        async def handle(request: Request) -> AgentMessage:
            if fail is not None:
                raise failure(fail)
            if hold:
                await asyncio.Event().wait()
            await asyncio.sleep(takes)
            if parts:
                request.progress(0.5, "ж")
            for n in range(parts):
                await request.part({"n": n})
            content: Step = (
                {"payload": request.payload}
                if request.data is None
                else {"data": request.data, "content_type": request.content_type}
            )
            return AgentMessage(message_type="", sender_id="responder", **content)

        await self.bus.respond(pattern, handle)

    async def do_request(self, channel: str, message: Step, timeout: float, wait_for_responder: bool = False) -> Said:
        reply = await self.bus.request(channel, to_message(message), timeout, wait_for_responder=wait_for_responder)
        return {"message": from_message(reply)}

    async def do_request_stream(self, channel: str, message: Step, timeout: float, leave_at: str | None = None) -> Said:
        """Tells the events that came: each kind with how many came in a row, the last part and the end."""
        told: Said = {}
        runs: list[list[Any]] = []
        async with aclosing(self.bus.request_stream(channel, to_message(message), timeout)) as events:
            async for event in events:
                kind = type(event).__name__.lower()
                match event:
                    case Progress():
                        told["progress"] = {"fraction": event.fraction, "text": event.text}
                    case Part():
                        told["part"] = from_message(event.message)
                    case Result():
                        told["end"] = from_message(event.message)
                    case Failure():
                        told["end"] = {"code": event.code, "text": event.text, "retryable": event.retryable}
                if runs and runs[-1][0] == kind:
                    runs[-1][1] += 1
                else:
                    runs.append([kind, 1])
                if kind == leave_at:
                    break
        return {**told, "events": runs}

    async def do_save(self, record: Step, expected_revision: int | None = None) -> Said:
        return {"revision": await self.state.save_agent_state(to_state(record), expected_revision=expected_revision)}

    async def do_get(self, id: str) -> Said:
        found = await self.state.get_agent_state(id)
        if found is None:  # Python's word for NOT_FOUND
            raise RecordNotFoundError(f"there is no agent state {id!r}")
        return {"record": from_state(found), "revision": found.revision}

    async def do_delete(self, id: str) -> Said:
        return {"deleted": await self.state.delete_agent_state(id)}

    async def do_page(self, size: int, token: str = "", status: str | None = None) -> Said:
        """Python's lists are whole: a page is asked for below them."""
        listed = (
            await self.state._call("list", write_list("agent_state", Filter(status).values(), size, token))
        ).listed
        return {
            "ids": [AgentStateWire.FromString(each.agent_state).agent_id for each in listed.records],
            "token": listed.next_page_token,
        }

    async def do_list(self, status: str | None = None) -> Said:
        return {"ids": [each.agent_id for each in await self.state.list_agent_states(status=status)]}

    async def do_watch(self, name: str, after: int | None = None, status: str | None = None) -> None:
        self._watches[name] = self.state.watch("agent_state", after_revision=after, status=status)

    async def do_changes(self, count: int = 1, **words: Any) -> Said:
        told = []
        for _ in range(count):
            change = await anext(self._watches[words["from"]])
            one: Said = {"type": change.type.value, "id": change.id or ""}
            if isinstance(change.record, AgentState):
                one["record"] = from_state(change.record)
            told.append(one)
        return {"changes": told}

    async def do_decode(self, kind: str, hex: str) -> Said:
        encoded = bytes.fromhex(hex)
        if kind == "message":
            return {"value": from_message(decode_message(parse_message(encoded)))}
        state = decode_record("agent_state", encoded, 1)
        assert isinstance(state, AgentState)
        return {"value": from_state(state)}

    async def do_encode(self, kind: str, message: Step | None = None, record: Step | None = None) -> Said:
        if message is not None:
            key = encode_delivery(message.get("key"), None, None)
            return {"hex": (encode_message(to_message(message)) + key).hex()}
        assert record is not None
        return {"hex": encode_record(to_state(record)).body.hex()}


def to_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_message(words: Step) -> AgentMessage:
    """A message of the table."""
    made: Step = {"message_type": words.get("type", ""), "sender_id": words.get("sender", "")}
    for word, field in (("id", "message_id"), ("recipient", "recipient_id"), ("correlation", "correlation_id")):
        if words.get(word):
            made[field] = words[word]
    if "json" in words:
        made["payload"] = json.loads(words["json"])
    if "data" in words:
        made |= {"data": bytes.fromhex(words["data"])}
    if "fill" in words:
        made |= {"data": bytes(words["fill"])}
    if "content_type" in words:
        made["content_type"] = words["content_type"]
    if "priority" in words:
        made["priority"] = Priority[words["priority"].upper()]
    if "ttl" in words:
        made["ttl_seconds"] = words["ttl"]
    if "time" in words:
        made["timestamp"] = to_time(words["time"])
    if "metadata" in words:
        made["metadata"] = json.loads(words["metadata"])
    return AgentMessage(**made)


def from_message(message: AgentMessage) -> Said:
    told: Said = {
        "id": message.message_id,
        "type": str(getattr(message.message_type, "value", message.message_type)),
        "sender": message.sender_id,
        "priority": message.priority.name.lower(),
        "time": time_text(message.timestamp),
    }
    if message.data is None:
        told["json"] = json.dumps(message.payload)
    else:
        told |= {"data": message.data.hex(), "content_type": message.content_type}
    if message.recipient_id is not None:
        told["recipient"] = message.recipient_id
    if message.correlation_id is not None:
        told["correlation"] = message.correlation_id
    if message.ttl_seconds is not None:
        told["ttl"] = message.ttl_seconds
    if message.metadata:
        told["metadata"] = json.dumps(message.metadata)
    if message.ordering_key:
        told["key"] = message.ordering_key
    return told


def to_state(words: Step) -> AgentState:
    """An agent state of the table."""
    made: Step = {
        "agent_id": words["id"],
        "agent_type": words.get("type", "coding"),
        "status": words.get("status", "idle"),
    }
    if "task" in words:
        made["current_task_id"] = words["task"]
    if "completed" in words:
        made["completed_tasks"] = words["completed"]
    if "errors" in words:
        made["error_count"] = int(words["errors"])
    if "heartbeat" in words:
        made["last_heartbeat"] = to_time(words["heartbeat"])
    if "metadata" in words:
        made["metadata"] = json.loads(words["metadata"])
    return AgentState(**made)


def from_state(state: AgentState) -> Said:
    told: Said = {
        "id": state.agent_id,
        "type": str(getattr(state.agent_type, "value", state.agent_type)),
        "status": str(getattr(state.status, "value", state.status)),
    }
    if state.current_task_id is not None:
        told["task"] = state.current_task_id
    if state.completed_tasks:
        told["completed"] = state.completed_tasks
    if state.error_count:
        told["errors"] = str(state.error_count)
    if state.last_heartbeat is not None:
        told["heartbeat"] = time_text(state.last_heartbeat)
    if state.metadata:
        told["metadata"] = json.dumps(state.metadata)
    return told


async def main() -> None:
    runner = Runner()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        answered = await runner.answer(json.loads(line))
        sys.stdout.write(json.dumps(answered) + "\n")
        sys.stdout.flush()
    await runner.do_close()


if __name__ == "__main__":
    asyncio.run(main())
