"""The audit log, and that no secret is anywhere but where it was given."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.access.conftest import Issuer, TokenFile, replace
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import run_program
from trunkline import GrpcMessageBus, PermissionDeniedError, SubscriptionNotFoundError, Tls, UnauthenticatedError
from trunkline.tls.certificates import write_certificates
from trunkline.v1 import bus_pb2
from trunklined.access import audit
from trunklined.access.audit import AuditLog
from trunklined.access.identity import Identity

POLICY = """
[[allow]]
who = ["coding-01"]
subscribe = [">"]
inspect = ["list", "stats", "reflection"]
durable.create = ["jobs"]
durable.delete = ["*"]
durable.manage = ["*"]
dead_letters.purge = ["jobs"]
"""


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_denials_and_acts_of_administration_are_recorded(
    start_program: StartProgram, token_file: TokenFile, access_file: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each with identity, peer, call, object and outcome; what anybody reads or publishes is not."""
    log = tmp_path / "audit.jsonl"
    options = ("--token-file", str(token_file.path), "--access-file", str(access_file(POLICY)))
    program = start_program("bus", "--engine", "memory", *options, "--audit-file", str(log))
    async with GrpcMessageBus(program.address, token=token_file.tokens["coding-01"]) as bus:
        await bus.create_durable("jobs", "jobs:>")
        await bus.pause_durable("jobs")
        with pytest.raises(PermissionDeniedError):
            await bus.create_durable("others", "jobs:>")
        with pytest.raises(PermissionDeniedError):
            await bus.subscribe("x", _ignore, durable="jobs")
        await bus.delete_durable("jobs")
        with pytest.raises(SubscriptionNotFoundError):
            await bus.delete_durable("jobs")
        await bus.statistics()
    with pytest.raises(UnauthenticatedError):
        await GrpcMessageBus(program.address, token="tlk.coding-01.x").connect()
    access_file(f"{POLICY}# changed")
    await asyncio.to_thread(program.wait_for, "the access file was read anew")

    assert log.stat().st_mode & 0o777 == 0o600
    found = _lines(log)
    assert [(line["call"], line.get("object"), line["outcome"], line.get("why")) for line in found] == [
        ("CreateDurableSubscription", "jobs, jobs:>", "done", None),
        ("PauseDurableSubscription", "jobs", "done", None),
        ("CreateDurableSubscription", "durable.create others", "denied", "permission"),
        ("OpenStream", "durable.join jobs", "denied", "permission"),
        ("DeleteDurableSubscription", "jobs", "done", None),
        ("DeleteDurableSubscription", "jobs", "failed", "SUBSCRIPTION_NOT_FOUND"),
        ("OpenStream", "", "denied", "unknown token"),
        ("reload access file", None, "done", None),
    ]
    assert {line["identity"] for line in found[:6]} == {"coding-01"}
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in found[:7])


async def test_a_durable_subscription_that_a_subscriber_makes_is_recorded(
    start_program: StartProgram, token_file: TokenFile, access_file: Callable[[str], Path], tmp_path: Path
) -> None:
    """By both calls that subscribe, and once: who joins it after that makes nothing."""
    log = tmp_path / "audit.jsonl"
    allowed = '[[allow]]\nwho = ["*"]\nsubscribe = [">"]\ndurable.create = ["*"]\ndurable.join = ["*"]\n'
    options = ("--token-file", str(token_file.path), "--access-file", str(access_file(allowed)))
    program = start_program("bus", "--engine", "memory", *options, "--audit-file", str(log))
    token = token_file.tokens["coding-01"]
    async with GrpcMessageBus(program.address, token=token) as bus:
        await bus.subscribe("jobs:>", _ignore, durable="jobs")
        await bus.subscribe("jobs:>", _ignore, durable="jobs")
    async with grpc.aio.insecure_channel(program.address) as channel:
        subscribe: Any = channel.stream_stream("/trunkline.v1.BusService/Subscribe")
        for durable in ("others", "jobs"):
            stream = subscribe(metadata=(("authorization", f"Bearer {token}"),))
            start = {"pattern": "jobs:>", "durable": durable}
            await stream.write(bus_pb2.SubscribeRequest(start=start).SerializeToString())
            assert bus_pb2.SubscribeResponse.FromString(await stream.read()).HasField("started")
            stream.cancel()
    assert [(line["identity"], line["call"], line["object"], line["outcome"]) for line in _lines(log)] == [
        ("coding-01", "OpenStream", "durable.create jobs", "done"),
        ("coding-01", "Subscribe", "durable.create others", "done"),
    ]


async def test_whatever_is_read_anew_is_recorded(
    start_program: StartProgram, issuer: Issuer, token_file: TokenFile, tmp_path: Path
) -> None:
    """Tokens, keys of tokens and certificates, and what cannot be taken."""
    certs, log = tmp_path / "certs", tmp_path / "audit.jsonl"
    write_certificates(certs)
    program = start_program(
        *("bus", "--engine", "memory", *issuer.options, "--token-file", str(token_file.path)),
        *("--tls-cert", f"{certs}/server.pem", "--tls-key", f"{certs}/server.key", "--audit-file", str(log)),
        tls=Tls(ca=f"{certs}/ca.pem"),
    )
    token_file.add("coding-02")
    program.wait_for('"call": "reload tokens", "outcome": "done"')
    replace(issuer.path, "{}")
    program.wait_for('"call": "reload tokens", "outcome": "failed"')
    write_certificates(certs)
    program.wait_for('"call": "reload TLS files", "outcome": "done"')
    (certs / "server.key").chmod(0o644)
    program.wait_for('"call": "reload TLS files", "outcome": "failed"')
    tokens_failed, tls_failed = (line["why"] for line in _lines(log) if line["outcome"] == "failed")
    assert tokens_failed.endswith("is neither PEM nor a JWKS document")
    assert "can be read by others" in tls_failed


