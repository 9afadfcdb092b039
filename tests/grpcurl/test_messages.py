"""Publish, subscribe and request by hand, in plain text."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.grpcurl.conftest import Grpcurl, StartStream
from trunkline import AgentMessage, GrpcMessageBus

BUS = "trunkline.v1.BusService"


def test_a_json_payload_passes_in_plain_text(grpcurl: Grpcurl, stream: StartStream, bus: str, channel: str) -> None:
    """Written as JSON and read as JSON: never base64. A half-closed subscription goes on."""
    subscription = stream(bus, f"{BUS}/Subscribe", {"start": {"pattern": channel}})
    assert "started" in subscription.next()
    payload = '{"file": "main.py", "note": "größer"}'
    message = {"message_type": "task_assignment", "sender_id": "me", "json": payload, "metadata_json": '{"a": 1}'}
    receipts = grpcurl(bus, f"{BUS}/Publish", {"channel": channel, "messages": [message]}).json()["receipts"]
    assert receipts[0]["durability"] == "DURABILITY_MEMORY"
    deliveries = subscription.next()["deliveries"]
    assert deliveries["channel"] == channel
    assert deliveries["first_sequence"] == receipts[0]["sequence"]
    (delivered,) = deliveries["messages"]
    assert delivered["json"] == payload
    assert (delivered["message_type"], delivered["sender_id"]) == ("task_assignment", "me")
    assert delivered["message_id"]


async def test_a_python_agent_answers_a_request(grpcurl: Grpcurl, bus_address: str, bus: str, channel: str) -> None:
    """The reply's payload is plain text too."""

    async with GrpcMessageBus(bus_address) as agent:

        async def answer(message: AgentMessage) -> None:
            reply = message.create_response("agent", "task_result", {"got": message.payload})
            await agent.publish(f"{channel}:reply", reply)

        await agent.subscribe(channel, answer)
        body = {"channel": channel, "message": {"sender_id": "me", "json": '{"n": 1}'}}
        said = (await asyncio.to_thread(grpcurl, bus, f"{BUS}/Request", body)).json()
    assert json.loads(said["message"]["json"]) == {"got": {"n": 1}}
    assert said["message"]["sender_id"] == "agent"
    assert said["channel"] == f"{channel}:reply"


@pytest.mark.parametrize(
    ("method", "body", "code", "reason"),
    [
        ("Publish", {"channel": "", "messages": [{}]}, 3, "INVALID_CHANNEL"),
        ("Publish", {"channel": "a b", "messages": [{}]}, 3, "INVALID_CHANNEL"),
        ("Publish", {"channel": "a:*", "messages": [{}]}, 3, "INVALID_CHANNEL"),
        ("Publish", {"channel": "x" * 256, "messages": [{}]}, 3, "INVALID_CHANNEL"),
        ("Publish", {"channel": "a", "messages": []}, 3, "INVALID_MESSAGE"),
        ("Publish", {"channel": "a", "messages": [{"priority": 9}]}, 3, "INVALID_MESSAGE"),
        ("Publish", {"channel": "a", "messages": [{"ttl_seconds": 0}]}, 3, "INVALID_MESSAGE"),
        ("Subscribe", {"start": {"pattern": "a:>:b"}}, 3, "INVALID_CHANNEL"),
        ("Subscribe", {"start": {"pattern": "a", "credit": 0}}, 3, "INVALID_MESSAGE"),
        ("Subscribe", {"ack": {"sequences": [1]}}, 3, "INVALID_MESSAGE"),
        ("Request", {"channel": "test:nobody.here", "message": {}}, 9, "NO_RESPONDERS"),
        ("Request", {"channel": "a", "message": {}, "timeout": "-1s"}, 3, "INVALID_MESSAGE"),
        ("ListSubscriptions", {"page_token": "never given"}, 3, "INVALID_MESSAGE"),
        ("ListSubscriptions", {"page_size": -1}, 3, "INVALID_MESSAGE"),
    ],
)
def test_an_error_is_as_the_table_says(
    grpcurl: Grpcurl, bus: str, method: str, body: dict[str, Any], code: int, reason: str
) -> None:
    """The status, and one ErrorInfo with the reason."""
    error = grpcurl(bus, f"{BUS}/{method}", body).error()
    assert (error["code"], error["reason"]) == (code, reason)
    assert error["message"]


def test_a_message_over_the_limit_is_told_both_sizes(grpcurl: Grpcurl, bus: str) -> None:
    """INVALID_ARGUMENT, not gRPC's own RESOURCE_EXHAUSTED."""
    body = {"channel": "a", "messages": [{"json": json.dumps("x" * 5_000_000)}]}
    error = grpcurl(bus, f"{BUS}/Publish", body).error()
    assert (error["code"], error["reason"]) == (3, "MESSAGE_TOO_LARGE")
    assert int(error["metadata"]["size"]) > int(error["metadata"]["limit"]) == 4 * 1024 * 1024


def test_a_request_that_nobody_answers_ends_at_its_deadline(
    grpcurl: Grpcurl, stream: StartStream, bus: str, channel: str
) -> None:
    """The service says REQUEST_TIMEOUT with the figures."""
    assert "started" in stream(bus, f"{BUS}/Subscribe", {"start": {"pattern": channel}}).next()
    error = grpcurl(bus, f"{BUS}/Request", {"channel": channel, "message": {}, "timeout": "0.2s"}).error()
    assert (error["code"], error["reason"]) == (4, "REQUEST_TIMEOUT")
    assert error["metadata"]["channel"] == channel
    assert float(error["metadata"]["timeout_seconds"]) == pytest.approx(0.2, abs=0.05)
