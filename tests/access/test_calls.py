"""Each call and each item needs what the table says, and nothing else: from both sides, by each kind of identity."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from tests.access.calls import CALLS, MESSAGE, TABLE, Call, ask
from tests.access.conftest import EVERYTHING, Issuer, Serve, TokenFile
from tests.tls.conftest import Authority
from trunkline.errors import PermissionDeniedError
from trunkline.tls.certificates import write_certificates
from trunkline.v1 import bus_pb2
from trunklined.bus.wire.access import BrokerFacts, rules_of
from trunklined.state.wire.access import guarded_calls


def _request(call: Call) -> Any:
    return ParseDict(TABLE[call.name][0], call.message())


def _rights_of(call: Call) -> set[str]:
    return {line.partition(" =")[0] for line in TABLE[call.name][1].splitlines()}


def _all_but(call: Call) -> str:
    """Every right but those that the call needs."""
    return "\n".join(line for line in EVERYTHING.splitlines() if line.partition(" =")[0] not in _rights_of(call))


def _policy() -> str:
    blocks = [f'[[allow]]\nwho = ["all"]\n{EVERYTHING}']
    for index, call in enumerate(CALLS):
        blocks.append(f'[[allow]]\nwho = ["only-{index}"]\n{TABLE[call.name][1]}')
        blocks.append(f'[[allow]]\nwho = ["but-{index}"]\n{_all_but(call)}')
    return "\n".join(blocks)


def test_every_call_and_item_of_the_protos_has_a_rule() -> None:
    """One that is added without fails here; and is denied to everybody, where there is an access file."""
    rules = {**rules_of(BrokerFacts(None)), **guarded_calls().rules}  # type: ignore[arg-type]  # it is not asked
    assert [call.name for call in CALLS if call.message.DESCRIPTOR.full_name not in rules] == []
    used = {call.message.DESCRIPTOR.full_name for call in CALLS}
    assert sorted(rules.keys() - used) == []


def test_every_call_and_item_of_the_protos_is_tried_here() -> None:
    """One that is added without a line of the table fails here."""
    assert TABLE.keys() == {call.name for call in CALLS}


@asynccontextmanager
async def _channels(bus: str, state: str) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    async with grpc.aio.insecure_channel(bus) as to_bus, grpc.aio.insecure_channel(state) as to_state:
        yield {"bus": to_bus, "state": to_state}


async def test_each_needs_its_own_rights_and_no_others(
    serve: Serve, issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """Who has these alone is let through; who has all but these is not."""
    options = {**issuer.settings, "access_file": str(access_file(_policy()))}
    async with serve("bus", **options) as bus, serve("state", **options) as state, _channels(bus, state) as channels:
        for index, call in enumerate(CALLS):
            for who, is_allowed in ((f"only-{index}", True), (f"but-{index}", not _rights_of(call))):
                metadata = (("authorization", f"Bearer {issuer.token(who)}"),)
                error = await ask(channels[call.service], call, _request(call), metadata)
                assert isinstance(error, PermissionDeniedError) != is_allowed, (call.name, who, error)
                if isinstance(error, PermissionDeniedError):
                    assert error.details["identity"] == who


@pytest.mark.parametrize("kind", ["static token", "signed token", "certificate", "user of this machine", "anonymous"])
async def test_each_kind_of_identity_is_let_in_and_kept_out(
    kind: str, serve: Serve, issuer: Issuer, token_file: TokenFile, access_file: Callable[[str], Path], tmp_path: Path
) -> None:
    """On each call: who may do everything, and whom no line names."""
    certs = Authority(tmp_path / "certs")
    write_certificates(certs.directory, clients=["all", "none"])
    tokens = {name: token_file.add(name) for name in ("all", "none")}
    for name in ("all", "none"):
        options: dict[str, Any] = {}
        metadata: tuple[tuple[str, str], ...] = ()
        named = "all"
        match kind:
            case "static token":
                options["token_file"] = str(token_file.path)
                metadata = (("authorization", f"Bearer {tokens[name]}"),)
            case "signed token":
                options |= issuer.settings
                metadata = (("authorization", f"Bearer {issuer.token(name)}"),)
            case "certificate":
                options |= {
                    "tls_cert": f"{certs.directory}/server.pem",
                    "tls_key": f"{certs.directory}/server.key",
                    "tls_client_ca": certs.ca,
                }
            case "user of this machine":
                named = "uid:*" if name == "all" else "nobody"
            case _:
                named = "anonymous" if name == "all" else "nobody"
        options["access_file"] = str(access_file(f'[[allow]]\nwho = ["{named}"]\n{EVERYTHING}'))
        places = ["127.0.0.1:0", "127.0.0.1:0"]
        if kind == "user of this machine":
            places = [f"unix:{tmp_path}/{service}-{name}.sock" for service in ("bus", "state")]
        async with (
            serve("bus", **options, address=places[0]) as bus,
            serve("state", **options, address=places[1]) as state,
        ):
            channels = {"bus": _channel(bus, certs, name), "state": _channel(state, certs, name)}
            for call in CALLS:
                error = await ask(channels[call.service], call, _request(call), metadata)
                is_denied = name == "none" and bool(_rights_of(call))
                assert isinstance(error, PermissionDeniedError) == is_denied, (call.name, error)
            for channel in channels.values():
                await channel.close()


def _channel(address: str, certs: Authority, name: str) -> grpc.aio.Channel:
    if not address.startswith("tls://"):
        return grpc.aio.insecure_channel(address)
    read = [(certs.directory / file).read_bytes() for file in ("ca.pem", f"{name}.key", f"{name}.pem")]
    return grpc.aio.secure_channel(address.removeprefix("tls://"), grpc.ssl_channel_credentials(*read))


@pytest.mark.parametrize(
    ("frame", "needed"),
    [
        ({"start": {"pattern": "c:*", "responder": True}}, 'respond = ["c:*"]'),
        (
            {"start": {"pattern": "c:*", "durable": "new"}},
            'subscribe = ["c:*"]\ndurable.join = ["new"]\ndurable.create = ["new"]',
        ),
        ({"start": {"pattern": "c:*", "durable": "there"}}, 'subscribe = ["c:*"]\ndurable.join = ["there"]'),
    ],
)
async def test_what_a_subscription_needs_depends_on_what_it_is(
    frame: dict[str, Any], needed: str, serve: Serve, issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """To join a durable subscription is one right, to make it another; and it is read, too."""
    lines = needed.splitlines()
    blocks = [f'[[allow]]\nwho = ["all"]\n{EVERYTHING}', f'[[allow]]\nwho = ["only"]\n{needed}']
    for index in range(len(lines)):
        some = "\n".join(line for line in lines if line != lines[index])
        blocks.append(f'[[allow]]\nwho = ["without-{index}"]\n{some}')
    options = {**issuer.settings, "access_file": str(access_file("\n".join(blocks)))}
    calls = {call.name: call for call in CALLS if call.service == "bus"}

    def by(name: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {issuer.token(name)}"),)

    async with serve("bus", **options) as bus, grpc.aio.insecure_channel(bus) as channel:
        there = bus_pb2.SubscribeRequest(start={"pattern": "c:*", "durable": "there"})
        assert await ask(channel, calls["Subscribe"], there, by("all")) is None
        for name in ("Subscribe", "OpenStream.subscribe"):
            request = ParseDict(frame, bus_pb2.SubscribeRequest())
            for index in range(len(lines)):
                error = await ask(channel, calls[name], request, by(f"without-{index}"))
                assert isinstance(error, PermissionDeniedError), (name, lines[index])
            assert await ask(channel, calls[name], request, by("only")) is None
            if request.start.durable == "new":
                deleted = ParseDict({"name": "new"}, calls["DeleteDurableSubscription"].message())
                assert await ask(channel, calls["DeleteDurableSubscription"], deleted, by("all")) is None


async def test_a_write_that_carries_messages_needs_to_publish_them(
    serve: Serve, issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """Else a record's writer could publish anywhere by the state service's own hand."""
    policy = '[[allow]]\nwho = ["*"]\nrecords.write = ["*/*"]\npublish = ["c:*"]'
    options = {**issuer.settings, "access_file": str(access_file(policy))}
    metadata = (("authorization", f"Bearer {issuer.token('a')}"),)
    async with serve("state", **options) as state, grpc.aio.insecure_channel(state) as channel:
        for call in CALLS:
            if call.name in ("Save", "OpenStateStream.save", "Delete", "OpenStateStream.delete"):
                for where, is_denied in (("c:1", False), ("d:1", True)):
                    asked = ParseDict({"publish": [{"channel": where, "message": MESSAGE}]}, call.message())
                    asked.MergeFrom(_request(call))
                    error = await ask(channel, call, asked, metadata)
                    assert isinstance(error, PermissionDeniedError) == is_denied, (call.name, where, error)