async def _ignore(_: object) -> None:
    """Does nothing."""


def test_it_is_bounded_and_the_same_denial_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is refused often fills no disk."""
    now = [0.0]
    monkeypatch.setattr("trunklined.access.audit.time.monotonic", lambda: now[0])
    monkeypatch.setattr(audit, "FILE_BYTES", 2_000)
    log = AuditLog(str(tmp_path / "audit"))
    for identity in ("a", "b"):
        for _ in range(100):
            log.denied(Identity(identity, "token", "peer"), "Publish", "publish x", "permission")
    now[0] += audit.REPEAT_SECONDS
    log.denied(Identity("a", "token", "peer"), "Publish", "publish x", "permission")
    assert [(line["identity"], line.get("repeated")) for line in _lines(tmp_path / "audit")] == [
        ("a", None),
        ("b", None),
        ("a", 99),
    ]
    for number in range(200):
        log.denied(Identity("a\x1b[2J", "token", "peer"), "Publish", f"publish {number}{'x' * 1_000}", "permission")
    files = sorted(tmp_path.glob("audit*"))
    assert len(files) == audit.FILES
    assert all(file.stat().st_size <= 2_000 for file in files)
    assert "\x1b" not in "".join(file.read_text() for file in files)
    log.close()


async def test_no_secret_is_anywhere(
    start_program: StartProgram,
    issuer: Issuer,
    token_file: TokenFile,
    access_file: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """Not in logs, errors, the audit log, statistics, reflection, metrics, the list of processes or what is on disk."""
    good, bad, signed = token_file.tokens["coding-01"], token_file.add("coding-02"), issuer.token("x")
    token_file.remove("coding-02")
    path = tmp_path / "token"
    replace(path, good)
    secrets = [good, bad, signed, good.rpartition(".")[2], bad.rpartition(".")[2], signed.rpartition(".")[2]]
    options = (*issuer.options, "--token-file", str(token_file.path), "--access-file", str(access_file(POLICY)))
    log, kept = tmp_path / "audit.jsonl", tmp_path / "bus.db"
    program = start_program(
        *("bus", "--path", str(kept), *options, "--audit-file", str(log), "--log-level", "debug"),
        *("--metrics-address", "127.0.0.1:0"),
    )
    sidecar = start_program(
        *("sidecar", "--bus-address", program.address, "--socket-path", "", "--log-level", "debug"),
        *("--store-path", str(tmp_path / "sidecar.db")),
        env={"TRUNKLINE_TOKEN_FILE": str(path)},
    )
    seen: list[str] = []
    async with GrpcMessageBus(program.address, token=good) as bus, GrpcMessageBus(sidecar.address) as beside:
        seen += [repr(bus), repr(await bus.statistics()), repr([each async for each in bus.subscriptions()])]
        await beside.create_durable("jobs", "jobs:>")
        seen.append(repr([each async for each in beside.durables()]))
        for client in (bus, beside):
            with pytest.raises(PermissionDeniedError) as denied:
                await client.request("x", _news())
            seen.append(repr(denied.value.to_dict()))
    for token in (bad, signed):
        with pytest.raises((UnauthenticatedError, PermissionDeniedError)) as refused:
            async with GrpcMessageBus(program.address, token=token) as bus:
                await bus.statistics()
        seen.append(repr(refused.value.to_dict()))
    seen.append(await _described(program.address, good))
    metrics = await asyncio.to_thread(
        urllib.request.urlopen, f"http://{program.metrics_address}/metrics", None, PATIENCE
    )
    seen.append(metrics.read().decode())
    for each in (program, sidecar):
        seen += [each.output(), await asyncio.to_thread(Path(f"/proc/{each.process.pid}/cmdline").read_text)]
        seen.append(await asyncio.to_thread(Path(f"/proc/{each.process.pid}/environ").read_text))
    told = await asyncio.to_thread(
        run_program, "--bus", program.address, "publish", "x", "{}", module="trunkline.cli", TRUNKLINE_TOKEN=good
    )
    seen += [told.stdout, told.stderr]
    seen += _contents(tmp_path, but=path)
    assert len(seen) > 16
    for secret in secrets:
        assert [text for text in seen if secret in text] == []


async def _described(address: str, token: str) -> str:
    """All that reflection tells of the bus, as text."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        asked: list[dict[str, Any]] = [{"list_services": ""}, {"file_containing_symbol": "trunkline.v1.BusService"}]
        ask = (reflection_pb2.ServerReflectionRequest(**each) for each in asked)
        metadata = (("authorization", f"Bearer {token}"),)
        answers = [each async for each in stub.ServerReflectionInfo(ask, metadata=metadata)]
    assert all(each.WhichOneof("message_response") != "error_response" for each in answers)
    return "".join(each.SerializeToString().decode("latin-1") for each in answers)


def _contents(folder: Path, but: Path) -> list[str]:
    return [file.read_bytes().decode("latin-1") for file in folder.iterdir() if file.is_file() and file != but]


def _news() -> Any:
    from trunkline import AgentMessage, MessageType

    return AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={})
