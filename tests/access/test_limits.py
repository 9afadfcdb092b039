"""Limits of each identity: what is beyond them is refused with when to try again, and what ends is given back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.access.calls import CALLS, Call, ask
from tests.access.conftest import EVERYTHING, Issuer, Serve
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    AgentState,
    AgentStatus,
    BusDisconnectedError,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
    NoRespondersError,
    OverloadedError,
    StateDisconnectedError,
)
from trunkline.errors import STATUS_DETAILS_KEY
from trunkline.v1 import state_pb2
from trunklined.access import limits
from trunklined.access.access_file import AccessFileError, parse_policy
from trunklined.access.limits import Cost, Limits, Quota, Quotas, Rate

FILE = Path("/etc/trunkline/access.toml")
ALLOW = f'[[allow]]\nwho = ["*", "anonymous"]\n{EVERYTHING}\n'
NEVER = "0.0001"
"""A rate at which nothing comes back while a test runs."""
BY_NAME = {call.name: call for call in CALLS}
MESSAGE = {"messageId": "m", "json": "{}"}
NEWS = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={})
Write = Callable[[str], Path]


def _limit(*lines: str, who: str = "agent-7") -> str:
    return "\n".join([f'[[limit]]\nwho = ["{who}"]', *lines, ""])


# What is counted.


@given(
    st.floats(0.1, 1_000),
    st.floats(1, 100),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 200)), max_size=60),
)
def test_no_more_passes_than_the_burst_and_the_rate(rate: float, burst: float, asked: list[tuple[float, int]]) -> None:
    """But for the last, which may be larger than the burst; and what waits as long as it was told passes."""
    now = [0.0]
    quota = Quota(Limits({"messages": Rate(rate, burst)}), lambda: now[0])
    passed = last = 0.0
    for pause, amount in asked:
        now[0] += pause
        excess = quota.spend(Cost(amount, 0))
        if excess is not None:
            assert excess.limit == "messages_per_second"
            assert excess.maximum == rate
            assert 0 < excess.retry_after <= burst / rate + max(0.0, last) / rate + 1e-6
            now[0] += excess.retry_after
            assert quota.spend(Cost(amount, 0)) is None
        passed, last = passed + amount, amount
        assert passed - last <= (burst + rate * now[0]) * (1 + 1e-6)


def test_what_is_refused_by_one_rate_is_taken_from_none() -> None:
    """So who is told to wait for bytes has not paid messages for it."""
    quota = Quota(Limits({"messages": Rate(1, 2), "bytes": Rate(1, 10)}), lambda: 0.0)
    assert quota.spend(Cost(1, 8)) is None
    for _ in range(3):
        refused = quota.spend(Cost(1, 8))
        assert refused is not None
        assert refused.limit == "bytes_per_second"
    assert quota.spend(Cost(1, 2)) is None


def test_what_is_remembered_of_identities_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that use nothing are forgotten, and never one that has something open."""
    monkeypatch.setattr(limits, "MAX_QUOTAS", 10)
    quotas = Quotas(lambda name: Limits({"messages": Rate(1e-9, 5)}, {"streams": 1}))
    quotas.of("open").streams.take()
    for number in range(1_000):
        quotas.of(f"token-{number}").spend(Cost(1, 0))
    assert len(quotas._known) <= 11
    assert quotas.of("open").streams.take() is not None


