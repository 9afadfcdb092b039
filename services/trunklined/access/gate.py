"""Gate: what one call's caller may do, asked before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Protocol

from trunkline.errors import OverloadedError, PermissionDeniedError, TrunklineError
from trunklined.access.identity import Identity
from trunklined.access.limits import FREE_OF_COST, Cost, Excess, Quota, Slots, cost_of_messages
from trunklined.access.policy import Permissions
from trunklined.access.rights import Need, Rules

MAX_CHANNELS: Final = 4_096
"""Channels of one stream that are known to be allowed; beyond it all are forgotten."""

_current: ContextVar[Gate | None] = ContextVar("trunkline_gate", default=None)


Costs = Mapping[str, Callable[[Any], Cost]]
"""What requests and items use of the rates, by the full names of the wire's messages; of one that is not there: one
message, and its bytes."""


class Rulebook(Protocol):
    """What gates ask; see `AccessControl`."""

    rules: Rules
    costs: Costs

    def permissions_of(self, identity: Identity) -> Permissions | None: ...

    def quota_of(self, identity: Identity) -> Quota | None: ...

    def denied(self, identity: Identity, call: str, what: str) -> None: ...

    def overloaded(self, identity: Identity, call: str, limit: str) -> None: ...

    def done(self, identity: Identity, call: str, what: str, error: TrunklineError | None) -> None: ...


class Gate:
    """Stands before one call, or one stream, which may ask for many things.

    Args:
        control: which has the rules.
        identity: who calls.
        call: its name, for the audit log.
        end: ends the call with an error.
    """

    __slots__ = (
        *("_allowed", "_control", "_end", "_meter", "_permissions", "_quota", "_whole", "call", "identity"),
        "on_change",
    )

    def __init__(self, control: Rulebook, identity: Identity, call: str, end: Callable[[TrunklineError], None]) -> None:
        self.identity = identity
        self.call = call
        self.on_change: Callable[[], None] | None = None
        """Called when other permissions are in force: for who has several things open that need some."""
        self._control = control
        self._end = end
        self._permissions: Permissions | None = control.permissions_of(identity)
        """None: it may do everything."""
        self._quota = control.quota_of(identity)
        """None: it has no limits."""
        # What another replica hands on was metered there.
        self._meter = None if self.is_from_replica else self._quota
        self._allowed: set[str] = set()
        """Channels that may be published on."""
        self._whole: tuple[Need, ...] = ()
        """What the call as a whole goes on to need."""

    @property
    def is_open(self) -> bool:
        """Whether it lets everything pass, for ever."""
        return self._permissions is None

    @property
    def is_from_replica(self) -> bool:
        """Whether another replica of the same service makes the call."""
        return self.identity.kind == "replica"

    def publish(self, channel: str, encoded: Sequence[bytes], *, stored: bool) -> None:
        """Checks that the caller may publish messages on a channel, and counts them: the one question that is asked for
        each frame of messages.

        Raises:
            PermissionDeniedError: it may not.
            OverloadedError: it may not do so now.
        """
        if channel not in self._allowed:
            self.check((Need("publish", channel),))
            if len(self._allowed) >= MAX_CHANNELS:
                self._allowed.clear()
            self._allowed.add(channel)
        meter = self._meter
        if meter is not None and meter.is_metered:
            self._spend(meter, cost_of_messages(encoded, stored=stored))

    def check_message(self, message: Any, *, stays: bool = False) -> tuple[Need, ...]:
        """Checks what a request, or an item of a stream, asks for, and counts it; returns what it asks for.

        Args:
            stays: the call as a whole goes on to need it: it ends when that is allowed no more.

        Raises:
            PermissionDeniedError: the caller may not do it, or there is no rule for it.
            OverloadedError: it may not do so now.
        """
        if self._permissions is None:
            return ()
        name = message.DESCRIPTOR.full_name
        rule = self._control.rules.get(name)
        if rule is None:
            raise self._denied(f"{name} has no rule", {"object": name})
        needs = tuple(rule(message))
        self.check(needs)
        meter = self._meter
        if meter is not None and meter.is_metered:
            cost_of = self._control.costs.get(name)
            cost = Cost(1, message.ByteSize()) if cost_of is None else cost_of(message)
            if cost is not FREE_OF_COST:
                self._spend(meter, cost)
        if stays:
            self._whole = needs
        return needs

    def open_call(self, *, is_stream: bool) -> Slots | None:
        """Counts the call itself, until it is over; returns what to give that back to. None: it is not counted.

        Raises:
            OverloadedError: the caller has as many of these as it may.
        """
        return None if self._meter is None else self._take(self._meter.streams if is_stream else self._meter.requests)

    def open_request(self) -> Slots | None:
        """The same for something in a call that waits for its answer."""
        return None if self._quota is None else self._take(self._quota.requests)

    @property
    def requests(self) -> Slots | None:
        """Where what waits for its answer is counted, for who counts it there itself. None: nowhere."""
        return None if self._meter is None else self._meter.requests

    def check_requests(self) -> None:
        """Raises OverloadedError where as much waits for its answer as may."""
        if self._meter is not None and (excess := self._meter.requests.excess()) is not None:
            raise self._overloaded(excess)

    def open_subscription(self) -> Slots | None:
        """The same for a subscription."""
        return None if self._quota is None else self._take(self._quota.subscriptions)

    def _take(self, slots: Slots) -> Slots:
        if (excess := slots.take()) is not None:
            raise self._overloaded(excess)
        return slots

    def _spend(self, meter: Quota, cost: Cost) -> None:
        if (excess := meter.spend(cost)) is not None:
            raise self._overloaded(excess)

    def check(self, needs: Iterable[Need]) -> None:
        """Raises PermissionDeniedError where the caller may not do something of all this."""
        if (refused := self.refusal(needs)) is not None:
            raise refused

    def refusal(self, needs: Iterable[Need]) -> PermissionDeniedError | None:
        """Returns the error of the first thing of all this that the caller may not do; None: it may do all."""
        if self._permissions is not None:
            for need in needs:
                if not self._permissions.line_for(need):
                    return self._denied(str(need), {"right": need.right, "object": need.object})
        return None

    def record(self, need: Need, error: TrunklineError | None) -> None:
        """Records an act of administration that is part of the call, and how it ended."""
        self._control.done(self.identity, self.call, str(need), error)

    def line_for(self, need: Need, name: str = "") -> int | None:
        """Returns the line by which the caller may do something, or the identity with a name; 0: none allows it. None:
        there are no rules, or none for the caller."""
        permissions = self._permissions
        if name:
            permissions = self._control.permissions_of(Identity(name, "token", self.identity.peer))
        return None if permissions is None else permissions.line_for(need)

    def look(self) -> None:
        """Takes up the permissions that are in force now. What is open and allowed no more ends."""
        self._permissions = self._control.permissions_of(self.identity)
        self._allowed.clear()
        if (refused := self.refusal(self._whole)) is not None:
            self._end(refused)
        elif self.on_change is not None:
            self.on_change()

    def end(self, error: TrunklineError) -> None:
        """Ends the call."""
        self._end(error)

    def _overloaded(self, excess: Excess) -> OverloadedError:
        limit, maximum, wait = excess
        name = self.identity.name
        self._control.overloaded(self.identity, self.call, limit)
        return OverloadedError(
            f"{name} has reached its limit: {limit} is {maximum:g}; try again in {wait:.3g} s",
            details={"limit": limit, "maximum": maximum, "retry_after": wait, "identity": name},
        )

    def _denied(self, what: str, details: dict[str, str]) -> PermissionDeniedError:
        name = self.identity.name
        self._control.denied(self.identity, self.call, what)
        return PermissionDeniedError(f"{name} may not: {what}", details={**details, "identity": name})


def current_gate() -> Gate | None:
    """Returns the gate of the call that is served in this task; None: there is none, and all is allowed."""
    return _current.get()


def closed_gate() -> Gate | None:
    """Returns the same where it may refuse something; else None, so that who passes often need not ask."""
    gate = _current.get()
    return None if gate is None or gate.is_open else gate


def enter(gate: Gate) -> None:
    """Makes a gate the one of the call that this task serves."""
    _current.set(gate)
