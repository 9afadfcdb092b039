"""run(): binds, starts and serves a program, and ends it gracefully at SIGTERM or SIGINT. serving(): within a block."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import Final, Protocol, runtime_checkable

import structlog
from grpc import aio
from grpc_health.v1 import health_pb2_grpc
from prometheus_client.registry import Collector

from trunkline.errors import TrunklineError
from trunkline.limits import MAX_FRAME_BYTES
from trunklined.access.audit import AuditLog
from trunklined.access.control import AccessControl
from trunklined.access.proof import Proof
from trunklined.rpc import health
from trunklined.rpc.access import AccessCollector, AccessInterceptor, Guarded
from trunklined.rpc.compression import CompressionInterceptor, enabled_algorithms
from trunklined.rpc.config import AccessSettings, ServerSettings
from trunklined.rpc.draining import Draining
from trunklined.rpc.errors import ErrorInterceptor
from trunklined.rpc.garbage import Garbage
from trunklined.rpc.listening import hang_up, listen
from trunklined.rpc.loop_lag import LoopLag
from trunklined.rpc.metrics import ExposureCollector, MetricsServer, RpcMetrics
from trunklined.rpc.reflection import serve_reflection
from trunklined.rpc.tls import ServerTls

MOVE_SHARE: Final = 0.75
"""Of the time to drain: what streams get at the most to move elsewhere."""

GOODBYE_SECONDS: Final = 0.1
"""From the end of the last call to that of its connection: its answer is on its way, and what comes is still refused
with a reason."""

MAX_HEALTH_BYTES: Final = 4_096
"""Of a question on the health address, which is a name."""


class Program(Protocol):
    """A service as its `app.py` builds it."""

    name: str
    """Such as "bus"."""
    service_names: Sequence[str]
    """Full gRPC names, for health and reflection, such as ("trunkline.v1.BusService",)."""

    def register(self, server: aio.Server) -> None:
        """Adds its servicers to the server."""

    async def start(self) -> None:
        """Opens engines. A TrunklineError ends the program with its message and exit code 1."""

    async def drain(self, seconds: float) -> None:
        """Refuses new work, finishes running work within the limit, then ends long streams with UNAVAILABLE."""

    async def close(self) -> None:
        """Closes engines; idempotent. Called in any case, also if `start` failed."""

    def collectors(self) -> Iterable[Collector]:
        """Returns the program's metrics."""


@runtime_checkable
class ReportsHealth(Protocol):
    """A program whose services can be down while it runs, such as the sidecar."""

    def report_to(self, health: health.Health) -> None:
        """Calls `health.turn(service, why)` now and at each change."""


@runtime_checkable
class TakesFinishingCalls(Protocol):
    """A program in which some calls finish what others began, such as a reply that a running request waits for."""

    finishing_methods: Collection[str]
    """Methods, such as "/trunkline.v1.BusService/Publish", whose calls are let in while the program drains: it refuses
    by itself those that finish nothing."""


@runtime_checkable
class MovesStreams(Protocol):
    """A program that asks its long streams to move to other replicas, before it drains."""

    async def move(self, seconds: float) -> None:
        """Asks them, and waits until those have gone that go, `seconds` at the most. All but new streams is taken."""


@runtime_checkable
class GuardsCalls(Protocol):
    """A program whose calls need rights, where there is an access file."""

    def guard(self, control: AccessControl) -> Guarded:
        """Returns what each call asks for. Is called before `start`; the program may keep `control`."""


@runtime_checkable
class LearnsAddress(Protocol):
    """A program that tells others where it serves."""

    def listens_at(self, address: str) -> None:
        """Is called before `start` with the address, its port chosen."""


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Returns the gRPC channel arguments of a server (grpc/impl/channel_arg_names.h)."""
    return [
        # A second server on the same port must fail, not share it.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
        ("grpc.max_send_message_length", MAX_FRAME_BYTES),
        ("grpc.keepalive_time_ms", round(settings.keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.compression_enabled_algorithms_bitset", enabled_algorithms(settings.compression)),
        # Clients probe idle lines, also without calls; none of them is sent away with "too_many_pings".
        ("grpc.http2.max_ping_strikes", 0),
    ]


async def run(program: Program, settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT (or the end of standard input, with `end_with_stdin`); a second signal ends the
    process at once. Raises as `serving`."""
    log = structlog.get_logger().bind(program=program.name)
    with _stopping(settings) as stop:
        async with serving(program, settings):
            with closing(Garbage()) as garbage:
                garbage.start()
                reason = await stop
            log.info("stopping", reason=reason, drain_seconds=settings.drain_seconds)
        log.info("stopped")