# What the file says.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("agent-7", Limits({"messages": Rate(5, 20), "bytes": Rate(0.5, 1)}, {"streams": 3})),
        ("agent-8", Limits({"messages": Rate(100, 100), "bytes": Rate(0.5, 1)}, {"streams": 3})),
        ("operator", Limits({"bytes": Rate(0.5, 1)}, {})),
        ("anonymous", Limits({"messages": Rate(1, 1), "bytes": Rate(0.5, 1)}, {"streams": 3})),
    ],
)
def test_of_each_limit_the_first_block_counts(name: str, expected: Limits) -> None:
    """What it does not say is left to those behind it; a star is everybody, and `inf` no limit."""
    text = (
        '[[limit]]\nwho = ["agent-7"]\nmessages_per_second = 5\nmessages_burst = 20\n'
        '[[allow]]\nwho = ["x"]\n'
        '[[limit]]\nwho = ["agent-*"]\nmessages_per_second = 100\n'
        '[[limit]]\nwho = ["operator"]\nmessages_per_second = inf\nstreams = inf\n'
        '[[limit]]\nwho = ["*"]\nmessages_per_second = 1\nbytes_per_second = 0.5\nstreams = 3\n'
    )
    assert parse_policy(text, FILE).limits_of(name) == expected


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("mesages_per_second = 1", r"line 5: 'mesages_per_second' is unknown; did you mean 'messages_per_second'"),
        ("messages_per_second = 0", r"line 5: messages_per_second is 0, it must be a number above 0"),
        ("messages_per_second = -1", r"line 5: messages_per_second is -1, it must be a number above 0"),
        ("bytes_per_second = nan", r"line 5: bytes_per_second is nan, it must be a number above 0"),
        ('streams = "3"', r"line 5: streams is '3', it must be a whole number of at least 1"),
        ("streams = 2.5", r"line 5: streams is 2\.5, it must be a whole number"),
        ("subscriptions = true", r"line 5: subscriptions is True, it must be a whole number"),
        ("requests = 0", r"line 5: requests is 0, it must be a whole number of at least 1"),
        ("messages_burst = 5", r"line 5: messages_burst is set without messages_per_second"),
        ("publish = []", r"line 5: 'publish' is unknown"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(line: str, wrong: str) -> None:
    """Also where blocks of the other kind stand before it."""
    with pytest.raises(AccessFileError, match=rf"access\.toml, {wrong}"):
        parse_policy(f'[[allow]]\nwho = ["a"]\n[[limit]]\nwho = ["a"]\n{line}\n', FILE)


def test_a_limit_without_who_is_refused() -> None:
    """As a block that allows."""
    with pytest.raises(AccessFileError, match=r"line 3: the block does not say who"):
        parse_policy('[[allow]]\nwho = ["a"]\n[[limit]]\nstreams = 1\n', FILE)


# At real services.


@asynccontextmanager
async def _serving(serve: Serve, service: str, issuer: Issuer, file: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        serve(service, **issuer.settings, access_file=str(file)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


def _by(issuer: Issuer, name: str = "agent-7") -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {issuer.token(name)}"),)


PUBLISH = {"channel": "c:1", "messages": [MESSAGE] * 2}
STORED = {**PUBLISH, "durability": "DURABILITY_STORED"}
REQUEST = {"channel": "c:1", "message": MESSAGE, "timeout": "0.01s"}
RECORD = {"kind": "RECORD_KIND_AGENT_STATE", "id": "a"}
SAVE = {"agentState": {"agentId": "a", "agentType": "coding"}}
SAVES = {"operations": [{"save": SAVE}] * 2}
MESSAGES = f"messages_per_second = {NEVER}\nmessages_burst = 4"
BYTES = f"bytes_per_second = {NEVER}\nbytes_burst = 20"
STORED_BYTES = f"stored_bytes_per_second = {NEVER}\nstored_bytes_burst = 20"


@pytest.mark.parametrize(
    ("name", "request_", "lines"),
    [
        ("Publish", PUBLISH, MESSAGES),
        ("PublishStream", {"publish": PUBLISH}, MESSAGES),
        ("OpenStream.publish", PUBLISH, MESSAGES),
        ("Request", REQUEST, MESSAGES),
        ("RequestStream", {"request": REQUEST}, MESSAGES),
        ("OpenStream.request", REQUEST, MESSAGES),
        ("OpenStream.request_stream", {"request": REQUEST}, MESSAGES),
        ("SubmitTask", {"channel": "c:1", "message": MESSAGE}, MESSAGES),
        ("GetStats", {}, MESSAGES),
        ("ListSubscriptions", {}, MESSAGES),
        ("Save", SAVE, MESSAGES),
        ("Get", RECORD, MESSAGES),
        ("Batch", SAVES, MESSAGES),
        ("Watch", {}, MESSAGES),
        ("OpenStateStream.save", SAVE, MESSAGES),
        ("OpenStateStream.get", RECORD, MESSAGES),
        ("OpenStateStream.batch", SAVES, MESSAGES),
        ("Publish", PUBLISH, BYTES),
        ("PublishStream", {"publish": PUBLISH}, BYTES),
        ("OpenStream.publish", PUBLISH, BYTES),
        ("OpenStream.request", REQUEST, BYTES),
        ("OpenStateStream.save", SAVE, BYTES),
        ("Publish", STORED, STORED_BYTES),
        ("PublishStream", {"publish": STORED}, STORED_BYTES),
        ("OpenStream.publish", STORED, STORED_BYTES),
        ("SubmitTask", {"channel": "c:1", "message": MESSAGE}, STORED_BYTES),
        ("Save", SAVE, STORED_BYTES),
        ("OpenStateStream.batch", SAVES, STORED_BYTES),
    ],
)
async def test_each_rate_holds_on_each_way(
    name: str, request_: dict[str, Any], lines: str, serve: Serve, issuer: Issuer, access_file: Write
) -> None:
    """What is beyond it is OVERLOADED with the limit's name and when to try again; others are not held back."""
    call = BY_NAME[name]
    wanted = ParseDict(request_, call.message())
    limit = lines.partition(" ")[0]
    async with _serving(serve, call.service, issuer, access_file(ALLOW + _limit(lines))) as channel:
        errors = [await ask(channel, call, wanted, _by(issuer)) for _ in range(6)]
        refused = [error for error in errors if isinstance(error, OverloadedError)]
        assert not isinstance(errors[0], OverloadedError)
        assert isinstance(errors[-1], OverloadedError)
        for error in refused:
            assert error.details["limit"] == limit
            assert error.details["maximum"] == float(NEVER)
            assert error.details["identity"] == "agent-7"
            assert error.retry_after is not None
            assert error.retry_after > 1_000
        other = await ask(channel, call, wanted, _by(issuer, "agent-8"))
        assert not isinstance(other, OverloadedError)


@pytest.mark.parametrize("name", ["Publish", "OpenStream.publish"])
async def test_what_is_not_stored_uses_nothing_of_what_may_be_stored(
    name: str, serve: Serve, issuer: Issuer, access_file: Write
) -> None:
    """And reads do not."""
    call = BY_NAME[name]
    async with _serving(serve, "bus", issuer, access_file(ALLOW + _limit(STORED_BYTES))) as channel:
        for _ in range(6):
            assert await ask(channel, call, ParseDict(PUBLISH, call.message()), _by(issuer)) is None


async def test_the_status_says_when_to_try_again_as_other_languages_read_it(
    serve: Serve, issuer: Issuer, access_file: Write
) -> None:
    """By google.rpc.RetryInfo, beside the ErrorInfo."""
    file = access_file(ALLOW + _limit("messages_per_second = 0.5", "messages_burst = 1"))
    async with _serving(serve, "bus", issuer, file) as channel:
        call: Any = channel.unary_unary("/trunkline.v1.BusService/GetStats")
        await call(b"", metadata=_by(issuer))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=_by(issuer))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (raw,) = (value for key, value in refused.value.trailing_metadata() if key == STATUS_DETAILS_KEY)
    (_, told) = status_pb2.Status.FromString(raw).details
    info = error_details_pb2.RetryInfo()
    assert told.Unpack(info)
    assert 0 < info.retry_delay.ToTimedelta().total_seconds() <= 2


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("Subscribe", "streams"),
        ("PublishStream", "streams"),
        ("OpenStream.ping", "streams"),
        ("Watch", "streams"),
        ("OpenStateStream.get", "streams"),
        ("Subscribe", "subscriptions"),
        ("OpenStream.subscribe", "subscriptions"),
    ],
)
async def test_streams_and_subscriptions_are_given_back_when_they_end(
    name: str, limit: str, serve: Serve, issuer: Issuer, access_file: Write
) -> None:
    """One too many is refused while the others are open, and let in when one has ended."""
    call = BY_NAME[name]
    requests: dict[str, dict[str, Any]] = {
        "Subscribe": {"start": {"pattern": "c:*"}},
        "PublishStream": {"publish": PUBLISH},
        "OpenStream.subscribe": {"start": {"pattern": "c:*"}},
        "OpenStateStream.get": RECORD,
    }
    wanted = ParseDict(requests.get(name, {}), call.message())
    async with (
        _serving(serve, call.service, issuer, access_file(ALLOW + _limit(f"{limit} = 2"))) as channel,
        asyncio.timeout(PATIENCE),
    ):
        held = [await _hold(channel, call, wanted, issuer) for _ in range(2)]
        for _ in range(3):
            error = await ask(channel, call, wanted, _by(issuer))
            assert isinstance(error, OverloadedError)
            assert error.details["limit"] == limit
            assert error.details["maximum"] == 2
            assert error.retry_after == limits.ASK_AGAIN_SECONDS
        assert not isinstance(await ask(channel, call, wanted, _by(issuer, "agent-8")), OverloadedError)
        held.pop().cancel()
        await _until_taken(channel, call, wanted, issuer)


