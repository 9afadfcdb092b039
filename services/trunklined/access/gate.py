"""Gate: what one call's caller may do, asked before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, Protocol

from trunkline.errors import PermissionDeniedError, TrunklineError
from trunklined.access.identity import Identity
from trunklined.access.policy import Permissions
from trunklined.access.rights import Need, Rules

MAX_CHANNELS: Final = 4_096
"""Channels of one stream that are known to be allowed; beyond it all are forgotten."""

_current: ContextVar[Gate | None] = ContextVar("trunkline_gate", default=None)


class Rulebook(Protocol):
    """What gates ask; see `AccessControl`."""

    rules: Rules

    def permissions_of(self, identity: Identity) -> Permissions | None: ...

    def denied(self, identity: Identity, call: str, what: str) -> None: ...


class Gate:
    """Stands before one call, or one stream, which may ask for many things.

    Args:
        control: which has the rules.
        identity: who calls.
        call: its name, for the audit log.
        end: ends the call with an error.
    """

    __slots__ = ("_allowed", "_control", "_end", "_permissions", "_whole", "call", "identity", "on_change")

    def __init__(self, control: Rulebook, identity: Identity, call: str, end: Callable[[TrunklineError], None]) -> None:
        self.identity = identity
        self.call = call
        self.on_change: Callable[[], None] | None = None
        """Called when other permissions are in force: for who has several things open that need some."""
        self._control = control
        self._end = end
        self._permissions: Permissions | None = control.permissions_of(identity)
        """None: it may do everything."""
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

    def publish(self, channel: str) -> None:
        """Checks that the caller may publish on a channel: the one question that is asked for each frame of messages.

        Raises:
            PermissionDeniedError: it may not.
        """
        if channel not in self._allowed:
            self.check((Need("publish", channel),))
            if len(self._allowed) >= MAX_CHANNELS:
                self._allowed.clear()
            self._allowed.add(channel)

    def check_message(self, message: Any, *, stays: bool = False) -> tuple[Need, ...]:
        """Checks what a request, or an item of a stream, asks for; returns what that is.

        Args:
            stays: the call as a whole goes on to need it: it ends when that is allowed no more.

        Raises:
            PermissionDeniedError: the caller may not do it, or there is no rule for it.
        """
        if self._permissions is None:
            return ()
        name = message.DESCRIPTOR.full_name
        rule = self._control.rules.get(name)
        if rule is None:
            raise self._denied(f"{name} has no rule", {"object": name})
        needs = tuple(rule(message))
        self.check(needs)
        if stays:
            self._whole = needs
        return needs

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