@asynccontextmanager
async def serving(program: Program, settings: ServerSettings) -> AsyncIterator[str]:
    """Serves within the block, and yields the address.

    At its end health reports NOT_SERVING; after `unready_seconds` new calls are refused with UNAVAILABLE, running calls
    get `drain_seconds`, streams end, and engines are closed.

    Raises:
        TrunklineError: the program cannot start: the address is taken, a certificate or a key cannot be, or an engine
            does not open.
    """
    log = structlog.get_logger().bind(program=program.name)
    calls = RpcMetrics()
    draining = Draining(program.finishing_methods if isinstance(program, TakesFinishingCalls) else ())
    state = health.Health(program.service_names, insecure=settings.exposure)
    if isinstance(program, ReportsHealth):
        program.report_to(state)
    async with AsyncExitStack() as stack:
        control = access_control(settings)
        stack.callback(control.audit.close)
        access = access_interceptor(program, control, settings)
        interceptors: list[aio.ServerInterceptor] = [ErrorInterceptor(calls, draining), access]
        if settings.compression != "off":
            interceptors.insert(0, CompressionInterceptor())
        server = aio.server(interceptors=interceptors, options=server_options(settings))
        stack.push_async_callback(server.stop, 0)
        program.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        serve_reflection(server, (*program.service_names, health.SERVICE_NAME))
        lag = LoopLag()
        stack.callback(lag.close)
        tls = None
        if settings.tls_cert:
            tls = ServerTls(settings.tls_cert, settings.tls_key, settings.tls_client_ca, control.audit)
        bound = listen(server, settings.listens_at, tls.credentials() if tls else None)
        address = bound if settings.listens_at == settings.serves_at else settings.serves_at
        _warn_of_exposure(settings, address)
        if isinstance(program, LearnsAddress):
            program.listens_at(address)
        shown = [calls, lag, ExposureCollector(settings.is_exposed), AccessCollector(control), *([tls] if tls else [])]
        metrics_address = _serve_metrics(stack, settings, shown, program)
        health_address = await _serve_health(stack, settings, state)
        stack.push_async_callback(program.close)
        await program.start()
        await server.start()
        for watch in (control.watch, *([tls.watch] if tls else [])):
            stack.callback(asyncio.create_task(watch(), name=f"watch files: {watch.__qualname__}").cancel)
        lag.start()
        state.serve()
        log.info(
            "ready",
            address=address,
            metrics_address=metrics_address,
            health_address=health_address,
            pid=os.getpid(),
        )
        try:
            yield address
        finally:
            state.end()
            await asyncio.sleep(settings.unready_seconds)
            await _drain(program, draining, settings.drain_seconds)
            await asyncio.sleep(GOODBYE_SECONDS)
            hang_up(bound)


def _serve_metrics(
    stack: AsyncExitStack, settings: ServerSettings, shown: Iterable[Collector], program: Program
) -> str | None:
    """Serves metrics, where it is set up; returns the address."""
    if not settings.metrics_address:
        return None
    metrics = MetricsServer(settings.metrics_address, [*shown, *program.collectors()])
    stack.push_async_callback(asyncio.to_thread, metrics.close)
    return metrics.address


async def _serve_health(stack: AsyncExitStack, settings: ServerSettings, state: health.Health) -> str | None:
    """Serves health alone on a port of its own, where it is set up, without TLS, which probes of Kubernetes cannot
    speak; from before the program starts until it has ended. Returns the address."""
    if not settings.health_address:
        return None
    server = aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_HEALTH_BYTES)])
    stack.push_async_callback(server.stop, 0)
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    bound = listen(server, settings.health_address)
    await server.start()
    return bound


def access_control(settings: ServerSettings) -> AccessControl:
    """Reads who may come in, and do what.

    Raises:
        TokenFileError, KeysError, AccessFileError, AuditError: a file cannot be taken; names the setting.
    """
    proof = Proof(settings.token_file, settings.jwt_keys, settings.jwt_terms)
    if not isinstance(settings, AccessSettings):
        return AccessControl(proof)
    audit = AuditLog(settings.audit_file, is_on=bool(settings.access_file))
    return AccessControl(proof, settings.access_file, audit, settings.metrics_identities)


def access_interceptor(program: Program, control: AccessControl, settings: ServerSettings) -> aio.ServerInterceptor:
    """Makes what asks each caller who it is, and holds the program's rules."""
    guarded = program.guard(control) if isinstance(program, GuardsCalls) else Guarded({})
    control.rules, control.costs = guarded.rules, guarded.costs
    return AccessInterceptor(control, guarded, open_reflection=settings.reflection == "open")


def _warn_of_exposure(settings: ServerSettings, address: str) -> None:
    if settings.exposure:
        missing = "nobody is asked who they are" if settings.tls_cert else "no TLS"
        structlog.get_logger().warning(
            f"insecure: {missing}, and other machines reach this address: whoever does may do everything",
            address=address,
        )


async def _drain(program: Program, draining: Draining, seconds: float) -> None:
    """Lets the streams move that can; then refuses new calls, while the program ends the running ones. The server
    itself is stopped after that: it would refuse without a reason, and cut off what has arrived and was not begun."""
    if isinstance(program, MovesStreams):
        began = asyncio.get_running_loop().time()
        draining.refuse_streams()
        await program.move(seconds * MOVE_SHARE)
        seconds = max(0.0, seconds - (asyncio.get_running_loop().time() - began))
    draining.refuse()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(draining.finish(seconds))
        tasks.create_task(program.drain(seconds))


def _follow_input(loop: asyncio.AbstractEventLoop, on_input: Callable[[], None]) -> None:
    try:
        loop.add_reader(sys.stdin.fileno(), on_input)
    except (OSError, AttributeError) as error:  # a file, a device or none: its end is not reported
        raise TrunklineError("end_with_stdin is set, but standard input is neither a pipe nor a terminal") from error


@contextmanager
def _stopping(settings: ServerSettings) -> Iterator[asyncio.Future[str]]:
    """Yields a future that resolves to the reason when the program is to stop."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()
    signals = (signal.SIGTERM, signal.SIGINT)

    def ask(reason: str) -> None:
        if not stop.done():
            stop.set_result(reason)

    def on_signal(signum: signal.Signals) -> None:
        if stop.done():
            os._exit(128 + signum)
        ask(signum.name)

    def on_input() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            ask("standard input ended")

    for signum in signals:
        loop.add_signal_handler(signum, on_signal, signum)
    try:
        if settings.end_with_stdin:
            _follow_input(loop, on_input)
        yield stop
    finally:
        if settings.end_with_stdin and sys.stdin is not None:
            loop.remove_reader(sys.stdin.fileno())
        for signum in signals:
            loop.remove_signal_handler(signum)