async def _until_taken(channel: Any, call: Call, wanted: Any, issuer: Issuer) -> None:
    """Asks until there is room."""
    error: Exception | None = OverloadedError("not asked yet")
    while isinstance(error, OverloadedError):
        error = await ask(channel, call, wanted, _by(issuer))


async def _hold(channel: Any, call: Call, wanted: Any, issuer: Issuer) -> Any:
    """Opens a stream, and what is asked for on it; returns it when that is there."""
    if not call.method.client_streaming:
        stream = channel.unary_stream(call.path)(wanted.SerializeToString(), metadata=_by(issuer))
    else:
        stream = channel.stream_stream(call.path)(metadata=_by(issuer))
        if call.item:
            frame: Any = message_factory.GetMessageClass(call.method.input_type)()
            getattr(frame.items.add(id=1), call.item).CopyFrom(wanted)
            await stream.write(frame.SerializeToString())
        else:
            await stream.write(wanted.SerializeToString())
    await stream.read()
    return stream


@pytest.mark.parametrize("name", ["Request", "RequestStream", "OpenStream.request", "OpenStream.request_stream"])
async def test_requests_in_flight_are_given_back_when_they_end(
    name: str, serve: Serve, issuer: Issuer, access_file: Write
) -> None:
    """By a timeout, and where the asker goes away."""
    call = BY_NAME[name]
    asked = {"channel": "c:1", "message": {"json": "{}"}, "timeout": "600s", "waitForResponder": True}
    short = {**asked, "timeout": "0.01s"}
    whole, brief = (
        ParseDict({"request": each} if name.lower().endswith("stream") else each, call.message())
        for each in (asked, short)
    )
    async with (
        _serving(serve, "bus", issuer, access_file(ALLOW + _limit("requests = 2"))) as channel,
        asyncio.timeout(PATIENCE),
    ):
        for _ in range(3):  # each ends by its timeout
            assert not isinstance(await ask(channel, call, brief, _by(issuer)), OverloadedError)
        held = [asyncio.ensure_future(_until_taken(channel, call, whole, issuer)) for _ in range(2)]
        error = None
        while not isinstance(error, OverloadedError):
            error = await ask(channel, call, brief, _by(issuer))
        assert error.details["limit"] == "requests"
        held.pop().cancel()
        await _until_taken(channel, call, brief, issuer)
        for each in held:
            each.cancel()


async def test_what_waits_at_the_state_service_counts_too(serve: Serve, issuer: Issuer, access_file: Write) -> None:
    """Callers that wait for a lease, and items that are not answered yet; each is given back with its answer."""
    acquire = BY_NAME["AcquireLease"]
    wanted = ParseDict({"name": "l", "ttl": "60s", "wait": "600s", "holder": "a"}, acquire.message())
    async with (
        _serving(serve, "state", issuer, access_file(ALLOW + _limit("requests = 2"))) as channel,
        asyncio.timeout(PATIENCE),
    ):
        assert await ask(channel, acquire, wanted, _by(issuer, "agent-8")) is None
        held = [asyncio.ensure_future(_until_taken(channel, acquire, wanted, issuer)) for _ in range(2)]
        get = BY_NAME["Get"]
        record = ParseDict(RECORD, get.message())
        error = None
        while not isinstance(error, OverloadedError):
            error = await ask(channel, get, record, _by(issuer))
        assert error.details["limit"] == "requests"
        for each in held:
            each.cancel()
        await _until_taken(channel, get, record, issuer)

        stream: Any = channel.stream_stream("/trunkline.v1.StateService/OpenStateStream")(metadata=_by(issuer))
        seen: set[int] = set()
        for _ in range(3):
            frame = state_pb2.OpenStateStreamRequest()
            for id in range(1, 6):
                frame.items.add(id=id).save.CopyFrom(ParseDict(SAVE, state_pb2.SaveRequest()))
            await stream.write(frame.SerializeToString())
            answers: dict[int, Any] = {}
            while len(answers) < 5:
                answers |= {
                    each.id: each for each in state_pb2.OpenStateStreamResponse.FromString(await stream.read()).items
                }
            refused = {id for id, each in answers.items() if each.WhichOneof("item") == "error"}
            assert refused <= {3, 4, 5}  # on a busy machine the first are answered before the last is looked at
            seen |= refused
        assert seen
        stream.cancel()


async def test_a_killed_client_gives_back_what_it_had(
    start_program: StartProgram, issuer: Issuer, access_file: Write
) -> None:
    """Its streams, its subscriptions and its requests, without a word from it."""
    file = access_file(ALLOW + _limit("streams = 1", "subscriptions = 2", "requests = 1"))
    program = start_program("bus", *_of_agents(issuer, file))
    token = issuer.token("agent-7")
    script = """
import asyncio, sys
from trunkline import AgentMessage, GrpcMessageBus, MessageType

async def main():
    async def ignore(message): pass
    bus = GrpcMessageBus(sys.argv[1])
    await bus.connect()
    await bus.subscribe("a", ignore)
    await bus.subscribe("b", ignore)
    message = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={})
    asked = asyncio.create_task(bus.request("c", message, 600, wait_for_responder=True))
    await bus.flush()
    print("there", flush=True)
    await asked

asyncio.run(main())
"""
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, program.address),
        env={**os.environ, "TRUNKLINE_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert client.stdout is not None
        assert await client.stdout.readline() == b"there\n"
        with pytest.raises(OverloadedError, match="streams is 1"):
            await GrpcMessageBus(program.address, token=token, connect_timeout=0.1).connect()
        client.send_signal(signal.SIGKILL)
        async with (
            GrpcMessageBus(program.address, token=token, connect_timeout=PATIENCE) as bus,
            asyncio.timeout(PATIENCE),
        ):
            for pattern in ("a", "b"):
                await bus.subscribe(pattern, _answer)
            with pytest.raises(OverloadedError, match="subscriptions is 2"):
                await bus.subscribe("c", _answer)
            with pytest.raises(NoRespondersError):
                await bus.request("d", NEWS)
    finally:
        with suppress(ProcessLookupError):
            client.kill()
        await client.wait()


async def _answer(_: object) -> None:
    """Does nothing."""


async def test_a_reload_that_lowers_a_limit_ends_nothing_and_lets_no_more_in(
    start_program: StartProgram, issuer: Issuer, access_file: Write
) -> None:
    """What is open beyond it goes on; more comes when enough has ended. A rate holds on streams that are open."""
    file = access_file(ALLOW + _limit("subscriptions = 3"))
    program = start_program("bus", *_of_agents(issuer, file))
    ended: list[Any] = []
    heard: asyncio.Queue[AgentMessage] = asyncio.Queue()

    async def hear(message: AgentMessage) -> None:
        heard.put_nowait(message)

    async with GrpcMessageBus(program.address, token=issuer.token("agent-7")) as bus, asyncio.timeout(PATIENCE):
        for pattern in ("a", "b", "c"):
            await bus.subscribe(pattern, hear, on_error=ended.append)
        access_file(ALLOW + _limit("subscriptions = 1", f"messages_per_second = {NEVER}", "messages_burst = 3"))
        await asyncio.to_thread(program.wait_for, "the access file was read anew")
        for pattern in ("a", "b", "c"):
            await bus.publish(pattern, NEWS)
            await bus.flush()
            await heard.get()
        assert ended == []
        await bus.publish("a", NEWS)
        with pytest.raises(OverloadedError) as refused:
            await bus.flush()
        assert refused.value.details["limit"] == "messages_per_second"
        await bus.unsubscribe("a")
        await bus.unsubscribe("b")
        with pytest.raises(OverloadedError, match="subscriptions is 1"):
            await bus.subscribe("d", hear)
        await bus.unsubscribe("c")
        await bus.subscribe("d", hear)


# Our clients.


async def test_clients_wait_until_the_service_takes_more(serve: Serve, issuer: Issuer, access_file: Write) -> None:
    """Of everything that is answered, nothing is lost and nothing fails; within the caller's time."""
    lines = ("messages_per_second = 40", "messages_burst = 5")
    file = access_file(ALLOW + _limit(*lines))
    token = issuer.token("agent-7")
    async with (
        serve("bus", **issuer.settings, access_file=str(file)) as bus_address,
        serve("state", **issuer.settings, access_file=str(file)) as state_address,
        GrpcMessageBus(bus_address, token=token) as bus,
        GrpcStateManager(state_address, token=token) as state,
        asyncio.timeout(PATIENCE),
    ):
        receipts = [await bus.publish("c", replace_id(number), stored=True) for number in range(20)]
        assert [receipt.sequence for receipt in receipts] == sorted(receipt.sequence for receipt in receipts)
        assert all(receipt.sequence for receipt in receipts)
        many = await asyncio.gather(*(bus.publish("c", replace_id(number), stored=True) for number in range(20, 40)))
        assert len({receipt.sequence for receipt in many}) == 20

        await bus.respond("r", _respond)
        for _ in range(12):
            assert (await bus.request("r", NEWS, timeout=PATIENCE)).payload == {"done": True}
        for _ in range(8):
            await bus.statistics()
        for number in range(12):
            await state.save_agent_state(AgentState(agent_id=f"a{number}", agent_type="x", status=AgentStatus.IDLE))
        for number in range(12):
            assert await state.get_agent_state(f"a{number}") is not None


@asynccontextmanager
async def two(
    serve: Serve, issuer: Issuer, file: Path, channel: str
) -> AsyncIterator[tuple[GrpcMessageBus, asyncio.Queue[str]]]:
    """A client with a limit, and the ids of what another one hears on a channel, which also answers on `r`."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: AgentMessage) -> None:
        heard.put_nowait(message.message_id)

    async with (
        serve("bus", **issuer.settings, access_file=str(file)) as address,
        GrpcMessageBus(address, token=issuer.token("agent-8")) as listener,
        GrpcMessageBus(address, token=issuer.token("agent-7")) as bus,
        asyncio.timeout(PATIENCE),
    ):
        await listener.subscribe(channel, hear)
        await listener.respond("r", _respond)
        yield bus, heard


async def test_a_move_ends_nobody_who_waits_until_the_service_takes_more(
    serve: Serve, issuer: Issuer, access_file: Write
) -> None:
    """What waits goes out by the connection that was left, before that is closed."""
    file = access_file(ALLOW + _limit("messages_per_second = 2", "messages_burst = 4"))
    async with two(serve, issuer, file, "live") as (bus, heard):
        session = bus._connected()
        storing = [asyncio.create_task(bus.publish("c", replace_id(number), stored=True)) for number in range(8)]
        while session._publisher._turn is None:  # noqa: ASYNC110  # nothing says so
            await asyncio.sleep(0.01)
        live = asyncio.ensure_future(bus.publish("live", replace_id(9)))
        asked = asyncio.create_task(bus.request("r", NEWS, timeout=PATIENCE))
        counted = asyncio.create_task(bus.statistics())
        bus._mover.ask(session)
        receipts = await asyncio.gather(*storing)
        await live
        assert (await asked).payload == {"done": True}
        assert (await counted).requests == 1
        assert all(receipt.sequence for receipt in receipts)
        assert await heard.get() == "m9"
        while bus._connected() is session:  # noqa: ASYNC110  # nor that
            await asyncio.sleep(0.01)


async def test_who_waits_until_the_service_takes_more_ends_with_the_client(
    serve: Serve, issuer: Issuer, access_file: Write
) -> None:
    """At once, and not when it would have been their turn, in 20 seconds."""
    file = access_file(ALLOW + _limit(f"messages_per_second = {1 / 20}", "messages_burst = 1"))
    token = issuer.token("agent-7")
    async with (
        serve("bus", **issuer.settings, access_file=str(file)) as bus_address,
        serve("state", **issuer.settings, access_file=str(file)) as state_address,
        GrpcMessageBus(bus_address, token=token) as bus,
        GrpcStateManager(state_address, token=token, timeout=PATIENCE) as state,
        asyncio.timeout(PATIENCE / 4),
    ):
        session = bus._connected()
        await bus.publish("c", replace_id(0), stored=True)
        storing = asyncio.create_task(bus.publish("c", replace_id(1), stored=True))
        while session._publisher._turn is None:  # noqa: ASYNC110  # nothing says so
            await asyncio.sleep(0.01)
        live = asyncio.ensure_future(bus.publish("live", replace_id(2)))
        counting = [asyncio.create_task(bus.statistics()) for _ in range(9)]
        asking = [asyncio.create_task(bus.request("r", NEWS, timeout=PATIENCE)) for _ in range(9)]
        reading = [asyncio.create_task(state.get_agent_state("a")) for _ in range(9)]
        while session.stream.uses < 12 or state._connected().uses < 4:  # noqa: ASYNC110  # nor that
            await asyncio.sleep(0.01)
        await bus.disconnect()
        await state.disconnect()
        ended = await asyncio.gather(storing, live, *counting, *asking, *reading, return_exceptions=True)
        errors = Counter(type(each) for each in ended if isinstance(each, BaseException))
        assert errors[BusDisconnectedError] >= 20
        assert errors[StateDisconnectedError] >= 4
        assert set(errors) <= {BusDisconnectedError, StateDisconnectedError, NoRespondersError}


async def test_live_messages_wait_behind_one_that_was_refused(serve: Serve, issuer: Issuer, access_file: Write) -> None:
    """That one is lost, as `flush` says; those after it are sent when the service takes them, in order."""
    file = access_file(ALLOW + _limit("messages_per_second = 1", "messages_burst = 5"))
    async with two(serve, issuer, file, "c") as (bus, heard):
        for number in range(8):  # one frame, which is larger than the burst
            await bus.publish("c", replace_id(number))
        await bus.flush()
        await bus.publish("c", replace_id(8))
        with pytest.raises(OverloadedError):
            await bus.flush()
        await bus.publish("c", replace_id(9))
        await bus.flush()
        assert [await heard.get() for _ in range(9)] == [f"m{number}" for number in (*range(8), 9)]


def replace_id(number: int) -> AgentMessage:
    """A message of its own."""
    return NEWS.model_copy(update={"message_id": f"m{number}"})


async def _respond(request: Any) -> dict[str, bool]:
    return {"done": True}


async def test_a_caller_that_has_less_time_is_told_at_once(serve: Serve, issuer: Issuer, access_file: Write) -> None:
    """It gets the service's error, not a timeout."""
    file = access_file(ALLOW + _limit(f"messages_per_second = {NEVER}", "messages_burst = 1"))
    token = issuer.token("agent-7")
    async with (
        serve("bus", **issuer.settings, access_file=str(file)) as bus_address,
        serve("state", **issuer.settings, access_file=str(file)) as state_address,
        GrpcMessageBus(bus_address, token=token) as bus,
        GrpcStateManager(state_address, token=token) as state,
        asyncio.timeout(PATIENCE),
    ):
        await bus.statistics()
        await state.get_agent_state("a")
        for call in (
            bus.request("r", NEWS, timeout=30),
            bus.publish("c", NEWS, stored=True),
            bus.statistics(),
            state.get_agent_state("a"),
        ):
            with pytest.raises(OverloadedError) as refused:
                await call
            assert refused.value.details["limit"] == "messages_per_second"


async def test_a_subscription_comes_back_though_the_lost_stream_still_counts(
    start_program: StartProgram, issuer: Issuer, access_file: Write
) -> None:
    """The service may learn later than its client that a connection is lost: what is refused for now is asked again."""
    program = start_program("bus", *_of_agents(issuer, access_file(ALLOW + _limit("subscriptions = 2"))))
    heard: set[str] = set()
    ended: list[Any] = []

    async def hear(message: AgentMessage) -> None:
        heard.add(str(message.channel))

    async with (
        GrpcMessageBus(program.address, token=issuer.token("agent-7")) as bus,
        GrpcMessageBus(program.address, token=issuer.token("agent-8")) as publisher,
        asyncio.timeout(PATIENCE),
    ):
        for pattern in ("a", "b"):
            await bus.subscribe(pattern, hear, on_error=ended.append)
        await asyncio.to_thread(program.kill)
        access_file(ALLOW + _limit("subscriptions = 1"))
        await asyncio.to_thread(program.start)
        await asyncio.to_thread(program.wait_for, '"object": "subscriptions"')
        access_file(ALLOW + _limit("subscriptions = 2"))
        while heard != {"a", "b"}:
            for channel in ("a", "b"):
                with suppress(BusDisconnectedError):
                    await publisher.publish(channel, NEWS)
            await asyncio.sleep(0.05)
        assert ended == []


# Through the sidecar.


async def test_limits_hold_through_the_sidecar_and_its_line_socket(
    start_program: StartProgram, issuer: Issuer, access_file: Write, tmp_path: Path
) -> None:
    """Its caller gets the service's own status; who speaks lines a line that says so."""
    file = access_file(ALLOW + _limit(f"messages_per_second = {NEVER}", "messages_burst = 2", who="sidecar"))
    bus = start_program("bus", *_of_agents(issuer, file))
    lines = tmp_path / "lines.sock"
    sidecar = start_program(
        "sidecar",
        *("--bus-address", bus.address, "--state-address", "127.0.0.1:1", "--store-path", ""),
        *("--socket-path", str(lines)),
        address=f"unix:{tmp_path}/sidecar.sock",
        env={"TRUNKLINE_TOKEN": issuer.token("sidecar")},
    )
    async with asyncio.timeout(PATIENCE):
        async with GrpcMessageBus(sidecar.address) as client:
            await client.statistics()
            await client.statistics()
            with pytest.raises(OverloadedError) as refused:
                await client.statistics()
        assert refused.value.details["limit"] == "messages_per_second"
        assert refused.value.details["identity"] == "sidecar"
        assert refused.value.retry_after is not None
        reader, writer = await asyncio.open_unix_connection(str(lines))
        command = {"sender": "agent", "type": "COMMAND", "target": "worker", "payload": {}}
        writer.write(json.dumps(command).encode() + b"\n")
        answer = await reader.readline()
        assert b"OVERLOADED" in answer
        assert b"messages_per_second" in answer
        writer.close()


def _of_agents(issuer: Issuer, file: Path) -> tuple[str, ...]:
    return "--engine", "memory", *issuer.options, "--access-file", str(file)
